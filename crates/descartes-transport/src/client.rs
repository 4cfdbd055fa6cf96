//! The client's two sockets. Both connect in the background and reconnect for as long as they live, after 100 ms at
//! first and then up to every 2 s.

mod connection;

use bytes::Bytes;
use omq_tokio::{Message, Socket, SocketType};

use crate::Closed;
use crate::endpoint::Endpoint;
use crate::limits::Limits;
use crate::security::ClientSecurity;
pub use connection::{ConnectionState, ConnectionWatch, HandshakeFault};

/// A DEALER socket to one server: any number of requests at once; replies come in any order.
///
/// It never sends anything twice: what was lost with a connection stays lost.
#[derive(Debug)]
pub struct Requester {
    socket: Socket,
    connection: ConnectionWatch,
}

impl Requester {
    /// Begins to connect; requests may be sent at once.
    ///
    /// # Errors
    /// See [`ConnectError`]. A server that is not there is no error: see [`Self::connection`].
    pub async fn connect(
        endpoint: &Endpoint,
        security: ClientSecurity,
        limits: &Limits,
    ) -> Result<Self, ConnectError> {
        let (socket, connection) = connect(SocketType::Dealer, endpoint, security, limits).await?;
        Ok(Self { socket, connection })
    }

    /// Queues a request, behind an empty delimiter; waits only when [`Limits::send_hwm`] requests are queued already.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    ///
    /// # Cancel safety
    /// When the future is dropped, the request has either been queued whole or not at all.
    pub async fn send(&self, body: Bytes) -> Result<(), Closed> {
        self.socket
            .send(Message::multipart([Bytes::new(), body]))
            .await
            .map_err(|_| Closed)
    }

    /// The next reply's body.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&self) -> Result<Bytes, Closed> {
        loop {
            let message = self.socket.recv().await.map_err(|_| Closed)?;
            match message.try_as_parts::<2>() {
                Ok([delimiter, body]) if delimiter.is_empty() => return Ok(body),
                _ => tracing::warn!(
                    frames = message.len(),
                    "ignoring a reply that is not a delimiter and a body"
                ),
            }
        }
    }

    /// How the connection is doing.
    #[must_use]
    pub fn connection(&self) -> ConnectionWatch {
        self.connection.clone()
    }

    /// Lets queued requests go out for at most [`Limits::linger`], and disconnects.
    pub async fn close(&self) {
        // A second close finds the socket closed, which is what it wants.
        let _ = self.socket.clone().close().await;
    }
}

/// A SUB socket to one server. It subscribes again by itself after a reconnection.
#[derive(Debug)]
pub struct Subscriber {
    socket: Socket,
    connection: ConnectionWatch,
}

impl Subscriber {
    /// Begins to connect, with no subscriptions.
    ///
    /// # Errors
    /// See [`ConnectError`]. A server that is not there is no error: see [`Self::connection`].
    pub async fn connect(
        endpoint: &Endpoint,
        security: ClientSecurity,
        limits: &Limits,
    ) -> Result<Self, ConnectError> {
        let (socket, connection) = connect(SocketType::Sub, endpoint, security, limits).await?;
        Ok(Self { socket, connection })
    }

    /// Asks for every topic that begins with `prefix`, now and after each reconnection.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    pub async fn subscribe(&self, prefix: &str) -> Result<(), Closed> {
        self.socket
            .subscribe(Bytes::copy_from_slice(prefix.as_bytes()))
            .await
            .map_err(|_| Closed)
    }

    /// Takes one [`Self::subscribe`] with the same prefix back.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    pub async fn unsubscribe(&self, prefix: &str) -> Result<(), Closed> {
        self.socket
            .unsubscribe(Bytes::copy_from_slice(prefix.as_bytes()))
            .await
            .map_err(|_| Closed)
    }

    /// The next message: topic and body.
    ///
    /// # Errors
    /// [`Closed`] after [`Self::close`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&self) -> Result<(Bytes, Bytes), Closed> {
        loop {
            let message = self.socket.recv().await.map_err(|_| Closed)?;
            if let Ok([topic, body]) = message.try_as_parts::<2>() {
                return Ok((topic, body));
            }
            tracing::warn!(
                frames = message.len(),
                "ignoring an event that is not a topic and a body"
            );
        }
    }

    /// How the connection is doing.
    #[must_use]
    pub fn connection(&self) -> ConnectionWatch {
        self.connection.clone()
    }

    /// Disconnects.
    pub async fn close(&self) {
        // A second close finds the socket closed, which is what it wants.
        let _ = self.socket.clone().close().await;
    }
}

/// Why a socket cannot even begin to connect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The endpoint says where to listen, not where to connect.
    #[error(
        "failed to connect to {endpoint}: it stands for all of a server's addresses; name one of them"
    )]
    Wildcard {
        /// What was given.
        endpoint: Endpoint,
    },
    /// A server cannot listen on port 0.
    #[error("failed to connect to {endpoint}: port 0 is no server's")]
    NoPort {
        /// What was given.
        endpoint: Endpoint,
    },
    /// The limits contradict the protocol.
    #[error("failed to connect to {endpoint}: {reason}")]
    Limits {
        /// What was given.
        endpoint: Endpoint,
        /// Which limit, and why.
        reason: String,
    },
}

async fn connect(
    kind: SocketType,
    endpoint: &Endpoint,
    security: ClientSecurity,
    limits: &Limits,
) -> Result<(Socket, ConnectionWatch), ConnectError> {
    if endpoint.is_wildcard() {
        return Err(ConnectError::Wildcard {
            endpoint: endpoint.clone(),
        });
    }
    if endpoint.port() == Some(0) {
        return Err(ConnectError::NoPort {
            endpoint: endpoint.clone(),
        });
    }
    let encrypts = matches!(security, ClientSecurity::Curve { .. });
    let options = security.apply(limits.options());
    let refused = |error: omq_tokio::Error| ConnectError::Limits {
        endpoint: endpoint.clone(),
        reason: error.to_string(),
    };
    let socket = Socket::try_new(kind, options).map_err(refused)?;
    let connection = ConnectionWatch::start(socket.monitor(), encrypts);
    socket.connect(endpoint.to_omq()).await.map_err(refused)?;
    Ok((socket, connection))
}
