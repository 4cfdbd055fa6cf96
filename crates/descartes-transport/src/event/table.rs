//! Which prefixes are subscribed to, kept by connection: a subscriber that dies or closes sends no unsubscribe.

use std::collections::HashMap;

use bytes::Bytes;

/// Pure bookkeeping; the task in `interest.rs` owns one and feeds it.
#[derive(Debug, Default)]
pub(super) struct SubscriptionTable {
    by_connection: HashMap<u64, Subscriptions>,
    /// How many connections want each prefix.
    wanted: HashMap<Bytes, usize>,
}

#[derive(Debug, Default)]
struct Subscriptions {
    /// How often each prefix was subscribed to: it takes as many unsubscribes.
    prefixes: HashMap<Bytes, usize>,
}

impl SubscriptionTable {
    /// Whether somebody subscribed to a prefix of `topic`. Its cost depends on the topic's length, not on how many
    /// subscriptions there are.
    pub(super) fn wants(&self, topic: &[u8]) -> bool {
        !self.wanted.is_empty()
            && (0..=topic.len()).any(|length| self.wanted.contains_key(&topic[..length]))
    }

    /// Returns how many prefixes this connection has now.
    pub(super) fn subscribe(&mut self, connection_id: u64, prefix: &[u8]) -> usize {
        let prefixes = &mut self
            .by_connection
            .entry(connection_id)
            .or_default()
            .prefixes;
        if let Some(times) = prefixes.get_mut(prefix) {
            *times += 1;
            return prefixes.len();
        }
        // Copied, so that a short prefix does not keep the buffer alive in which it was read.
        let prefix = Bytes::copy_from_slice(prefix);
        prefixes.insert(prefix.clone(), 1);
        *self.wanted.entry(prefix).or_default() += 1;
        prefixes.len()
    }

    pub(super) fn unsubscribe(&mut self, connection_id: u64, prefix: &[u8]) {
        let Some(subscriptions) = self.by_connection.get_mut(&connection_id) else {
            return;
        };
        let Some(times) = subscriptions.prefixes.get_mut(prefix) else {
            return;
        };
        *times -= 1;
        if *times == 0 {
            subscriptions.prefixes.remove(prefix);
            if subscriptions.prefixes.is_empty() {
                self.by_connection.remove(&connection_id);
            }
            self.release(prefix);
        }
    }

    pub(super) fn disconnect(&mut self, connection_id: u64) {
        let Some(subscriptions) = self.by_connection.remove(&connection_id) else {
            return;
        };
        for prefix in subscriptions.prefixes.keys() {
            self.release(prefix);
        }
    }

    fn release(&mut self, prefix: &[u8]) {
        if let Some(connections) = self.wanted.get_mut(prefix) {
            *connections -= 1;
            if *connections == 0 {
                self.wanted.remove(prefix);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_wanted_as_long_as_one_connection_wants_it() {
        let mut table = SubscriptionTable::default();
        table.subscribe(1, b"status/");
        table.subscribe(2, b"status/");
        assert!(table.wants(b"status/42"));
        assert!(table.wants(b"status/"));
        assert!(!table.wants(b"status"));
        table.unsubscribe(1, b"status/");
        assert!(table.wants(b"status/42"));
        table.disconnect(2);
        assert!(!table.wants(b"status/42"));
        assert!(table.by_connection.is_empty() && table.wanted.is_empty());
    }

    #[test]
    fn the_empty_prefix_wants_everything() {
        let mut table = SubscriptionTable::default();
        assert!(!table.wants(b""));
        table.subscribe(1, b"");
        assert!(table.wants(b"") && table.wants(b"log/1/stdout"));
    }

    #[test]
    fn a_prefix_subscribed_twice_takes_two_unsubscribes_but_one_death() {
        let mut table = SubscriptionTable::default();
        assert_eq!(table.subscribe(1, b"a"), 1);
        assert_eq!(table.subscribe(1, b"a"), 1);
        table.unsubscribe(1, b"a");
        assert!(table.wants(b"a"));
        table.unsubscribe(1, b"a");
        table.unsubscribe(1, b"a");
        assert!(!table.wants(b"a"));
        table.subscribe(1, b"a");
        table.subscribe(1, b"a");
        table.disconnect(1);
        assert!(!table.wants(b"a"));
    }

    #[test]
    fn what_one_connection_does_leaves_the_others_alone() {
        let mut table = SubscriptionTable::default();
        table.subscribe(1, b"a");
        table.unsubscribe(2, b"a");
        table.disconnect(3);
        assert!(table.wants(b"a"));
    }
}
