//! Why a socket does not listen, and what to do about it.

use std::io;

use omq_tokio::Error as OmqError;

use super::SocketRole;
use super::ipc::Refusal;
use crate::endpoint::Endpoint;

/// Why a socket could not be bound. [`BindError::hint`] says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else listens there.
    #[error("failed to bind {role} socket to {endpoint}: Address already in use")]
    AddressInUse {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
        /// How to find out who.
        hint: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A port or directory that this user may not use.
    #[error("failed to bind {role} socket to {endpoint}: Permission denied")]
    PermissionDenied {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The address is not one of this host's.
    #[error("failed to bind {role} socket to {endpoint}: Cannot assign requested address")]
    AddressNotAvailable {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The path of an ipc endpoint holds something that is not a socket.
    #[error(
        "failed to bind {role} socket to {endpoint}: the path holds a file that is not a socket"
    )]
    PathOccupied {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
    },
    /// Another fault of the operating system or of name resolution.
    #[error("failed to bind {role} socket to {endpoint}: {source}")]
    Io {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
    /// The limits contradict the protocol.
    #[error("failed to bind {role} socket to {endpoint}: {reason}")]
    Limits {
        /// The socket.
        role: SocketRole,
        /// Where it should have listened.
        endpoint: Endpoint,
        /// Which limit, and why.
        reason: String,
    },
}

impl BindError {
    /// What the user can do about it, as a sentence fragment; nothing where the message says it all.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::AddressInUse { hint, .. } => Some(hint),
            Self::PermissionDenied { endpoint, .. } if endpoint.path().is_some() => {
                Some("the socket's directory must be writable for this user")
            }
            Self::PermissionDenied { .. } => {
                Some("ports below 1024 need CAP_NET_BIND_SERVICE; choose a port above 1023")
            }
            Self::AddressNotAvailable { .. } => {
                Some("`ip addr` shows this host's addresses; tcp://*:PORT listens on all of them")
            }
            Self::PathOccupied { .. } => Some("remove the file, or choose another path"),
            Self::Io {
                endpoint, source, ..
            } if endpoint.path().is_some() && source.kind() == io::ErrorKind::NotFound => {
                Some("the socket's directory has to exist")
            }
            Self::Io { .. } | Self::Limits { .. } => None,
        }
    }

    pub(super) fn limits(role: SocketRole, endpoint: &Endpoint, source: &OmqError) -> Self {
        Self::Limits {
            role,
            endpoint: endpoint.clone(),
            reason: source.to_string(),
        }
    }

    pub(super) fn from_omq(role: SocketRole, endpoint: &Endpoint, source: OmqError) -> Self {
        let source = match source {
            OmqError::Io(source) => source,
            other => io::Error::other(other),
        };
        Self::from_io(role, endpoint, source)
    }

    pub(super) fn from_refusal(role: SocketRole, endpoint: &Endpoint, refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotASocket => Self::PathOccupied {
                role,
                endpoint: endpoint.clone(),
            },
            Refusal::Io(source) => Self::from_io(role, endpoint, source),
        }
    }

    fn from_io(role: SocketRole, endpoint: &Endpoint, source: io::Error) -> Self {
        let endpoint = endpoint.clone();
        match source.kind() {
            io::ErrorKind::AddrInUse => {
                let hint = in_use_hint(&endpoint);
                Self::AddressInUse {
                    role,
                    endpoint,
                    hint,
                    source,
                }
            }
            io::ErrorKind::PermissionDenied => Self::PermissionDenied {
                role,
                endpoint,
                source,
            },
            io::ErrorKind::AddrNotAvailable => Self::AddressNotAvailable {
                role,
                endpoint,
                source,
            },
            _ => Self::Io {
                role,
                endpoint,
                source,
            },
        }
    }
}

fn in_use_hint(endpoint: &Endpoint) -> String {
    let (what, command) = match (endpoint.port(), endpoint.path()) {
        (Some(port), _) => ("port", format!("ss -ltnp 'sport = :{port}'")),
        (None, Some(path)) => (
            "path",
            format!("fuser -v '{}' '{}.lock'", path.display(), path.display()),
        ),
        (None, None) => ("address", "ss -lp".to_owned()),
    };
    format!("another process uses the {what}: `{command}` shows which; or choose another endpoint")
}
