//! [ZeroMQ](https://zeromq.org) sockets for Descartes: bind and connect, CURVE, limits.
//!
//! This is the only crate that knows the library, `omq-tokio`. It moves frames and says who sent them; it does not know what
//! a message means, keeps no registry of clients and never retries a request.
//!
//! | side | requests | events |
//! |---|---|---|
//! | server | [`RequestSocket`] (ROUTER) | [`EventSocket`] (PUB) |
//! | client | [`Requester`] (DEALER) | [`Subscriber`] (SUB) |
//!
//! Every socket runs on the tokio runtime of the task that made it, multi-threaded or not.

mod bind;
mod client;
mod endpoint;
mod event;
mod keys;
mod limits;
mod request;
mod security;

pub use bind::{BindError, SocketRole};
pub use client::{
    ConnectError, ConnectionState, ConnectionWatch, HandshakeFault, Requester, Subscriber,
};
pub use endpoint::{Endpoint, EndpointError, SOCKET_PATH_MAX};
pub use event::{EventSocket, Interest, Published, TOPIC_MAX};
pub use keys::{KeyError, Keypair, PublicKey, SecretKey};
pub use limits::{KeepAlive, Limits};
pub use request::{Client, FrameError, HOP_SIZE_MAX, HOPS_MAX, Inbound, ReplyError, RequestSocket};
pub use security::{Admission, ClientSecurity, ServerSecurity};

/// The socket has been closed, here or by the runtime's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("socket is closed")]
pub struct Closed;
