//! The server's request socket: ROUTER, spoken to by REQ and DEALER clients, directly or through proxies.

mod backlog;
mod envelope;

use std::fmt;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use omq_tokio::{Error as OmqError, Identity, Message, PeerPublicKey, Socket, TrySendError};

use crate::Closed;
use crate::bind::{BindError, Bound, SocketFile, SocketRole, bind};
use crate::endpoint::Endpoint;
use crate::keys::PublicKey;
use crate::limits::Limits;
use crate::security::ServerSecurity;
use backlog::{Backlog, Backlogs};
use envelope::Envelope;
pub use envelope::{FrameError, HOP_SIZE_MAX, HOPS_MAX};

/// The server's ROUTER socket.
///
/// Its methods take `&self`, but one task should own it: requests come in one order, and [`Self::reply`] never waits.
#[derive(Debug)]
pub struct RequestSocket {
    socket: Socket,
    endpoint: Endpoint,
    backlogs: Backlogs,
    file: Mutex<Option<SocketFile>>,
}

impl RequestSocket {
    /// Listens on `endpoint`.
    ///
    /// # Errors
    /// See [`BindError`]; nothing stays behind.
    pub async fn bind(
        endpoint: &Endpoint,
        security: ServerSecurity,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        // Without `router_mandatory` a reply that cannot be delivered would vanish and count as sent.
        let options = security.apply(limits.options()).router_mandatory(true);
        let Bound {
            socket,
            endpoint,
            file,
        } = bind(SocketRole::Requests, endpoint, options).await?;
        let backlogs = Backlogs::new(limits.reply_backlog_bytes);
        Ok(Self {
            socket,
            endpoint,
            backlogs,
            file: Mutex::new(file),
        })
    }

    /// Where it listens, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The next request.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&self) -> Result<Inbound, Closed> {
        loop {
            let message = self.socket.recv().await.map_err(|_| Closed)?;
            if let Some(inbound) = self.inbound(message) {
                return Ok(inbound);
            }
        }
    }

    /// The next request, if one is there already.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    pub fn try_recv(&self) -> Result<Option<Inbound>, Closed> {
        match self.socket.try_recv() {
            Ok(message) => Ok(self.inbound(message)),
            Err(OmqError::WouldBlock) => Ok(None),
            Err(_) => Err(Closed),
        }
    }

    /// Sends `body` to `client`, in the envelope that its request came in. Never waits: the message is queued, or
    /// refused.
    ///
    /// # Errors
    /// [`ReplyError::Gone`] when the client, or this socket, is no longer connected; [`ReplyError::Full`] when the
    /// client does not read what it has been sent.
    pub fn reply(&self, client: &Client, body: Bytes) -> Result<(), ReplyError> {
        let body = client.backlog.charge(body).ok_or(ReplyError::Full)?;
        let message = client.envelope.wrap(body);
        self.socket
            .try_send_to(&client.identity, message)
            .map_err(|error| match error {
                TrySendError::Full(_) => ReplyError::Full,
                TrySendError::Closed | TrySendError::Error(_) => ReplyError::Gone,
            })
    }

    /// Stops listening, lets queued replies go out for at most [`Limits::linger`], and disconnects everybody. On return
    /// the address is free.
    pub async fn close(&self) {
        // A second close finds the socket closed, which is what it wants.
        let _ = self.socket.clone().close().await;
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }

    fn inbound(&self, mut message: Message) -> Option<Inbound> {
        let identity = message.pop_identity()?;
        let backlog = self.backlogs.of(identity.peer_info().connection_id);
        let (envelope, body) = Envelope::unwrap(message);
        Some(Inbound {
            client: Client {
                identity,
                envelope,
                backlog,
            },
            body,
        })
    }
}

/// A request as it came in.
#[derive(Debug)]
pub struct Inbound {
    /// Who sent it; what [`RequestSocket::reply`] needs.
    pub client: Client,
    /// The one frame that is left after the envelope, or why it is not one.
    pub body: Result<Bytes, FrameError>,
}

/// The sender of one request: the connection, and the shape of its envelope. Cheap to clone.
///
/// A client that chose its own routing identity and reconnects under it gets the replies to what it asked before.
#[derive(Clone)]
pub struct Client {
    identity: Identity,
    envelope: Envelope,
    backlog: Backlog,
}

impl Client {
    /// Names the connection, unique in its socket's life.
    #[must_use]
    pub fn connection_id(&self) -> u64 {
        self.identity.peer_info().connection_id
    }

    /// The client's key, verified by the CURVE handshake; none without CURVE.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        match self.identity.peer_info().authentication.public_key {
            Some(PeerPublicKey::Curve(bytes)) => Some(PublicKey::from_bytes(bytes)),
            _ => None,
        }
    }

    /// The address it connects from, `ip:port`, for logs; none for ipc.
    #[must_use]
    pub fn address(&self) -> Option<String> {
        self.identity
            .peer_info()
            .peer_address
            .map(|address| address.to_string())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Client")
            .field("connection_id", &self.connection_id())
            .field("public_key", &self.public_key())
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// Why a reply was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The client, or the server's own socket, is no longer connected.
    #[error("client is gone")]
    Gone,
    /// Too much waits for the client already: it does not read.
    #[error("client does not read its replies")]
    Full,
}
