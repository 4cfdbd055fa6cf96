//! `health_check_request`.

use descartes_protocol::{
    HealthCheckRequest, HealthCheckResponse, PROTOCOL_VERSION, Reply, StringMap,
};
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
            metadata: Some(self.metadata()),
        }
    }

    fn metadata(&self) -> StringMap {
        let pub_endpoint = self.shared.advertised_pub.as_ref().map(ToString::to_string);
        [
            ("server_id", Some(self.shared.server_id.clone())),
            ("server_version", Some(env!("CARGO_PKG_VERSION").to_owned())),
            ("pub_endpoint", pub_endpoint),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
    }
}
