//! How many bytes of replies wait for each client.
//!
//! The library bounds a client's queue by a number of messages only, and a message may be large. So a large reply
//! carries a receipt that is given back when the library drops its bytes, once they have been written or the client has
//! gone.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;

/// Replies up to here are not counted: the bound on their number is enough.
const UNCOUNTED_MAX: usize = 4096;

/// The table is swept when it has doubled since the last time, and never below this size.
const SWEEP_MIN: usize = 64;

/// The backlogs of all clients that are being served or that something waits for.
#[derive(Debug)]
pub(super) struct Backlogs {
    limit: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_connection: HashMap<u64, Weak<AtomicUsize>>,
    sweep_at: usize,
}

impl Backlogs {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            table: Mutex::default(),
        }
    }

    pub(super) fn of(&self, connection_id: u64) -> Backlog {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = table
            .by_connection
            .get(&connection_id)
            .and_then(Weak::upgrade)
        {
            return Backlog {
                waiting,
                limit: self.limit,
            };
        }
        if table.by_connection.len() >= table.sweep_at {
            table
                .by_connection
                .retain(|_, waiting| waiting.strong_count() > 0);
            table.sweep_at = SWEEP_MIN.max(2 * table.by_connection.len());
        }
        let waiting = Arc::new(AtomicUsize::new(0));
        table
            .by_connection
            .insert(connection_id, Arc::downgrade(&waiting));
        Backlog {
            waiting,
            limit: self.limit,
        }
    }
}

/// What waits for one client.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    waiting: Arc<AtomicUsize>,
    limit: usize,
}

impl Backlog {
    /// The same bytes, counted as waiting until they are dropped; nothing when too many wait already.
    pub(super) fn charge(&self, body: Bytes) -> Option<Bytes> {
        let size = body.len();
        if size <= UNCOUNTED_MAX {
            return Some(body);
        }
        let admit = |waiting: usize| {
            (waiting == 0 || waiting + size <= self.limit).then_some(waiting + size)
        };
        self.waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit)
            .ok()?;
        Some(Bytes::from_owner(Charged {
            body,
            waiting: Arc::clone(&self.waiting),
        }))
    }
}

struct Charged {
    body: Bytes,
    waiting: Arc<AtomicUsize>,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

impl Drop for Charged {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.body.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(size: usize) -> Bytes {
        Bytes::from(vec![0; size])
    }

    #[test]
    fn what_waits_is_bounded_and_freed_when_it_is_dropped() {
        let backlog = Backlogs::new(100_000).of(1);
        let first = backlog.charge(body(60_000)).unwrap();
        assert!(backlog.charge(body(60_000)).is_none());
        assert!(backlog.charge(body(40_000)).is_some());
        drop(first);
        assert!(backlog.charge(body(60_000)).is_some());
    }

    #[test]
    fn one_reply_above_the_limit_is_taken_when_nothing_waits() {
        let backlog = Backlogs::new(100_000).of(1);
        let large = backlog.charge(body(1 << 20)).unwrap();
        assert!(backlog.charge(body(5000)).is_none());
        assert!(
            backlog.charge(body(UNCOUNTED_MAX)).is_some(),
            "small replies are bounded by number"
        );
        drop(large);
        assert!(backlog.charge(body(5000)).is_some());
    }

    #[test]
    fn all_requests_of_a_connection_share_its_backlog() {
        let backlogs = Backlogs::new(100_000);
        let waiting = backlogs.of(1).charge(body(90_000));
        assert!(backlogs.of(1).charge(body(90_000)).is_none());
        assert!(backlogs.of(2).charge(body(90_000)).is_some());
        drop(waiting);
    }

    #[test]
    fn clients_that_have_gone_are_forgotten() {
        let backlogs = Backlogs::new(100_000);
        for connection_id in 0..10_000 {
            backlogs.of(connection_id);
        }
        assert!(backlogs.table.lock().unwrap().by_connection.len() <= SWEEP_MIN);
    }
}
