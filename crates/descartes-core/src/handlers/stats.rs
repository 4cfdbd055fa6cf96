//! `stats_request`.

use std::sync::atomic::Ordering;

use descartes_protocol::{Reply, StatsRequest, StatsResponse};
use descartes_runner::AgentRunner;

use super::Handlers;
use crate::stats::count;

impl Handlers {
    pub(super) fn stats(&self, request: StatsRequest) -> Reply {
        let shared = &self.shared;
        count(&shared.counters.stats_requests);
        let stats = shared.counters.snapshot(Some(shared.started_at));
        Reply::Stats(StatsResponse {
            request_id: request.request_id,
            stats: stats.to_raw(
                shared.runner.active_count() as u64,
                shared.started.elapsed().as_secs(),
                shared.dropped_events.load(Ordering::Relaxed),
            ),
        })
    }
}
