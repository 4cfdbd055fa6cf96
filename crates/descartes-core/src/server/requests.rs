//! The task that owns the request socket: one reply to everything.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use descartes_protocol::{ErrorCode, ErrorResponse, Reply, Request};
use descartes_transport::{Client, FrameError, Inbound, RequestSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Caller, Dispatch, Dispatched};
use crate::error::{AgentResult, ServerError};
use crate::keys::AuthorizedClients;
use crate::stats::{Counters, count};

/// Requests of one connection that may be under way.
const CLIENT_REQUESTS_MAX: usize = 1024;

/// Requests of all connections together that may be under way.
const REQUESTS_MAX: usize = 65_536;

/// Replies that may wait for the socket's task.
const REPLIES_QUEUE: usize = 1024;

/// Requests taken from the socket before replies get their turn.
const BURST: usize = 64;

/// The request socket with everything that is under way on it.
#[derive(Debug)]
pub(super) struct Requests<D> {
    socket: RequestSocket,
    dispatch: Arc<D>,
    clients: Option<Arc<AuthorizedClients>>,
    counters: Arc<Counters>,
    /// Requests under way, by connection.
    under_way: HashMap<u64, usize>,
    under_way_total: usize,
    replies: (mpsc::Sender<Finished>, mpsc::Receiver<Finished>),
}

/// A reply that came later.
#[derive(Debug)]
struct Finished {
    client: Client,
    body: Bytes,
}

/// What the loop wakes up for.
#[derive(Debug)]
enum Event {
    Request(Inbound),
    Reply(Finished),
    SocketClosed,
    Stop,
}

impl<D: Dispatch> Requests<D> {
    pub(super) fn new(
        socket: RequestSocket,
        dispatch: D,
        clients: Option<Arc<AuthorizedClients>>,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            socket,
            dispatch: Arc::new(dispatch),
            clients,
            counters,
            under_way: HashMap::new(),
            under_way_total: 0,
            replies: mpsc::channel(REPLIES_QUEUE),
        }
    }

    /// Answers until `stop`; then lets what is under way be answered, and closes the socket.
    pub(super) async fn run(mut self, stop: CancellationToken) -> AgentResult<()> {
        let ended = loop {
            match self.next_event(&stop).await {
                Event::Request(inbound) => self.take_burst(inbound),
                Event::Reply(finished) => self.deliver(finished),
                Event::SocketClosed => break Err(ServerError::SocketClosed),
                Event::Stop => break Ok(()),
            }
        };
        // Agents are dealt with, so what is under way ends by itself, or with its time.
        while ended.is_ok() && self.under_way_total > 0 {
            match tokio::time::timeout(LAST_REPLIES, self.replies.1.recv()).await {
                Ok(Some(finished)) => self.deliver(finished),
                Ok(None) | Err(_) => break,
            }
        }
        self.socket.close().await;
        ended
    }

    async fn next_event(&mut self, stop: &CancellationToken) -> Event {
        tokio::select! {
            inbound = self.socket.recv() => inbound.map_or(Event::SocketClosed, Event::Request),
            Some(finished) = self.replies.1.recv() => Event::Reply(finished),
            () = stop.cancelled() => Event::Stop,
        }
    }

    fn take_burst(&mut self, first: Inbound) {
        self.take(first);
        for _ in 1..BURST {
            match self.socket.try_recv() {
                Ok(Some(inbound)) => self.take(inbound),
                Ok(None) | Err(_) => return,
            }
        }
    }

    fn take(&mut self, inbound: Inbound) {
        let Inbound { client, body } = inbound;
        let Some(caller) = self.caller(&client) else {
            let reply = refuse(
                None,
                ErrorCode::PermissionDenied,
                "this client's key is not authorized any more".to_owned(),
            );
            return self.refuse(&client, &reply);
        };
        let request = match body.map_err(|error| malformed(&error)).and_then(decode) {
            Ok(request) => request,
            Err(reply) => return self.refuse(&client, &reply),
        };
        if self.is_busy(&client) {
            let id = Some(request.request_id().to_owned());
            let reply = refuse(
                id,
                ErrorCode::Busy,
                format!(
                    "more than {CLIENT_REQUESTS_MAX} requests of this client are under way; wait for replies"
                ),
            );
            return self.refuse(&client, &reply);
        }
        match self.dispatch.dispatch(&caller, request) {
            Dispatched::Ready(reply) => self.send(&client, reply.encode()),
            Dispatched::Later(reply) => {
                *self.under_way.entry(client.connection_id()).or_default() += 1;
                self.under_way_total += 1;
                let promise = Promise::new(client, self.replies.0.clone());
                tokio::spawn(async move { promise.keep(reply.await).await });
            }
        }
    }

    /// Who sent it; `None` for a client that was taken off the list since it connected.
    fn caller(&self, client: &Client) -> Option<Caller> {
        let mut caller = Caller::default();
        if let Some(clients) = &self.clients {
            let key = client.public_key()?;
            clients.role(&key)?;
            caller.name = clients.name(&key);
            caller.key = Some(key.to_z85());
        }
        Some(caller)
    }

    fn is_busy(&self, client: &Client) -> bool {
        let own = self.under_way.get(&client.connection_id());
        own.is_some_and(|&count| count >= CLIENT_REQUESTS_MAX)
            || self.under_way_total >= REQUESTS_MAX
    }

    fn refuse(&self, client: &Client, reply: &Reply) {
        count(&self.counters.errors);
        self.send(client, reply.encode());
    }

    fn deliver(&mut self, finished: Finished) {
        self.under_way_total -= 1;
        let connection = finished.client.connection_id();
        if let Some(count) = self.under_way.get_mut(&connection) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&connection);
            }
        }
        self.send(&finished.client, finished.body);
    }

    fn send(&self, client: &Client, body: Bytes) {
        if let Err(error) = self.socket.reply(client, body) {
            count(&self.counters.undelivered_replies);
            tracing::debug!(%error, address = ?client.address(), "a reply was not delivered");
        }
    }
}

/// How long the last replies may take when the server stops.
const LAST_REPLIES: std::time::Duration = std::time::Duration::from_secs(2);

fn decode(body: Bytes) -> Result<Request, Reply> {
    Request::decode(body).map_err(|error| error.to_reply())
}

fn malformed(error: &FrameError) -> Reply {
    refuse(None, ErrorCode::MalformedMessage, error.to_string())
}

fn refuse(request_id: Option<String>, error_code: ErrorCode, error: String) -> Reply {
    Reply::Error(ErrorResponse {
        request_id,
        error,
        error_code,
    })
}

/// Owes a client one reply, and gives it one even if the handler panics.
struct Promise {
    owed: Option<(Client, mpsc::Sender<Finished>)>,
}

impl Promise {
    fn new(client: Client, replies: mpsc::Sender<Finished>) -> Self {
        Self {
            owed: Some((client, replies)),
        }
    }

    async fn keep(mut self, reply: Reply) {
        if let Some((client, replies)) = self.owed.take() {
            let body = reply.encode();
            // The socket's task has ended: nobody is there to be answered.
            let _ = replies.send(Finished { client, body }).await;
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        if let Some((client, replies)) = self.owed.take() {
            let reply = refuse(
                None,
                ErrorCode::Internal,
                "the request failed inside the server; its log says more".to_owned(),
            );
            let body = reply.encode();
            let _ = replies.try_send(Finished { client, body });
        }
    }
}
