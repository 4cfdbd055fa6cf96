//! `events_request`.

use std::time::Duration;

use descartes_protocol::{EventsRequest, EventsResponse};

use super::Handlers;
use crate::dispatch::Dispatched;
use crate::events::Page;
use crate::stats::count;

/// Most events of one reply: what takes well below a millisecond to collect, and fits.
const EVENTS_MAX: u64 = 512;

impl Handlers {
    /// What happened after a number. Numbers of another run of the server mean nothing in this
    /// one: the answer is a gap, after which a list is due.
    pub(super) fn events(&self, request: EventsRequest) -> Dispatched {
        count(&self.shared.counters.events_requests);
        let log = &self.shared.events;
        let limit = request.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
        let same_run = request.epoch == log.epoch();
        let after = if same_run { request.after_sequence } else { 0 };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut page = log.after(after, limit, request.agent_id);
        page.gap |= !same_run;
        let wait = Duration::from_millis(request.wait_ms.unwrap_or(0));
        // Who waits for an agent's end looks at the agent then, also if it has come already.
        let awaited = request.agent_id.filter(|_| !wait.is_zero());
        let awaited = awaited.and_then(|id| self.agent(id).ok());
        if !page.events.is_empty() || page.gap || limit == 0 || wait.is_zero() {
            if let Some(agent) = awaited {
                // One that has been removed is not there to be looked at.
                let _ = agent.expect_reader();
            }
            return Dispatched::ready(self.page(request.request_id, page));
        }
        let reading = awaited.and_then(|agent| agent.reading().ok());
        let handlers = self.clone();
        Dispatched::later(async move {
            let _reading = reading;
            let log = &handlers.shared.events;
            let end = handlers.end_of_wait(wait);
            let page = log
                .after_waiting(page.next_sequence, limit, request.agent_id, end)
                .await;
            handlers.page(request.request_id, page).into()
        })
    }

    fn page(&self, request_id: String, page: Page) -> EventsResponse {
        EventsResponse {
            request_id,
            epoch: self.shared.events.epoch().to_owned(),
            events: page.events,
            next_sequence: page.next_sequence,
            gap: page.gap,
        }
    }
}
