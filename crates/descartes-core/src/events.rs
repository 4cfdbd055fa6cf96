//! The log of what happened to agents: numbered without holes, and kept for a while.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use descartes_protocol::{AgentId, StatusUpdate, Timestamp};
use descartes_runner::{AgentUpdate, Observer};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

/// Events that are kept.
const KEPT_MAX: usize = 65_536;

/// Updates without a number that may wait to be broadcast; beyond that they are dropped.
const PASSING_MAX: usize = 4096;

/// An agent that says a lot waits while so many events have not been published: an event of another one has little more
/// than these before it, and none is dropped before it was published.
const UNPUBLISHED_MAX: u64 = 1024;

/// After so many events whoever waits for one agent's looks at them, though none may be that
/// agent's: far fewer than are kept, so that nobody who waits has to be told of a gap.
const LOOK_EVERY: u64 = 1024;

/// Into so many groups agents are divided, so that an event wakes only who may wait for it.
const GROUPS: usize = 256;

/// One run of the server and all that happened in it.
#[derive(Debug)]
pub(crate) struct EventLog {
    server_id: String,
    epoch: String,
    ring: Mutex<Ring>,
    /// Wakes whoever waits for any event.
    grown: Notify,
    /// Wake whoever waits for the events of one agent.
    grown_of: [Notify; GROUPS],
    /// Number of the last event that was published; none while nobody publishes.
    published: watch::Sender<Option<u64>>,
    /// Held by who waits for room: the next one waits for that.
    turns: Semaphore,
    passing: mpsc::Sender<(AgentUpdate, Timestamp)>,
}

/// The other end of the updates that have no number.
pub(crate) type Passing = mpsc::Receiver<(AgentUpdate, Timestamp)>;

#[derive(Debug)]
struct Ring {
    events: VecDeque<(AgentUpdate, Timestamp)>,
    /// Number of the last event; the first is 1.
    last: u64,
}

/// Some events, in order.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) events: Vec<StatusUpdate>,
    /// The number after which to go on.
    pub(crate) next_sequence: u64,
    /// Older events that were asked for are gone.
    pub(crate) gap: bool,
}

impl Ring {
    /// Number of the oldest event that is kept, or of the next one.
    fn first(&self) -> u64 {
        self.last + 1 - self.events.len() as u64
    }
}

impl EventLog {
    pub(crate) fn new(server_id: &str) -> (Self, Passing) {
        let (passing, receiver) = mpsc::channel(PASSING_MAX);
        let log = Self {
            server_id: server_id.to_owned(),
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            ring: Mutex::new(Ring {
                events: VecDeque::new(),
                last: 0,
            }),
            grown: Notify::new(),
            grown_of: [const { Notify::const_new() }; GROUPS],
            published: watch::Sender::new(None),
            turns: Semaphore::new(1),
            passing,
        };
        (log, receiver)
    }

    /// Names this run of the server.
    pub(crate) fn epoch(&self) -> &str {
        &self.epoch
    }

    /// Number of the last event. What is read of agents after this includes all up to it.
    pub(crate) fn sequence(&self) -> u64 {
        self.ring().last
    }

    /// Notes up to where events have been published, or that nobody publishes them any more.
    pub(crate) fn published(&self, sequence: Option<u64>) {
        self.published.send_replace(sequence);
    }

    /// Waits until there are events after `sequence`.
    pub(crate) async fn grown_beyond(&self, sequence: u64) {
        loop {
            let grown = self.grown.notified();
            if self.sequence() > sequence {
                return;
            }
            grown.await;
        }
    }

