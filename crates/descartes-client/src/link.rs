//! The one connection that all requests of a client share.
//!
//! ```text
//!        wanted           admitted             broken
//! Idle ─────────▶ Dialling ─────────▶ Connected ─────────▶ Dialling again ──▶ …
//!   ▲                │ failed                                   │ given up
//!   └────────────────┴──────────────────────────────────────────┘
//! ```
//!
//! A request waits in the table until its reply comes, its caller goes, or the link gives up. The table and the state
//! of the connection are behind one lock, so that a request either finds the connection or is found by it.

mod dial;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use descartes_protocol::Reply;
use descartes_transport::{ConnectionWatch, Requester};
use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Checked;
use dial::DialError;

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
    connected: watch::Sender<bool>,
    end: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    connection: State,
    /// How many connections there have been: which of them a request was sent on.
    generation: u64,
    waiting: HashMap<String, Waiting>,
    has_task: bool,
}

#[derive(Debug, Default)]
enum State {
    /// Nobody has wanted a connection, or it was given up.
    #[default]
    Idle,
    Dialling,
    Connected(Arc<Requester>),
}

#[derive(Debug)]
struct Waiting {
    body: Bytes,
    answer: oneshot::Sender<Answer>,
    /// Whether it may be sent on another connection when the one that it was sent on breaks.
    repeatable: bool,
    times_sent: u32,
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The server's reply. `repeated` says whether the request was sent more than once.
    Reply { reply: Box<Reply>, repeated: bool },
    /// A reply that is none.
    Garbled(String),
    /// There is no connection. `sent` says whether the request may have reached the server.
    Failed { error: DialError, sent: bool },
    /// The connection broke, and the request must not be sent again.
    Broken(String),
    /// The client was told to disconnect.
    Disconnected,
}

/// A request under way. Dropping it forgets the request: its reply is passed over.
#[derive(Debug)]
pub(crate) struct Ticket<'a> {
    link: &'a Link,
    id: String,
    answer: oneshot::Receiver<Answer>,
}

impl Link {
    pub(crate) fn new(config: Checked) -> Self {
        let end = CancellationToken::new();
        let shared = Shared {
            config,
            table: Mutex::default(),
            wanted: Notify::new(),
            connected: watch::Sender::new(false),
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

    pub(crate) fn is_connected(&self) -> bool {
        *self.shared.connected.borrow()
    }

    pub(crate) fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.subscribe()
    }

    /// Sends a request, or has it wait for the connection that it calls for.
    pub(crate) async fn submit(&self, id: &str, body: Bytes, repeatable: bool) -> Ticket<'_> {
        let (answer, ticket) = oneshot::channel();
        let mut waiting = Waiting {
            body: body.clone(),
            answer,
            repeatable,
            times_sent: 0,
        };
        let requester = {
            let mut table = self.shared.table();
            let requester = self.shared.requester(&mut table);
            if requester.is_some() {
                waiting.times_sent += 1;
            }
            table.waiting.insert(id.to_owned(), waiting);
            requester
        };
        if let Some(requester) = requester {
            // A socket that was closed meanwhile: the next connection finds the request in the table.
            let _ = requester.send(body).await;
        }
        Ticket {
            link: self,
            id: id.to_owned(),
            answer: ticket,
        }
    }

    /// Breaks the connection off; requests under way are told. The next request makes a new one.
    pub(crate) fn disconnect(&self) {
        let waiting = {
            let mut table = self.shared.table();
            table.connection = State::Idle;
            table.generation += 1;
            std::mem::take(&mut table.waiting)
        };
        self.shared.connected.send_replace(false);
        for request in waiting.into_values() {
            // A caller that has gone needs no word.
            let _ = request.answer.send(Answer::Disconnected);
        }
        self.shared.wanted.notify_one();
    }
}

impl Ticket<'_> {
    /// The answer, whenever it comes.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn answer(&mut self) -> Answer {
        let answered = (&mut self.answer).await;
        // The sender is dropped unused only with the whole link.
        answered.unwrap_or(Answer::Disconnected)
    }

    /// Sends the request once more, as its reply seems to be lost.
    pub(crate) async fn send_again(&self) {
        let shared = &self.link.shared;
        let again = {
            let mut table = shared.table();
            let requester = shared.requester(&mut table);
            let waiting = table.waiting.get_mut(&self.id);
            waiting.zip(requester).map(|(waiting, requester)| {
                waiting.times_sent += 1;
                (waiting.body.clone(), requester)
            })
        };
        if let Some((body, requester)) = again {
            let _ = requester.send(body).await;
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.link.shared.table().waiting.remove(&self.id);
    }
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection; where there is none, the task that makes one is woken, or begun.
    fn requester(self: &Arc<Self>, table: &mut Table) -> Option<Arc<Requester>> {
        match &table.connection {
            State::Connected(requester) => return Some(Arc::clone(requester)),
            State::Dialling => {}
            State::Idle => table.connection = State::Dialling,
        }
        if !table.has_task {
            table.has_task = true;
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                let end = shared.end.clone();
                end.run_until_cancelled(keep(&shared)).await;
            });
        }
        self.wanted.notify_one();
        None
    }

    fn is_wanted(&self) -> bool {
        matches!(self.table().connection, State::Dialling)
    }

    /// Puts a new connection to use and returns what waits to be sent on it.
    fn install(&self, requester: &Arc<Requester>) -> Option<(u64, Vec<Bytes>)> {
        let (generation, unsent) = {
            let mut table = self.table();
            if !matches!(table.connection, State::Dialling) {
                // It was disconnected while this was being made.
                return None;
            }
            table.generation += 1;
            table.connection = State::Connected(Arc::clone(requester));
            let generation = table.generation;
            let unsent = table.waiting.values_mut().map(|request| {
                request.times_sent += 1;
                request.body.clone()
            });
            (generation, unsent.collect())
        };
        self.connected.send_replace(true);
        Some((generation, unsent))
    }

    /// The connection of this generation is gone. Requests that must not be sent again are told.
    fn broken(&self, generation: u64, reason: &str) {
        let lost: Vec<Waiting> = {
            let mut table = self.table();
            if table.generation != generation {
                return;
            }
            table.connection = State::Dialling;
            let lost = table
                .waiting
                .extract_if(|_, request| request.times_sent > 0 && !request.repeatable);
            lost.map(|(_, request)| request).collect()
        };
        self.connected.send_replace(false);
        for request in lost {
            let _ = request.answer.send(Answer::Broken(reason.to_owned()));
        }
    }

    /// No connection can be had: everybody who waits is told, and the next request tries anew.
    fn give_up(&self, error: &DialError) {
        let waiting = {
            let mut table = self.table();
            if !matches!(table.connection, State::Dialling) {
                return;
            }
            table.connection = State::Idle;
            std::mem::take(&mut table.waiting)
        };
        for request in waiting.into_values() {
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
        let Some(request) = id.and_then(|id| self.table().waiting.remove(id)) else {
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
            Err(error) => Answer::Garbled(error.to_string()),
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
            connection = match dial::again(&shared.config).await {
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
