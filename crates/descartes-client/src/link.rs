//! The one connection that all requests of a client share.
//!
//! ```text
//!        wanted           admitted             broken
//! Idle ─────────▶ Dialling ─────────▶ Connected ─────────▶ Dialling again ──▶ …
//!   ▲                │ failed                                   │ given up
//!   └────────────────┴──────────────────────────────────────────┘
//! ```
//!
//! A request waits in the table until its reply comes or the link gives up. The table and the state of the connection
//! are behind one lock, so that a request either finds the connection or is found by it.

mod dial;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use descartes_protocol::Reply;
use descartes_transport::{ConnectionWatch, Requester};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Checked;
use dial::DialError;
use table::{Pending, State, Table};

/// A client's connection. It is made when it is wanted, and goes with the last handle.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    _ends_with_the_last_handle: DropGuard,
}

#[derive(Debug)]
struct Shared {
    config: Checked,
    table: Mutex<Table>,
    wanted: Notify,
    connectivity: watch::Sender<Connectivity>,
    end: CancellationToken,
}

/// Whether a client has a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connectivity {
    /// None was wanted yet, or it was broken off, or given up.
    Idle,
    /// The server has let the client in.
    Connected,
    /// The connection broke, and attempts are made to connect again.
    Lost {
        /// What went wrong last, for a person.
        reason: String,
    },
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The server's reply. `repeated` says whether the request was sent more than once.
    Reply { reply: Box<Reply>, repeated: bool },
    /// A reply that cannot be decoded.
    Undecodable(String),
    /// There is no connection. `sent` says whether the request may have reached the server.
    Failed { error: DialError, sent: bool },
    /// The connection broke, and the request must not be sent again.
    Broken(String),
    /// The client was told to disconnect, or its runtime has ended.
    Disconnected,
}

/// A request under way. Dropping it means that nobody waits for the answer.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    link: &'a Link,
    id: String,
    answer: oneshot::Receiver<Answer>,
    /// How late the answer can be.
    patience: Duration,
}

impl Link {
    pub(crate) fn new(config: Checked) -> Self {
        let end = CancellationToken::new();
        let shared = Shared {
            config,
            table: Mutex::default(),
            wanted: Notify::new(),
            connectivity: watch::Sender::new(Connectivity::Idle),
            end: end.clone(),
        };
        Self {
            shared: Arc::new(shared),
            _ends_with_the_last_handle: end.drop_guard(),
        }
    }

    pub(crate) fn config(&self) -> &Checked {
        &self.shared.config
    }

    pub(crate) fn connectivity(&self) -> watch::Receiver<Connectivity> {
        self.shared.connectivity.subscribe()
    }

    /// Frees the places of requests that nobody waits for and whose replies seem to be lost.
    pub(crate) fn sweep(&self) {
        self.shared.table().sweep(Instant::now());
    }

    /// Takes a request in. Where there is no connection it calls for one, which then sends it.
    pub(crate) fn submit(
        &self,
        id: &str,
        body: Bytes,
        repeatable: bool,
        patience: Duration,
        turn: OwnedSemaphorePermit,
    ) -> Ticket<'_> {
        let (sender, answer) = oneshot::channel();
        let request = Pending {
            body,
            answer: sender,
            repeatable,
            times_sent: 0,
            _turn: turn,
            forget_at: None,
        };
        let mut table = self.shared.table();
        // First: what is left of a runtime that has ended goes before this one comes.
        self.shared.requester(&mut table);
        table.insert(id, request);
        Ticket {
            link: self,
            id: id.to_owned(),
            answer,
            patience,
        }
    }

    /// Breaks the connection off; requests under way are told. The next request makes a new one.
    pub(crate) fn disconnect(&self) {
        let mut table = self.shared.table();
        let pending = table.go_idle();
        self.shared.connectivity.send_replace(Connectivity::Idle);
        drop(table);
        for request in pending {
            // A caller that has gone needs no word.
            let _ = request.answer.send(Answer::Disconnected);
        }
        self.shared.wanted.notify_one();
    }
}

