//! `events_request`.

use descartes_protocol::{EventsRequest, EventsResponse};

use super::Handlers;
use crate::stats::count;

/// Most events of one reply: what takes well below a millisecond to collect, and fits.
const EVENTS_MAX: u64 = 512;

impl Handlers {
    /// What happened after a number. Numbers of another run of the server mean nothing in this
    /// one: the answer is a gap, after which a list is due.
    pub(super) fn events(&self, request: EventsRequest) -> EventsResponse {
        count(&self.shared.counters.events_requests);
        let log = &self.shared.events;
        let limit = request.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
        let same_run = request.epoch == log.epoch();
        let after = if same_run { request.after_sequence } else { 0 };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let page = log.after(after, limit, request.agent_id);
        EventsResponse {
            request_id: request.request_id,
            epoch: log.epoch().to_owned(),
            events: page.events,
            next_sequence: page.next_sequence,
            gap: page.gap || !same_run,
        }
    }
}