    /// At most `limit` events after `sequence`, of one agent or of all. A number that no event has yet is of something
    /// else than this run, and so a gap.
    pub(crate) fn after(&self, sequence: u64, limit: usize, agent: Option<AgentId>) -> Page {
        let ring = self.ring();
        let first = ring.first();
        if sequence >= ring.last {
            return Page {
                events: Vec::new(),
                next_sequence: sequence,
                gap: sequence > ring.last,
            };
        }
        let from = sequence.saturating_add(1).max(first);
        let mut page = Page {
            events: Vec::new(),
            next_sequence: sequence.max(ring.last),
            gap: sequence.saturating_add(1) < first,
        };
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        for (number, (update, at)) in (from..).zip(ring.events.iter().skip(skipped)) {
            if agent.is_some_and(|agent| agent != update.agent_id) {
                continue;
            }
            if page.events.len() == limit {
                page.next_sequence = page
                    .events
                    .last()
                    .and_then(|last| last.sequence)
                    .unwrap_or(sequence);
                break;
            }
            page.events.push(self.update(update, *at, Some(number)));
        }
        page
    }

    /// As [`EventLog::after`], but waits until there are events, or until `end`.
    pub(crate) async fn after_waiting(
        &self,
        mut sequence: u64,
        limit: usize,
        agent: Option<AgentId>,
        end: impl Future<Output = ()>,
    ) -> Page {
        let grown = agent.map_or(&self.grown, |agent| self.grown_of(agent));
        tokio::pin!(end);
        loop {
            // Before the look: what comes after it wakes this.
            let grown = grown.notified();
            let page = self.after(sequence, limit, agent);
            if !page.events.is_empty() || page.gap {
                return page;
            }
            // Other agents' events are looked at once.
            sequence = page.next_sequence;
            tokio::select! {
                () = grown => {}
                () = &mut end => return page,
            }
        }
    }

    /// An update as it goes over the wire.
    pub(crate) fn update(
        &self,
        update: &AgentUpdate,
        timestamp: Timestamp,
        sequence: Option<u64>,
    ) -> StatusUpdate {
        StatusUpdate {
            agent_id: update.agent_id,
            update_type: update.kind,
            status: Some(update.status),
            message: update.message.clone(),
            data: update.data.clone(),
            timestamp,
            server_id: self.server_id.clone(),
            epoch: self.epoch.clone(),
            sequence,
            agent_sequence: update.agent_sequence,
        }
    }

