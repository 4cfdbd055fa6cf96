//! The requests under way, and whether there is a connection: what the keeper of the connection and the callers share,
//! behind one lock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use descartes_transport::Requester;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::task::JoinHandle;

use super::Answer;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) connection: State,
    /// How many connections there have been, those included that were broken off.
    pub(super) generation: u64,
    /// The task that makes connections.
    pub(super) keeper: Option<JoinHandle<()>>,
    pending: HashMap<String, Pending>,
}

#[derive(Debug, Default)]
pub(super) enum State {
    /// Nobody has wanted a connection, or it was given up.
    #[default]
    Idle,
    Dialling,
    Connected(Arc<Requester>),
}

/// A request that has no answer yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) body: Bytes,
    pub(super) answer: oneshot::Sender<Answer>,
    /// Whether it may be sent on another connection when the one that it was sent on breaks.
    pub(super) repeatable: bool,
    pub(super) times_sent: u32,
    /// Its place among the requests under way. The server counts it until it has answered, whether somebody waits for
    /// that or not.
    pub(super) _turn: OwnedSemaphorePermit,
    /// Set once nobody waits for the answer: when the place is free at the latest.
    pub(super) forget_at: Option<Instant>,
}

impl Table {
    pub(super) fn insert(&mut self, id: &str, request: Pending) {
        self.pending.insert(id.to_owned(), request);
    }

    pub(super) fn get(&mut self, id: &str) -> Option<&mut Pending> {
        self.pending.get_mut(id)
    }

    pub(super) fn remove(&mut self, id: &str) -> Option<Pending> {
        self.pending.remove(id)
    }

    /// Nobody waits for this one any more. It keeps its place until it is answered, or until then; without a connection
    /// nothing answers it, and it goes.
    pub(super) fn abandon(&mut self, id: &str, until: Instant) {
        let is_connected = matches!(self.connection, State::Connected(_));
        match self.pending.get_mut(id) {
            Some(request) if is_connected && request.times_sent > 0 => {
                request.body = Bytes::new();
                request.forget_at = Some(until);
            }
            _ => drop(self.pending.remove(id)),
        }
    }

    /// Frees the places of those whose answers are overdue and that nobody waits for.
    pub(super) fn sweep(&mut self, now: Instant) {
        self.pending
            .retain(|_, request| request.forget_at.is_none_or(|at| now < at));
    }

    /// What has to be sent on a new connection.
    pub(super) fn begin_connection(&mut self, requester: &Arc<Requester>) -> Vec<Bytes> {
        self.generation += 1;
        self.connection = State::Connected(Arc::clone(requester));
        let bodies = self.pending.values_mut().map(|request| {
            request.times_sent += 1;
            request.body.clone()
        });
        bodies.collect()
    }

    /// The connection is gone: returns those that must not be sent again.
    pub(super) fn end_connection(&mut self) -> Vec<Pending> {
        self.connection = State::Dialling;
        self.pending
            .retain(|_, request| request.forget_at.is_none());
        self.pending
            .extract_if(|_, request| request.times_sent > 0 && !request.repeatable)
            .map(|(_, request)| request)
            .collect()
    }

    /// Nobody wants a connection any more: returns all.
    pub(super) fn go_idle(&mut self) -> Vec<Pending> {
        self.connection = State::Idle;
        self.generation += 1;
        std::mem::take(&mut self.pending).into_values().collect()
    }
}
