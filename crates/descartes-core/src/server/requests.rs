//! The task that owns the request socket: one reply to everything.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{DecodeError, ErrorCode, Reply, Request};
use descartes_transport::{Client, FrameError, Inbound, ReplyError, RequestSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Caller, Dispatch, Dispatched};
use crate::error::{AgentResult, ServerError};
use crate::keys::AuthorizedClients;
use crate::stats::{Counters, count};

mod promise;
mod refusal;

use promise::{Finished, Promise};

/// Requests of one connection that may be under way.
const CLIENT_REQUESTS_MAX: usize = 1024;

/// Requests of all connections together that may be under way.
const REQUESTS_MAX: usize = 65_536;

/// Replies that may wait for the socket's task.
const REPLIES_QUEUE: usize = 1024;

/// Requests taken from the socket before replies get their turn.
const BURST: usize = 64;

/// A body above this is decoded elsewhere: one of 10 MiB can keep a core busy for 0.3 s.
const DECODED_HERE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of bodies that wait behind one that is being decoded, per connection.
const BEHIND_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The same for all connections together, those being decoded included.
const UNDECODED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// How long the last replies may take altogether when the server stops.
const LAST_REPLIES: Duration = Duration::from_secs(2);

/// The request socket with everything that is under way on it.
#[derive(Debug)]
pub(super) struct Requests<D> {
    socket: RequestSocket,
    dispatch: Arc<D>,
    clients: Option<Arc<AuthorizedClients>>,
    counters: Arc<Counters>,
    connections: HashMap<u64, Connection>,
    under_way_total: usize,
    /// Bytes of large bodies that are being decoded, and of what waits behind them.
    undecoded_bytes: usize,
    replies: (mpsc::Sender<Finished>, mpsc::Receiver<Finished>),
    decoded: (mpsc::Sender<Decoded>, mpsc::Receiver<Decoded>),
}

/// What is under way on one connection.
#[derive(Debug, Default)]
struct Connection {
    requests: usize,
    /// What came while a large body was being decoded: it keeps its place.
    behind: Option<VecDeque<Inbound>>,
    behind_bytes: usize,
}

/// A large body that was decoded elsewhere.
#[derive(Debug)]
struct Decoded {
    client: Client,
    request: Box<Result<Request, DecodeError>>,
    /// Length of the body.
    bytes: usize,
}