impl Ticket<'_> {
    /// Sends the request, if there is a connection and it was not sent yet.
    pub(crate) async fn send(&self) {
        self.send_if(|times_sent| times_sent == 0).await;
    }

    /// Sends the request once more, if there is a connection, as its reply seems to be lost.
    pub(crate) async fn send_again(&self) {
        self.send_if(|_| true).await;
    }

    async fn send_if(&self, wanted: impl Fn(u32) -> bool) {
        let shared = &self.link.shared;
        let to_send = {
            let mut table = shared.table();
            let requester = shared.requester(&mut table);
            let request = table.get(&self.id);
            request.zip(requester).and_then(|(request, requester)| {
                wanted(request.times_sent).then(|| {
                    request.times_sent += 1;
                    (request.body.clone(), requester)
                })
            })
        };
        if let Some((body, requester)) = to_send {
            // A socket that was closed meanwhile: the next connection finds the request in the table.
            let _ = requester.send(body).await;
        }
    }

    /// The answer, whenever it comes.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn answer(&mut self) -> Answer {
        let answered = (&mut self.answer).await;
        // The sender is dropped unused only with the link, or with its runtime.
        answered.unwrap_or(Answer::Disconnected)
    }

    /// How often it was sent so far.
    pub(crate) fn times_sent(&self) -> u32 {
        let mut table = self.link.shared.table();
        table.get(&self.id).map_or(0, |request| request.times_sent)
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let until = Instant::now().checked_add(self.patience);
        let mut table = self.link.shared.table();
        match until {
            Some(until) => table.abandon(&self.id, until),
            None => drop(table.remove(&self.id)),
        }
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; where there is none, the task that makes one is woken, or begun.
    fn requester(self: &Arc<Self>, table: &mut Table) -> Option<Arc<Requester>> {
        let has_keeper = table
            .keeper
            .as_ref()
            .is_some_and(|keeper| !keeper.is_finished());
        if !has_keeper {
            // The runtime that it ran on has ended, and its connection with it.
            drop(table.go_idle());
        }
        match &table.connection {
            State::Connected(requester) => return Some(Arc::clone(requester)),
            State::Dialling => {}
            State::Idle => table.connection = State::Dialling,
        }
        if !has_keeper {
            let shared = Arc::clone(self);
            table.keeper = Some(tokio::spawn(async move {
                let end = shared.end.clone();
                end.run_until_cancelled(keep(&shared)).await;
            }));
        }
        self.wanted.notify_one();
        None
    }

    fn is_wanted(&self) -> bool {
        matches!(self.table().connection, State::Dialling)
    }

    /// Puts a new connection to use and returns what waits to be sent on it; `None` where it is not wanted any more.
    fn install(&self, requester: &Arc<Requester>) -> Option<(u64, Vec<Bytes>)> {
        let mut table = self.table();
        if !matches!(table.connection, State::Dialling) {
            return None;
        }
        let unsent = table.begin_connection(requester);
        self.connectivity.send_replace(Connectivity::Connected);
        Some((table.generation, unsent))
    }

    /// The connection of this generation is gone. Requests that must not be sent again are told.
    fn broken(&self, generation: u64, reason: &str) {
        let mut table = self.table();
        if table.generation != generation {
            return;
        }
        let lost = table.end_connection();
        self.lost(reason.to_owned());
        drop(table);
        for request in lost {
            let _ = request.answer.send(Answer::Broken(reason.to_owned()));
        }
    }

    /// Tells why there is no connection, while it is being tried to have one.
    fn lost(&self, reason: String) {
        self.connectivity.send_if_modified(|now| {
            let lost = Connectivity::Lost { reason };
            let changed = *now != lost;
            *now = lost;
            changed
        });
    }

    /// No connection can be had: everybody who waits is told, and the next request tries anew.
    fn give_up(&self, error: &DialError) {
        let mut table = self.table();
        if !matches!(table.connection, State::Dialling) {
            return;
        }
        let pending = table.go_idle();
        self.connectivity.send_replace(Connectivity::Idle);
        drop(table);
        for request in pending {
            let _ = request.answer.send(Answer::Failed {
                error: error.clone(),
                sent: request.times_sent > 0,
            });
        }
    }

    fn deliver(&self, body: Bytes) {
        let decoded = Reply::decode(body);
        let id = match &decoded {
            Ok(reply) => reply.request_id(),
            Err(error) => error.request_id.as_deref(),
        };
        let Some(request) = id.and_then(|id| self.table().remove(id)) else {
            // The second reply to what was sent twice, or one that came too late.
            tracing::debug!(
                request_id = id,
                "passing over a reply that nobody waits for"
            );
            return;
        };
        let answer = match decoded {
            Ok(reply) => Answer::Reply {
                reply: Box::new(reply),
                repeated: request.times_sent > 1,
            },
            Err(error) => Answer::Undecodable(error.to_string()),
        };
        // A caller that has gone needs no word.
        let _ = request.answer.send(answer);
    }
}

/// Keeps a connection while it is wanted. Never ends by itself.
async fn keep(shared: &Shared) {
    loop {
        while !shared.is_wanted() {
            shared.wanted.notified().await;
        }
        let mut connection = match dial::first(&shared.config).await {
            Ok(connection) => connection,
            Err(error) => {
                shared.give_up(&error);
                continue;
            }
        };
        // Until it was given up, or is not wanted any more.
        while let Some(reason) = serve(shared, connection).await {
            tracing::debug!(reason, "the connection broke");
            connection = match dial::again(&shared.config, |why| shared.lost(why)).await {
                Ok(connection) => connection,
                Err(error) => {
                    shared.give_up(&error);
                    break;
                }
            };
        }
    }
}

/// Uses a connection until it breaks, and says why; `None` once it is not wanted any more.
async fn serve(shared: &Shared, connection: dial::Connection) -> Option<String> {
    let dial::Connection {
        requester,
        mut watch,
    } = connection;
    let requester = Arc::new(requester);
    let (generation, unsent) = shared.install(&requester)?;
    for body in unsent {
        // A socket that was closed says so below as well.
        let _ = requester.send(body).await;
    }
    let reason = loop {
        tokio::select! {
            reply = requester.recv() => match reply {
                Ok(body) => shared.deliver(body),
                Err(closed) => break closed.to_string(),
            },
            reason = broken(&mut watch) => break reason,
            () = shared.wanted.notified() => {
                if shared.table().generation != generation {
                    return None;
                }
            }
        }
    };
    shared.broken(generation, &reason);
    Some(reason)
}

/// Waits until a connection is no longer one.
async fn broken(watch: &mut ConnectionWatch) -> String {
    use descartes_transport::ConnectionState::{
        Connected, Connecting, Failing, Mismatched, Refused,
    };
    loop {
        match watch.changed().await {
            Ok(Connected | Connecting) => {}
            Ok(Failing { reason }) => return reason,
            Ok(Mismatched { fault } | Refused { fault }) => return fault.to_string(),
            Err(closed) => return closed.to_string(),
        }
    }
}
