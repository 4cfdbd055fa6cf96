//! Binding: from an endpoint and its limits to a socket that listens.

mod error;
mod ipc;

use omq_tokio::{Options, Socket, SocketType};

use crate::endpoint::Endpoint;
pub use error::BindError;
pub(crate) use ipc::SocketFile;
use ipc::Staging;

/// Which of a server's two sockets is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketRole {
    /// The ROUTER socket, for requests.
    Requests,
    /// The PUB socket, for events.
    Events,
}

impl std::fmt::Display for SocketRole {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Requests => "ROUTER",
            Self::Events => "PUB",
        })
    }
}

/// A listening socket and what it occupies.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: Socket,
    /// With the real port.
    pub(crate) endpoint: Endpoint,
    /// The file of an ipc socket; dropping it frees the path.
    pub(crate) file: Option<SocketFile>,
}

pub(crate) async fn bind(
    role: SocketRole,
    endpoint: &Endpoint,
    options: Options,
) -> Result<Bound, BindError> {
    let kind = match role {
        SocketRole::Requests => SocketType::Router,
        SocketRole::Events => SocketType::Pub,
    };
    let socket = Socket::try_new(kind, options)
        .map_err(|source| BindError::limits(role, endpoint, &source))?;
    let failed = |source| BindError::from_omq(role, endpoint, source);
    let Some(path) = endpoint.path() else {
        let bound = socket
            .bind(endpoint.to_omq_for_bind())
            .await
            .map_err(failed)?;
        return Ok(Bound {
            socket,
            endpoint: endpoint.resolved(&bound),
            file: None,
        });
    };
    let refused = |refusal| BindError::from_refusal(role, endpoint, refusal);
    let staging = Staging::prepare(path).await.map_err(refused)?;
    socket.bind(staging.omq_endpoint()).await.map_err(failed)?;
    let file = staging.publish().map_err(refused)?;
    Ok(Bound {
        socket,
        endpoint: endpoint.clone(),
        file: Some(file),
    })
}