    fn grown_of(&self, agent: AgentId) -> &Notify {
        // The last byte of an id is random.
        &self.grown_of[usize::from(agent.as_bytes()[15]) % GROUPS]
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for EventLog {
    fn update(&self, update: AgentUpdate) {
        let now = Timestamp::now();
        if update.agent_sequence.is_none() {
            // Nobody is owed these; the next one says more.
            let _ = self.passing.try_send((update, now));
            return;
        }
        let agent = update.agent_id;
        let mut ring = self.ring();
        if ring.events.len() == KEPT_MAX {
            ring.events.pop_front();
        }
        ring.events.push_back((update, now));
        ring.last += 1;
        let last = ring.last;
        drop(ring);
        self.grown.notify_waiters();
        if last.is_multiple_of(LOOK_EVERY) {
            self.grown_of.iter().for_each(Notify::notify_waiters);
        } else {
            self.grown_of(agent).notify_waiters();
        }
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            // One after the other, in the order in which they came: nobody waits longer than all others once.
            let _turn = self.turns.acquire().await;
            let mut published = self.published.subscribe();
            let has_room = |published: &Option<u64>| {
                published.is_none_or(|published| self.sequence() < published + UNPUBLISHED_MAX)
            };
            // It is closed together with this log.
            let _ = published.wait_for(has_room).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::time::Duration;

    use descartes_protocol::{AgentStatus, UpdateType};

    fn update(agent_id: AgentId) -> AgentUpdate {
        AgentUpdate {
            agent_id,
            kind: UpdateType::StatusChanged,
            status: AgentStatus::Running,
            message: None,
            data: None,
            agent_sequence: Some(1),
        }
    }

    fn numbers(page: &Page) -> Vec<u64> {
        page.events
            .iter()
            .filter_map(|event| event.sequence)
            .collect()
    }

    #[test]
    fn events_are_numbered_from_one_without_holes() {
        let (log, _passing) = EventLog::new("s");
        let (one, other) = (AgentId::generate(), AgentId::generate());
        for agent in [one, other, one] {
            Observer::update(&log, update(agent));
        }
        let page = log.after(0, 2, None);
        assert_eq!(
            (numbers(&page), page.next_sequence, page.gap),
            (vec![1, 2], 2, false)
        );
        let rest = log.after(page.next_sequence, 10, None);
        assert_eq!((numbers(&rest), rest.next_sequence), (vec![3], 3));
        let of_one = log.after(0, 10, Some(one));
        assert_eq!((numbers(&of_one), of_one.next_sequence), (vec![1, 3], 3));
    }

    #[test]
    fn who_asks_for_events_that_are_gone_is_told_of_the_gap() {
        let (log, _passing) = EventLog::new("s");
        let agent = AgentId::generate();
        for _ in 0..KEPT_MAX + 2 {
            Observer::update(&log, update(agent));
        }
        let page = log.after(0, 1, None);
        assert_eq!((numbers(&page), page.gap), (vec![3], true));
        assert!(log.after(1, 1, None).gap);
        assert!(!log.after(2, 1, None).gap);
        let end = log.after(log.sequence(), 1, None);
        assert_eq!((end.events.len(), end.gap), (0, false));
        assert!(log.after(log.sequence() + 1, 1, None).gap);
    }

    #[tokio::test]
    async fn who_waits_for_one_agent_is_told_of_no_gap_after_a_flood_of_others_events() {
        let log = Arc::new(EventLog::new("s").0);
        let (one, other) = (AgentId::generate(), AgentId::generate());
        let waiting = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.after_waiting(0, 10, Some(one), pending()).await }
        });
        for number in 0..2 * KEPT_MAX {
            Observer::update(&*log, update(other));
            if number % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        assert!(!waiting.is_finished());
        Observer::update(&*log, update(one));
        let page = waiting.await.unwrap();
        let last = log.sequence();
        assert_eq!((numbers(&page), page.gap), (vec![last], false));
        assert_eq!(page.next_sequence, last);
    }

    #[tokio::test]
    async fn there_is_room_until_too_much_is_unpublished_and_again_once_it_was_published() {
        let (log, _passing) = EventLog::new("s");
        let agent = AgentId::generate();
        for _ in 0..UNPUBLISHED_MAX {
            Observer::update(&log, update(agent));
        }
        let has_room = || async {
            let room = tokio::time::timeout(Duration::ZERO, log.room());
            room.await.is_ok()
        };
        assert!(has_room().await, "nobody publishes");
        log.published(Some(0));
        assert!(!has_room().await);
        log.published(Some(1));
        assert!(has_room().await);
    }

    #[tokio::test]
    async fn who_waits_for_room_is_woken_in_turn() {
        for freed in [Some(1), None] {
            let log = Arc::new(EventLog::new("s").0);
            for _ in 0..UNPUBLISHED_MAX {
                Observer::update(&*log, update(AgentId::generate()));
            }
            log.published(Some(0));
            let woken = Arc::new(Mutex::new(Vec::new()));
            let waiting = (0..3).map(|number| {
                let (log, woken) = (Arc::clone(&log), Arc::clone(&woken));
                tokio::spawn(async move {
                    log.room().await;
                    woken.lock().unwrap().push(number);
                })
            });
            let waiting: Vec<_> = waiting.collect();
            // This runtime has one thread: all of them have run as far as they can.
            tokio::task::yield_now().await;
            assert!(waiting.iter().all(|task| !task.is_finished()));
            log.published(freed);
            for task in waiting {
                let woken = tokio::time::timeout(Duration::from_mins(1), task).await;
                woken.unwrap().unwrap();
            }
            assert_eq!(*woken.lock().unwrap(), [0, 1, 2]);
        }
    }

    #[tokio::test]
    async fn a_wait_that_ends_without_events_leads_past_what_was_looked_at() {
        let (log, _passing) = EventLog::new("s");
        Observer::update(&log, update(AgentId::generate()));
        let of_another = Some(AgentId::generate());
        let page = log.after_waiting(0, 10, of_another, ready(())).await;
        assert_eq!((page.events.len(), page.next_sequence), (0, 1));
    }
}
