//! `list_agents_request`.

use std::panic::resume_unwind;

use descartes_protocol::limits::MAX_AGENTS_IN_REPLY;
use descartes_protocol::{ListAgentsRequest, ListAgentsResponse};
use descartes_runner::AgentRunner;

use super::{Handlers, LIST_BYTES_MAX};
use crate::dispatch::Dispatched;
use crate::stats::count;

/// Agents that are listed on the socket's own task.
const LISTED_HERE_MAX: usize = 128;

impl Handlers {
    /// A long list is made elsewhere, so that nobody waits for it.
    pub(super) fn list_agents(&self, request: ListAgentsRequest) -> Dispatched {
        if self.shared.runner.len() <= LISTED_HERE_MAX {
            return Dispatched::ready(self.list(&request));
        }
        let handlers = self.clone();
        Dispatched::later(async move {
            let listing = tokio::task::spawn_blocking(move || handlers.list(&request)).await;
            // A panic is passed on, to be answered like any other.
            listing
                .unwrap_or_else(|error| resume_unwind(error.into_panic()))
                .into()
        })
    }

    /// As many agents as were asked for and as fit. The rest is asked for with `after`.
    fn list(&self, request: &ListAgentsRequest) -> ListAgentsResponse {
        count(&self.shared.counters.list_requests);
        // Before the agents are looked at: what they show then includes all events up to here.
        let sequence = self.shared.events.sequence();
        let limit = request
            .limit
            .map_or(MAX_AGENTS_IN_REPLY, |limit| {
                usize::try_from(limit).unwrap_or(usize::MAX)
            })
            .min(MAX_AGENTS_IN_REPLY);
        let include_finished = request.include_finished.unwrap_or(true);
        let mut agents = Vec::new();
        let mut bytes = 0;
        let mut has_more = false;
        for handle in self.shared.runner.agents(request.after) {
            let status = handle.status();
            let wanted = request.filter_status.is_none_or(|filter| filter == status)
                && (include_finished || !status.is_final());
            if !wanted {
                continue;
            }
            let info = handle.info();
            bytes += info.encoded_len();
            if agents.len() == limit || bytes > LIST_BYTES_MAX {
                has_more = true;
                break;
            }
            agents.push(info);
        }
        ListAgentsResponse {
            request_id: request.request_id.clone(),
            success: true,
            agents,
            error: None,
            error_code: None,
            has_more,
            epoch: self.shared.events.epoch().to_owned(),
            sequence,
        }
    }
}
