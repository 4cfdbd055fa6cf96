//! `spawn_request`.

use std::time::Duration;

use descartes_protocol::{SpawnRequest, SpawnResponse};
use descartes_runner::{AgentRunner, SpawnOrder};

use super::Handlers;
use crate::dispatch::{Caller, Dispatched};
use crate::stats::count;

/// The longest that a spawn may be given, in seconds.
const TIMEOUT_SECS_MAX: u64 = 3600;

impl Handlers {
    pub(super) fn spawn(&self, caller: &Caller, request: SpawnRequest) -> Dispatched {
        count(&self.shared.counters.spawn_requests);
        let timeout = request
            .timeout_secs
            .map_or(self.shared.request_timeout, |secs| {
                Duration::from_secs(secs.min(TIMEOUT_SECS_MAX))
            });
        let order = SpawnOrder {
            client: caller.key.clone(),
            request_id: request.request_id.clone(),
            config: request.config,
            metadata: request.metadata,
            timeout,
        };
        let caller = caller.clone();
        let handlers = self.clone();
        Dispatched::later(async move {
            handlers
                .spawn_now(&caller, request.request_id, order)
                .await
                .into()
        })
    }

    async fn spawn_now(
        &self,
        caller: &Caller,
        request_id: String,
        order: SpawnOrder,
    ) -> SpawnResponse {
        let name = order.config.name.clone();
        let backend = order.config.model_backend.clone();
        let spawned = self.shared.runner.spawn(order).await;
        let mut response = SpawnResponse {
            request_id,
            success: spawned.is_ok(),
            agent_info: None,
            error: None,
            server_id: Some(self.shared.server_id.clone()),
            error_code: None,
        };
        match spawned {
            Ok(spawned) => {
                count(&self.shared.counters.successful_spawns);
                tracing::info!(agent = %spawned.agent.id(), %name, %backend, client = caller.name, "started an agent");
                response.agent_info = Some(spawned.info);
            }
            Err(error) => {
                count(&self.shared.counters.failed_spawns);
                self.count_error();
                // Neither was checked: they may be of any length and hold anything.
                let (name, backend) = (shown(&name), shown(&backend));
                tracing::warn!(name, backend, client = caller.name, %error, "did not start an agent");
                response.error_code = Some(error.code());
                response.error = Some(error.to_string());
            }
        }
        response
    }
}

/// A client's text as a log may show it.
fn shown(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}
