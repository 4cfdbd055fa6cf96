//! This machine's answers to requests, a file for each kind.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use descartes_protocol::{AgentId, ErrorCode, Request};
use descartes_runner::{AgentHandle, AgentRunner, LocalProcessRunner};
use descartes_transport::Endpoint;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Caller, Dispatch, Dispatched};
use crate::events::EventLog;
use crate::stats::{Counters, count};

mod action;
mod batch;
mod control;
mod events;
mod health;
mod list;
mod output;
mod spawn;
mod stats;

/// Bytes of a reply's body that lists may fill; what stands around them takes less than the rest.
const LIST_BYTES_MAX: usize = descartes_protocol::limits::MAX_MESSAGE_SIZE - 64 * 1024;

/// Bytes of lines in one reply; each line takes up to five bytes more.
const LINES_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Searches through output that run at once.
const SEARCHES_AT_ONCE: usize = 2;

/// What handlers work with. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Handlers {
    shared: Arc<Shared>,
}

/// See [`Handlers`].
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) server_id: String,
    pub(crate) runner: LocalProcessRunner,
    pub(crate) events: Arc<EventLog>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) request_timeout: Duration,
    pub(crate) started: Instant,
    pub(crate) started_at: SystemTime,
    /// Where events go out, as remote clients reach it.
    pub(crate) advertised_pub: Option<Endpoint>,
    pub(crate) dropped_events: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) searches: Semaphore,
    /// Cancelled when the server has dealt with its agents and only last replies go out.
    pub(crate) answering_ends: CancellationToken,
}

impl Shared {
    pub(crate) fn searches() -> Semaphore {
        Semaphore::new(SEARCHES_AT_ONCE)
    }
}

/// A refusal, as a reply has it: a sentence for people and a code for programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    pub(crate) code: ErrorCode,
}

impl Refusal {
    fn not_found(id: AgentId) -> Self {
        Self {
            error: format!("Agent not found: {id}"),
            code: ErrorCode::AgentNotFound,
        }
    }

    /// `agent` is whose shim has not done it.
    fn timeout(after: Duration, agent: Option<&AgentHandle>) -> Self {
        let after = after.as_secs();
        let error = match agent.and_then(AgentHandle::stopped_shim) {
            Some(pid) => format!(
                "the command is not done after {after} s: the agent's shim, process {pid}, is stopped, and does it once it was sent SIGCONT"
            ),
            None => format!(
                "the command is not done after {after} s and goes on; its outcome will show in the agent's status"
            ),
        };
        Self {
            error,
            code: ErrorCode::Timeout,
        }
    }
}

impl From<descartes_runner::AgentError> for Refusal {
    fn from(error: descartes_runner::AgentError) -> Self {
        Self {
            error: error.to_string(),
            code: error.code(),
        }
    }
}

impl From<descartes_protocol::CommandError> for Refusal {
    fn from(error: descartes_protocol::CommandError) -> Self {
        Self {
            error: error.to_string(),
            code: error.code(),
        }
    }
}

impl Handlers {
    pub(crate) fn new(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    fn agent(&self, id: AgentId) -> Result<AgentHandle, Refusal> {
        self.shared
            .runner
            .agent(id)
            .ok_or_else(|| Refusal::not_found(id))
    }

    /// How long a request may be held that wants to wait so long: well below what clients allow
    /// for a reply.
    fn held_for(&self, wait: Duration) -> Duration {
        wait.min(self.shared.request_timeout / 2)
    }

    /// Comes when a request that wants to wait so long has to be answered as things are: then, or
    /// when the server is about to close.
    async fn end_of_wait(&self, wait: Duration) {
        let closing = self.shared.answering_ends.cancelled();
        // Both mean the same.
        let _ = tokio::time::timeout(self.held_for(wait), closing).await;
    }

    fn count_error(&self) {
        count(&self.shared.counters.errors);
    }
}

impl Dispatch for Handlers {
    fn dispatch(&self, caller: &Caller, request: Request) -> Dispatched {
        match request {
            Request::HealthCheck(request) => Dispatched::ready(self.health(request)),
            Request::Stats(request) => Dispatched::ready(self.stats(request)),
            Request::ListAgents(request) => self.list_agents(request),
            Request::Events(request) => self.events(request),
            Request::Control(request) => self.control(request),
            Request::CustomAction(request) => self.custom_action(request),
            Request::BatchControl(request) => self.batch(request),
            Request::Spawn(request) => self.spawn(caller, request),
            Request::OutputQuery(request) => self.output_query(request),
        }
    }
}
