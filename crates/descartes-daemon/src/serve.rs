//! One run of the server: signals in, word to the service manager out.
//!
//! ```text
//! start ──▶ READY=1 ──▶ SIGTERM, SIGINT: STOPPING=1, stop ──▶ the same again: no more grace
//! ```
//!
//! SIGPIPE is ignored by the standard library's start of every program.

use std::io;
use std::pin::pin;

use descartes_core::{ServerError, ZmqAgentServer, ZmqServerConfig};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How many signals can wait; more of them say nothing more.
const SIGNALS_MAX: usize = 4;

/// Why the server ended otherwise than by a signal.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    /// The runtime or its signal handlers could not be set up.
    #[error("failed to set up the runtime: {0}")]
    Runtime(#[from] io::Error),
    /// The server did not start, or failed.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A defect of the server's own.
    #[error("the server's main task panicked")]
    Panicked(#[source] tokio::task::JoinError),
}

impl ServeError {
    /// What the operator can do about it.
    pub(crate) fn hint(&self) -> Option<&str> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Runtime(_) | Self::Panicked(_) => None,
        }
    }
}

/// Serves until a signal ends it.
///
/// # Errors
/// [`ServeError`], where anything else does.
pub(crate) fn serve(config: ZmqServerConfig) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let shutdowns = shutdown_signals()?;
        ignore_hangups()?;
        #[cfg(target_env = "gnu")]
        tokio::spawn(crate::memory::give_back_regularly());
        let server = ZmqAgentServer::new(config);
        // On a worker: tasks that wake each other there do not have to wake a thread as well.
        let end = tokio::spawn(supervise(server, shutdowns)).await;
        Ok(end.map_err(ServeError::Panicked)??)
    });
    // Whatever still hangs in the file system does not keep the process.
    runtime.shutdown_background();
    served
}

async fn supervise(
    server: ZmqAgentServer,
    mut shutdowns: mpsc::Receiver<()>,
) -> Result<(), ServerError> {
    let mut serving = pin!(server.start());
    let mut readiness = pin!(server.ready());
    let mut announced = false;
    let mut stopping = false;
    loop {
        tokio::select! {
            // `start` is first: there is nothing that is ready or can be stopped before it began.
            biased;
            end = &mut serving => {
                tell(&[NotifyState::Stopping]);
                return end;
            }
            ready = &mut readiness, if !announced => {
                announced = true;
                if ready && !stopping {
                    announce(&server);
                }
            }
            Some(()) = shutdowns.recv() => {
                shut_down(&server, stopping);
                stopping = true;
            }
        }
    }
}

fn announce(server: &ZmqAgentServer) {
    let endpoint = server.endpoint().unwrap_or_default();
    let status = format!("serving on {endpoint}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

fn shut_down(server: &ZmqAgentServer, again: bool) {
    if again {
        tracing::warn!("a second signal: agents get no more time to end");
        server.stop_now();
        return;
    }
    tracing::info!("a signal: shutting down");
    tell(&[NotifyState::Stopping, NotifyState::Status("shutting down")]);
    let server = server.clone();
    // What comes of it is told by `start`.
    tokio::spawn(async move { server.stop().await });
}

/// Tells the service manager, if there is one.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "failed to notify the service manager");
    }
}

/// Every SIGTERM and SIGINT from now on.
fn shutdown_signals() -> io::Result<mpsc::Receiver<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (found, shutdowns) = mpsc::channel(SIGNALS_MAX);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                signal = terminate.recv() => signal,
                signal = interrupt.recv() => signal,
            };
            if signal.is_none() || found.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(shutdowns)
}

/// A terminal that goes away must not take the server along, with `nohup` or without.
fn ignore_hangups() -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(
                "SIGHUP is ignored: the configuration is read at the start only, and \
                 authorized_clients whenever it changes"
            );
        }
    });
    Ok(())
}
