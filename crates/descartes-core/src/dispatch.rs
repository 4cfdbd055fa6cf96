//! The seam between the sockets and what is behind them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use descartes_protocol::{Reply, Request};

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// The client's public key in Z85, where connections are encrypted.
    pub key: Option<String>,
    /// What the operator calls the client.
    pub name: Option<String>,
    /// The client's address, where the transport has one.
    pub address: Option<String>,
}

/// Something that answers requests.
pub trait Dispatch: Send + Sync + 'static {
    /// Takes a request. Whatever has to happen in the order in which requests came in happens
    /// before this returns, so it must neither block nor take long.
    fn dispatch(&self, caller: &Caller, request: Request) -> Dispatched;
}

/// What became of a request.
pub enum Dispatched {
    /// It is answered.
    Ready(Box<Reply>),
    /// It will be. The future runs as a task of its own, to its end, also if the client goes.
    Later(Pin<Box<dyn Future<Output = Reply> + Send>>),
}

impl Dispatched {
    /// A reply that is there.
    pub fn ready(reply: impl Into<Reply>) -> Self {
        Self::Ready(Box::new(reply.into()))
    }

    /// A reply that comes later.
    pub fn later(reply: impl Future<Output = Reply> + Send + 'static) -> Self {
        Self::Later(Box::pin(reply))
    }
}

impl fmt::Debug for Dispatched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready(reply) => formatter.debug_tuple("Ready").field(reply).finish(),
            Self::Later(_) => formatter.write_str("Later(..)"),
        }
    }
}