/// What the loop wakes up for.
#[derive(Debug)]
enum Event {
    Request(Inbound),
    Decoded(Decoded),
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
            connections: HashMap::new(),
            under_way_total: 0,
            undecoded_bytes: 0,
            replies: mpsc::channel(REPLIES_QUEUE),
            decoded: mpsc::channel(BURST),
        }
    }

    /// Answers until `stop`; then lets what is under way be answered, and closes the socket.
    pub(super) async fn run(mut self, stop: CancellationToken) -> AgentResult<()> {
        let ended = loop {
            match self.next_event(&stop).await {
                Event::Request(inbound) => self.take_burst(inbound),
                Event::Decoded(decoded) => self.take_decoded(decoded),
                Event::Reply(finished) => self.deliver(finished),
                Event::SocketClosed => break Err(ServerError::SocketClosed),
                Event::Stop => break Ok(()),
            }
        };
        if ended.is_ok() {
            let last_replies = tokio::time::timeout(LAST_REPLIES, self.answer_the_rest());
            if last_replies.await.is_err() {
                let requests = self.under_way_total;
                tracing::warn!(requests, "requests are left that take too long to answer");
            }
        }
        self.socket.close().await;
        ended
    }

    /// Answers what can be read until nothing is under way. Agents are dealt with, so that it ends by
    /// itself unless a client goes on asking.
    async fn answer_the_rest(&mut self) {
        loop {
            while let Ok(Some(first)) = self.socket.try_recv() {
                self.take_burst(first);
                while let Ok(finished) = self.replies.1.try_recv() {
                    self.deliver(finished);
                }
                // The time may be over.
                tokio::task::yield_now().await;
            }
            if self.under_way_total == 0 && self.undecoded_bytes == 0 {
                return;
            }
            tokio::select! {
                Some(decoded) = self.decoded.1.recv() => self.take_decoded(decoded),
                Some(finished) = self.replies.1.recv() => self.deliver(finished),
            }
        }
    }

    async fn next_event(&mut self, stop: &CancellationToken) -> Event {
        tokio::select! {
            inbound = self.socket.recv() => inbound.map_or(Event::SocketClosed, Event::Request),
            Some(decoded) = self.decoded.1.recv() => Event::Decoded(decoded),
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
        let connection = self.connections.get_mut(&inbound.client.connection_id());
        if let Some(connection) = connection
            && let Some(behind) = &mut connection.behind
        {
            let bytes = inbound.body.as_ref().map_or(0, Bytes::len);
            if behind.len() >= CLIENT_REQUESTS_MAX
                || connection.behind_bytes + bytes > BEHIND_BYTES_MAX
                || self.undecoded_bytes + bytes > UNDECODED_BYTES_MAX
            {
                let reply = refusal::unread(ErrorCode::Busy, too_many());
                return self.refuse(&inbound.client, &reply);
            }
            connection.behind_bytes += bytes;
            self.undecoded_bytes += bytes;
            behind.push_back(inbound);
            return;
        }
        let Inbound { client, body } = inbound;
        match body {
            Ok(body) if body.len() > DECODED_HERE_BYTES_MAX => self.decode_elsewhere(client, body),
            Ok(body) => self.take_request(client, Request::decode(body)),
            Err(error) => self.refuse(&client, &malformed(&error)),
        }
    }

    fn decode_elsewhere(&mut self, client: Client, body: Bytes) {
        let bytes = body.len();
        if self.undecoded_bytes + bytes > UNDECODED_BYTES_MAX {
            let reply = refusal::unread(ErrorCode::Busy, too_many());
            return self.refuse(&client, &reply);
        }
        self.undecoded_bytes += bytes;
        let connection = self.connections.entry(client.connection_id()).or_default();
        connection.behind = Some(VecDeque::new());
        let decoded = self.decoded.0.clone();
        tokio::task::spawn_blocking(move || {
            let request = Box::new(Request::decode(body));
            // Without the socket's task there is nobody to be answered.
            let _ = decoded.blocking_send(Decoded {
                client,
                request,
                bytes,
            });
        });
    }

    fn take_decoded(&mut self, decoded: Decoded) {
        let id = decoded.client.connection_id();
        let connection = self.connections.entry(id).or_default();
        let behind = connection.behind.take().unwrap_or_default();
        self.undecoded_bytes -= decoded.bytes + std::mem::take(&mut connection.behind_bytes);
        self.take_request(decoded.client, *decoded.request);
        for inbound in behind {
            self.take(inbound);
        }
        self.forget_if_idle(id);
    }

    fn take_request(&mut self, client: Client, request: Result<Request, DecodeError>) {
        let request = match request {
            Ok(request) => request,
            Err(error) => return self.refuse(&client, &error.to_reply()),
        };
        let caller = match self.caller(&client, &request) {
            Ok(caller) => caller,
            Err(error) => {
                let reply = refusal::of(request, ErrorCode::PermissionDenied, error.to_owned());
                return self.refuse(&client, &reply);
            }
        };
        if self.is_busy(&client) {
            let reply = refusal::of(request, ErrorCode::Busy, too_many());
            return self.refuse(&client, &reply);
        }
        let request_id = request.request_id().to_owned();
        let dispatch = &self.dispatch;
        // A handler that panics fails its own request, not the server.
        let dispatched = catch_unwind(AssertUnwindSafe(|| dispatch.dispatch(&caller, request)));
        let Ok(dispatched) = dispatched else {
            return self.refuse(&client, &refusal::failed(request_id));
        };
        match dispatched {
            Dispatched::Ready(reply) => self.send(&client, Some(request_id), reply.encode()),
            Dispatched::Later(reply) => {
                self.connections
                    .entry(client.connection_id())
                    .or_default()
                    .requests += 1;
                self.under_way_total += 1;
                let promise = Promise::new(client, request_id, self.replies.0.clone());
                tokio::spawn(async move { promise.keep(reply.await).await });
            }
        }
    }

    /// Who sent it, if the client may; it may have been taken off the list since it connected.
    fn caller(&self, client: &Client, request: &Request) -> Result<Caller, &'static str> {
        let mut caller = Caller::default();
        if let Some(clients) = &self.clients {
            let key = client.public_key().ok_or("this client has no key")?;
            let role = clients
                .role(&key)
                .ok_or("this client's key is not authorized any more")?;
            if !role.allows(request) {
                return Err("this client's role does not allow that");
            }
            caller.name = clients.name(&key);
            caller.key = Some(key.to_z85());
        }
        Ok(caller)
    }

    fn is_busy(&self, client: &Client) -> bool {
        let own = self.connections.get(&client.connection_id());
        own.is_some_and(|connection| connection.requests >= CLIENT_REQUESTS_MAX)
            || self.under_way_total >= REQUESTS_MAX
    }

    fn refuse(&self, client: &Client, reply: &Reply) {
        count(&self.counters.errors);
        self.send(
            client,
            reply.request_id().map(str::to_owned),
            reply.encode(),
        );
    }

    fn deliver(&mut self, finished: Finished) {
        self.under_way_total -= 1;
        let id = finished.client.connection_id();
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.requests -= 1;
        }
        self.forget_if_idle(id);
        self.send(&finished.client, Some(finished.request_id), finished.body);
    }

    fn forget_if_idle(&mut self, id: u64) {
        let connection = self.connections.get(&id);
        if connection
            .is_some_and(|connection| connection.requests == 0 && connection.behind.is_none())
        {
            self.connections.remove(&id);
        }
    }

    /// A reply that a client has no room for is replaced by a small one that says so.
    fn send(&self, client: &Client, request_id: Option<String>, body: Bytes) {
        let sent = match self.socket.reply(client, body) {
            Err(ReplyError::Full) => {
                count(&self.counters.undelivered_replies);
                let body = refusal::no_room(request_id).encode();
                self.socket.reply(client, body)
            }
            sent => sent,
        };
        if let Err(error) = sent {
            count(&self.counters.undelivered_replies);
            tracing::debug!(%error, address = ?client.address(), "a reply was not delivered");
        }
    }
}

fn malformed(error: &FrameError) -> Reply {
    refusal::unread(ErrorCode::MalformedMessage, error.to_string())
}

fn too_many() -> String {
    format!(
        "more than {CLIENT_REQUESTS_MAX} requests of this client are under way; wait for replies"
    )
}
