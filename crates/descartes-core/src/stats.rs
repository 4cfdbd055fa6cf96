//! What a server has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use descartes_protocol::{MapWriter, Raw};

/// What a server has done since it was made, at one moment. Counts are of requests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerStats {
    /// Requests to start an agent.
    pub spawn_requests: u64,
    /// Those that led to an agent, an earlier one included.
    pub successful_spawns: u64,
    /// Those that did not.
    pub failed_spawns: u64,
    /// Commands to agents, each of a batch counted.
    pub control_commands: u64,
    /// Requests for a list.
    pub list_requests: u64,
    /// Health checks.
    pub health_checks: u64,
    /// Requests for these figures.
    pub stats_requests: u64,
    /// Requests for lines of output.
    pub output_queries: u64,
    /// Requests for events.
    pub events_requests: u64,
    /// Requests that were refused or failed, for whatever reason.
    pub errors: u64,
    /// Replies that could not be delivered: the client was gone, or did not read.
    pub undelivered_replies: u64,
    /// When the server began to serve; `None` before.
    pub started_at: Option<SystemTime>,
}

/// The counters behind [`ServerStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) spawn_requests: AtomicU64,
    pub(crate) successful_spawns: AtomicU64,
    pub(crate) failed_spawns: AtomicU64,
    pub(crate) control_commands: AtomicU64,
    pub(crate) list_requests: AtomicU64,
    pub(crate) health_checks: AtomicU64,
    pub(crate) stats_requests: AtomicU64,
    pub(crate) output_queries: AtomicU64,
    pub(crate) events_requests: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) undelivered_replies: AtomicU64,
}

/// Counts one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self, started_at: Option<SystemTime>) -> ServerStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            spawn_requests: read(&self.spawn_requests),
            successful_spawns: read(&self.successful_spawns),
            failed_spawns: read(&self.failed_spawns),
            control_commands: read(&self.control_commands),
            list_requests: read(&self.list_requests),
            health_checks: read(&self.health_checks),
            stats_requests: read(&self.stats_requests),
            output_queries: read(&self.output_queries),
            events_requests: read(&self.events_requests),
            errors: read(&self.errors),
            undelivered_replies: read(&self.undelivered_replies),
            started_at,
        }
    }
}

impl ServerStats {
    /// The figures as a `stats_response` has them.
    pub(crate) fn to_raw(&self, active_agents: u64, uptime_secs: u64, dropped_events: u64) -> Raw {
        let started_at = self
            .started_at
            .and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok())
            .unwrap_or_default();
        let started_at = MapWriter::new()
            .uint("secs_since_epoch", started_at.as_secs())
            .uint("nanos_since_epoch", started_at.subsec_nanos().into())
            .finish();
        MapWriter::new()
            .uint("spawn_requests", self.spawn_requests)
            .uint("successful_spawns", self.successful_spawns)
            .uint("failed_spawns", self.failed_spawns)
            .uint("control_commands", self.control_commands)
            .uint("list_requests", self.list_requests)
            .uint("health_checks", self.health_checks)
            .uint("stats_requests", self.stats_requests)
            .uint("output_queries", self.output_queries)
            .uint("events_requests", self.events_requests)
            .uint("errors", self.errors)
            .uint("undelivered_replies", self.undelivered_replies)
            .uint("dropped_events", dropped_events)
            .uint("active_agents", active_agents)
            .uint("uptime_secs", uptime_secs)
            .raw("started_at", &started_at)
            .finish()
    }
}
