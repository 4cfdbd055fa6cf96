//! The client's handle, and what is asked of the server itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::{
    HealthCheckRequest, Raw, Reply, Request, StatsRequest, StreamSelection, StringMap,
};
use tokio::sync::{Semaphore, watch};

use crate::call::{Answered, Call};
use crate::config::ZmqRunnerConfig;
use crate::error::{ClientError, ConfigError};
use crate::link::{Connectivity, Link};

/// Requests under way at once. With [`POLLS_MAX`] below the 1,024 that a server lets one connection have.
const REQUESTS_MAX: usize = 480;

/// Long polls under way at once: they must not keep quick requests waiting.
const POLLS_MAX: usize = 480;

/// How often those who wait for their turn look whether places are held in vain.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The least time between two long polls that brought nothing: not every server holds them.
pub(crate) const PACE: Duration = Duration::from_millis(500);

/// The longest that the server is asked to hold a request; it cuts that where its own limit is lower.
const POLL_MAX: Duration = Duration::from_secs(10);

/// A connection to one server, shared by all clones.
///
/// It connects at its first request, and runs on the tokio runtime of that request. Any number of requests may be made
/// at once; beyond 480 quick and 480 waiting ones the next wait for their turn. Dropping the last clone disconnects.
///
/// All methods return [`ClientError`]; those that may be repeated are, as [`ZmqRunnerConfig`] says.
///
/// # Cancel safety
/// Dropping the future of a request forgets its reply; what was asked for may be done nevertheless, and the request
/// counts as under way until the server has answered.
#[derive(Debug, Clone)]
pub struct ZmqClient {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Result<Link, ConfigError>,
    requests: Arc<Semaphore>,
    polls: Arc<Semaphore>,
}

/// How a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Whether it takes work: one that shuts down does not.
    pub healthy: bool,
    /// The version of the protocol that it speaks.
    pub protocol_version: String,
    /// Seconds since it started.
    pub uptime_secs: u64,
    /// Agents that have not ended.
    pub active_agents: u64,
    /// What else it says of itself: `server_id`, `server_version`, `pub_endpoint`.
    pub metadata: StringMap,
}

/// What to look for in an agent's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputQuery {
    /// Where.
    pub stream: StreamSelection,
    /// A regular expression that a line has to match. Default: every line does.
    pub filter: Option<String>,
    /// At most so many matching lines. Default: the server's limit.
    pub limit: Option<u64>,
    /// How many matching lines to pass over first. Default: none.
    pub offset: Option<u64>,
    /// The last matching lines rather than the first; `offset` then counts from the end. Default: no.
    pub tail: bool,
    /// Whether all lines that match are counted, so that the answer has `total_lines`. Without it the search is over as
    /// soon as the lines are found, and `has_more` is only false where all was looked at. Default: yes.
    pub count: bool,
    /// The byte to begin at, where a line begins, or with `tail` to go back from; [`u64::MAX`] is the end then. The
    /// answer has `next_offset`, where the next query has to begin for all lines to be found once, also while the agent
    /// writes and old output is dropped. Only for one stream. Default: the first one that is kept, or the end.
    pub from_offset: Option<u64>,
}

impl Default for OutputQuery {
    fn default() -> Self {
        Self {
            stream: StreamSelection::Both,
            filter: None,
            limit: None,
            offset: None,
            tail: false,
            count: true,
            from_offset: None,
        }
    }
}

impl ZmqClient {
    /// A client with these settings. Nothing is connected yet; settings that are wrong are told by the first request.
    #[must_use]
    pub fn new(config: ZmqRunnerConfig) -> Self {
        let inner = Inner {
            link: config.check().map(Link::new),
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            polls: Arc::new(Semaphore::new(POLLS_MAX)),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The server's counters, by name.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stats(&self) -> Result<BTreeMap<String, Raw>, ClientError> {
        let request = StatsRequest {
            request_id: new_id(),
        };
        match self.call(request, Call::harmless("stats")).await?.reply {
            Reply::Stats(reply) => {
                let entries = reply.stats.entries();
                Ok(entries
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect())
            }
            _ => Err(Call::unexpected("stats")),
        }
    }

    /// How long the server may hold a request: no longer than a reply is waited for, so that a lost one is noticed.
    pub(crate) fn poll_time(&self) -> Duration {
        let limit = self
            .inner
            .link
            .as_ref()
            .map(|link| link.config().request_timeout);
        limit.map_or(POLL_MAX, |limit| limit.min(POLL_MAX))
    }

    pub(crate) async fn ask_health(&self) -> Result<ServerHealth, ClientError> {
        let request = HealthCheckRequest {
            request_id: new_id(),
        };
        match self
            .call(request, Call::harmless("health check"))
            .await?
            .reply
        {
            Reply::HealthCheck(reply) => Ok(ServerHealth {
                healthy: reply.healthy,
                protocol_version: reply.protocol_version,
                uptime_secs: reply.uptime_secs.unwrap_or_default(),
                active_agents: reply.active_agents.unwrap_or_default(),
                metadata: reply.metadata.unwrap_or_default(),
            }),
            _ => Err(Call::unexpected("health check")),
        }
    }

    pub(crate) fn disconnect_link(&self) {
        if let Ok(link) = &self.inner.link {
            link.disconnect();
        }
    }

    /// Follows whether there is a connection. Where the settings are wrong, there never is.
    #[must_use]
    pub fn connectivity(&self) -> watch::Receiver<Connectivity> {
        match &self.inner.link {
            Ok(link) => link.connectivity(),
            Err(_) => watch::channel(Connectivity::Idle).1,
        }
    }

    /// Makes a request that is answered at once.
    pub(crate) async fn call(
        &self,
        request: impl Into<Request>,
        call: Call,
    ) -> Result<Answered, ClientError> {
        self.take_turn(&self.inner.requests, request.into(), call)
            .await
    }

    /// Makes a request that the server may hold for a while.
    pub(crate) async fn poll(
        &self,
        request: impl Into<Request>,
        call: Call,
    ) -> Result<Answered, ClientError> {
        self.take_turn(&self.inner.polls, request.into(), call)
            .await
    }

    async fn take_turn(
        &self,
        turns: &Arc<Semaphore>,
        request: Request,
        call: Call,
    ) -> Result<Answered, ClientError> {
        let link = self.link()?;
        let turn = loop {
            let turn = Arc::clone(turns).acquire_owned();
            match tokio::time::timeout(SWEEP_INTERVAL, turn).await {
                Ok(Ok(turn)) => break turn,
                // It is never closed.
                Ok(Err(_)) => return Err(ClientError::Disconnected { request: call.name }),
                // Some places may be held for replies that do not come any more.
                Err(_) => link.sweep(),
            }
        };
        call.make(link, &request, turn).await
    }

    fn link(&self) -> Result<&Link, ClientError> {
        let link = self.inner.link.as_ref();
        link.map_err(|error| ClientError::Config(error.clone()))
    }
}

/// A new name for a request, a client or a writer.
pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
