//! The server: what it is made of, and how it starts and stops.
//!
//! ```text
//! Stopped ── start ──▶ Starting ──▶ Running ── stop ──▶ Stopping ──▶ Stopped
//! ```

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use descartes_protocol::AgentId;
use descartes_runner::{AgentHandle, AgentRunner, LocalProcessRunner};
use descartes_transport::Endpoint;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::ZmqServerConfig;
use crate::error::{AgentResult, ServerError};
use crate::stats::{Counters, ServerStats};

mod address;
mod requests;
mod run;

/// An agent server. Clones are handles on the same server.
#[derive(Debug, Clone)]
pub struct ZmqAgentServer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    config: ZmqServerConfig,
    counters: Arc<Counters>,
    phase: watch::Sender<Phase>,
    run: Mutex<Option<Run>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Stopped,
    Starting,
    Running,
    Stopping,
}

/// One time that the server runs, from `start` to its return.
#[derive(Debug, Clone)]
struct Run {
    stop: Stop,
    hurry: CancellationToken,
    /// Set once requests are answered.
    serving: Option<Serving>,
}

/// The wish that a run ends, and since when.
#[derive(Debug, Clone, Default)]
struct Stop {
    since: watch::Sender<Option<tokio::time::Instant>>,
}

impl Stop {
    fn ask(&self) {
        self.since.send_if_modified(|since| {
            let is_first = since.is_none();
            since.get_or_insert_with(tokio::time::Instant::now);
            is_first
        });
    }

    fn is_asked(&self) -> bool {
        self.since.borrow().is_some()
    }

    /// Waits until somebody asks, and says when that was.
    async fn asked(&self) -> tokio::time::Instant {
        let mut since = self.since.subscribe();
        loop {
            if let Some(since) = *since.borrow_and_update() {
                return since;
            }
            // The sender lives in `self`.
            let _ = since.changed().await;
        }
    }
}

#[derive(Debug, Clone)]
struct Serving {
    runner: LocalProcessRunner,
    endpoint: Endpoint,
    pub_endpoint: Option<Endpoint>,
    since: Instant,
    since_time: SystemTime,
}

impl ZmqAgentServer {
    /// Makes a server that does nothing yet. Needs no runtime; whether the configuration is valid
    /// shows when it is started.
    #[must_use]
    pub fn new(config: ZmqServerConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                counters: Arc::default(),
                phase: watch::Sender::new(Phase::Stopped),
                run: Mutex::new(None),
            }),
        }
    }

    /// Serves until [`ZmqAgentServer::stop`] is called.
    ///
    /// # Errors
    /// [`ServerError`] where it cannot begin to serve.
    ///
    /// # Cancel safety
    /// Dropping the future is like a crash: sockets close, and agents go on without a server
    /// until the next start on the same state folder.
    pub async fn start(&self) -> AgentResult<()> {
        let run = self.begin()?;
        let _ending = Ending { server: self };
        run::run(self, &run).await
    }

    /// Stops the server: no new agents, running ones stopped together and killed when their time
    /// is over, requests answered, events sent, sockets closed. Returns when all of that is done,
    /// `shutdown_timeout_secs`, or a second, after the call at the latest; at once if the server does
    /// not run.
    /// With [`OnShutdown::Detach`](crate::OnShutdown::Detach) agents go on. A start that is under way
    /// is given up.
    ///
    /// # Errors
    /// None at present.
    ///
    /// # Cancel safety
    /// The server stops also if the future is dropped.
    pub async fn stop(&self) -> AgentResult<()> {
        let mut phase = self.shared.phase.subscribe();
        if let Some(run) = self.run().as_ref() {
            run.stop.ask();
        }
        // The sender lives in `self`.
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
        Ok(())
    }

    /// Cuts the agents' time to end short in a stop that is under way, and stops the server if
    /// none is.
    pub fn stop_now(&self) {
        if let Some(run) = self.run().as_ref() {
            run.hurry.cancel();
            run.stop.ask();
        }
    }

    /// Waits until the server serves. False if it stopped, or never began, instead.
    pub async fn ready(&self) -> bool {
        let mut phase = self.shared.phase.subscribe();
        let settled = phase
            .wait_for(|phase| !matches!(phase, Phase::Starting))
            .await;
        settled.is_ok_and(|phase| *phase == Phase::Running)
    }

    /// Whether the server serves.
    #[must_use]
    pub fn is_running(&self) -> bool {
        *self.shared.phase.borrow() == Phase::Running
    }

    /// What the server has done so far.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        let started_at = self.serving(|serving| serving.since_time);
        self.shared.counters.snapshot(started_at)
    }

    /// How many agents run. 0 while the server does not.
    #[must_use]
    pub fn active_agent_count(&self) -> usize {
        self.serving(|serving| serving.runner.active_count())
            .unwrap_or(0)
    }

    /// Seconds since the server began to serve; `None` while it does not.
    #[must_use]
    pub fn uptime_secs(&self) -> Option<u64> {
        self.serving(|serving| serving.since.elapsed().as_secs())
    }

    /// Where requests come in, with the real port where 0 was asked for; `None` while the server
    /// does not serve.
    #[must_use]
    pub fn endpoint(&self) -> Option<String> {
        self.serving(|serving| serving.endpoint.to_string())
    }

    /// Where events go out; `None` while the server does not serve, or has no event socket.
    #[must_use]
    pub fn pub_endpoint(&self) -> Option<String> {
        self.serving(|serving| serving.pub_endpoint.as_ref().map(ToString::to_string))
            .flatten()
    }

    /// One of the agents; `None` where there is none with this id, or the server does not serve.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<AgentHandle> {
        self.serving(|serving| serving.runner.agent(id)).flatten()
    }

    /// The configuration that it was made with.
    #[must_use]
    pub fn config(&self) -> &ZmqServerConfig {
        &self.shared.config
    }

    fn begin(&self) -> AgentResult<Run> {
        let mut current = self.run();
        if current.is_some() {
            return Err(ServerError::AlreadyRunning);
        }
        let run = Run {
            stop: Stop::default(),
            hurry: CancellationToken::new(),
            serving: None,
        };
        *current = Some(run.clone());
        self.shared.phase.send_replace(Phase::Starting);
        Ok(run)
    }

    fn serves(&self, serving: Serving) {
        if let Some(run) = self.run().as_mut() {
            run.serving = Some(serving);
        }
        self.shared.phase.send_replace(Phase::Running);
    }

    fn run(&self) -> MutexGuard<'_, Option<Run>> {
        self.shared
            .run
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn serving<T>(&self, read: impl FnOnce(&Serving) -> T) -> Option<T> {
        self.run().as_ref()?.serving.as_ref().map(read)
    }
}

/// Marks the server as stopped, however its run ends.
struct Ending<'a> {
    server: &'a ZmqAgentServer,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        *self.server.run() = None;
        self.server.shared.phase.send_replace(Phase::Stopped);
    }
}
