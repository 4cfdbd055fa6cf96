//! `health_check_request`.

use descartes_protocol::{HealthCheckRequest, HealthCheckResponse, PROTOCOL_VERSION, Reply};
use descartes_runner::AgentRunner;

use super::Handlers;
use crate::stats::count;

impl Handlers {
    pub(super) fn health(&self, request: HealthCheckRequest) -> Reply {
        count(&self.shared.counters.health_checks);
        Reply::HealthCheck(self.heartbeat(request.request_id))
    }

    /// How the server is. Also what it broadcasts, with an empty request id.
    pub(crate) fn heartbeat(&self, request_id: String) -> HealthCheckResponse {
        HealthCheckResponse {
            request_id,
            healthy: self.shared.runner.is_accepting(),
            protocol_version: PROTOCOL_VERSION.to_owned(),
            uptime_secs: Some(self.shared.started.elapsed().as_secs()),
            active_agents: Some(self.shared.runner.active_count() as u64),
            metadata: Some(
                [
                    ("server_id", self.shared.server_id.as_str()),
                    ("server_version", env!("CARGO_PKG_VERSION")),
                ]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ),
        }
    }
}
