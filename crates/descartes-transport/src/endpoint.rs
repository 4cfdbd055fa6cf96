//! Addresses that a server listens on and a client connects to.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use omq_tokio::IpcPath;
use omq_tokio::endpoint::{Endpoint as OmqEndpoint, Host as OmqHost};

/// Longest path of an ipc socket, in bytes. Linux allows 107 (`unix(7)`, `sun_path`) and the server needs three of them
/// while it binds; macOS allows 103.
pub const SOCKET_PATH_MAX: usize = 103;

/// Longest host name, in bytes (RFC 1035, section 3.1, in its text form).
const HOST_NAME_MAX: usize = 253;

/// A checked address: `tcp://host:port` or `ipc:///path`.
///
/// The host is an IPv4 address, an IPv6 address in brackets, a name, or `*` for all IPv4 interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint(Address);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Address {
    Tcp { host: Host, port: u16 },
    Ipc { path: PathBuf },
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Ip(IpAddr),
    Name(String),
}

impl Endpoint {
    /// Whether only this host can reach it: ipc, a loopback address, or the name `localhost`. Any other name counts as
    /// reachable from elsewhere, whatever it resolves to today.
    #[must_use]
    pub fn is_local_only(&self) -> bool {
        match &self.0 {
            Address::Ipc { .. } => true,
            Address::Tcp {
                host: Host::Ip(ip), ..
            } => ip.to_canonical().is_loopback(),
            Address::Tcp {
                host: Host::Name(name),
                ..
            } => is_localhost(name),
        }
    }

    /// Whether it stands for all interfaces, and so cannot be connected to.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        matches!(&self.0, Address::Tcp { host: Host::Ip(ip), .. } if ip.to_canonical().is_unspecified())
    }

    /// Where the events of a server with this request endpoint are by default: the next port (0 stays 0, any free
    /// port), or the path with `.pub` appended.
    ///
    /// # Errors
    /// [`EndpointError::NoNextPort`] after port 65,535, [`EndpointError::PathTooLong`] when `.pub` no longer fits.
    pub fn default_pub(&self) -> Result<Self, EndpointError> {
        match &self.0 {
            Address::Tcp { host, port: 0 } => Ok(Self(Address::Tcp {
                host: host.clone(),
                port: 0,
            })),
            Address::Tcp { host, port } => {
                let port = port
                    .checked_add(1)
                    .ok_or_else(|| EndpointError::NoNextPort {
                        endpoint: self.to_string(),
                    })?;
                Ok(Self(Address::Tcp {
                    host: host.clone(),
                    port,
                }))
            }
            Address::Ipc { path } => {
                let mut path = OsString::from(path);
                path.push(".pub");
                check_path(PathBuf::from(path))
            }
        }
    }

    /// The same port at another host, for instance the one that remote clients know. An ipc endpoint has no host and
    /// stays as it is.
    ///
    /// # Errors
    /// [`EndpointError::BadHost`] when `host` is neither an address nor a name.
    pub fn with_host(&self, host: &str) -> Result<Self, EndpointError> {
        let bare = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(host);
        match (&self.0, bare.parse::<Ipv6Addr>()) {
            (Address::Ipc { .. }, _) => Ok(self.clone()),
            (Address::Tcp { port, .. }, Ok(ip)) => Ok(Self(Address::Tcp {
                host: Host::Ip(ip.into()),
                port: *port,
            })),
            (Address::Tcp { port, .. }, Err(_)) => Ok(Self(Address::Tcp {
                host: parse_host(host)?,
                port: *port,
            })),
        }
    }

    /// The same as its own host reaches it: the loopback address where it stands for all interfaces.
    #[must_use]
    pub fn on_own_host(&self) -> Self {
        let loopback = |ip: IpAddr| match ip.to_canonical() {
            IpAddr::V4(_) => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::from(Ipv6Addr::LOCALHOST),
        };
        match &self.0 {
            Address::Tcp {
                host: Host::Ip(ip),
                port,
            } if self.is_wildcard() => Self(Address::Tcp {
                host: Host::Ip(loopback(*ip)),
                port: *port,
            }),
            _ => self.clone(),
        }
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self.0 {
            Address::Tcp { port, .. } => Some(port),
            Address::Ipc { .. } => None,
        }
    }

    /// The socket's path of an ipc endpoint.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Address::Tcp { .. } => None,
            Address::Ipc { path } => Some(path),
        }
    }

    pub(crate) fn to_omq(&self) -> OmqEndpoint {
        match &self.0 {
            Address::Tcp {
                host: Host::Ip(ip),
                port,
            } => OmqEndpoint::Tcp {
                host: OmqHost::Ip(*ip),
                port: *port,
            },
            Address::Tcp {
                host: Host::Name(name),
                port,
            } => OmqEndpoint::Tcp {
                host: OmqHost::Name(name.clone()),
                port: *port,
            },
            Address::Ipc { path } => OmqEndpoint::Ipc(IpcPath::Filesystem(path.clone())),
        }
    }

    /// As [`Self::to_omq`], for binding: `localhost` is 127.0.0.1 whatever the resolver says, since
    /// [`Self::is_local_only`] has vouched for it.
    pub(crate) fn to_omq_for_bind(&self) -> OmqEndpoint {
        match &self.0 {
            Address::Tcp {
                host: Host::Name(name),
                port,
            } if is_localhost(name) => OmqEndpoint::Tcp {
                host: OmqHost::Ip(Ipv4Addr::LOCALHOST.into()),
                port: *port,
            },
            _ => self.to_omq(),
        }
    }

    /// This endpoint with what binding found out: the resolved address and the real port.
    pub(crate) fn resolved(&self, bound: &OmqEndpoint) -> Self {
        match bound {
            OmqEndpoint::Tcp {
                host: OmqHost::Ip(ip),
                port,
            } => Self(Address::Tcp {
                host: Host::Ip(*ip),
                port: *port,
            }),
            _ => self.clone(),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(EndpointError::NoScheme {
                endpoint: text.to_owned(),
            });
        };
        match scheme {
            "tcp" => parse_tcp(rest, text),
            "ipc" if rest.starts_with('/') => check_path(PathBuf::from(rest)),
            "ipc" => Err(EndpointError::RelativePath {
                endpoint: text.to_owned(),
            }),
            _ => Err(EndpointError::UnsupportedScheme {
                scheme: scheme.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Address::Tcp {
                host: Host::Ip(IpAddr::V6(ip)),
                port,
            } => write!(formatter, "tcp://[{ip}]:{port}"),
            Address::Tcp {
                host: Host::Ip(IpAddr::V4(ip)),
                port,
            } => write!(formatter, "tcp://{ip}:{port}"),
            Address::Tcp {
                host: Host::Name(name),
                port,
            } => write!(formatter, "tcp://{name}:{port}"),
            Address::Ipc { path } => write!(formatter, "ipc://{}", path.display()),
        }
    }
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Nothing says which transport is meant.
    #[error("endpoint \"{endpoint}\" has no transport: write tcp://host:port or ipc:///path")]
    NoScheme {
        /// What was given.
        endpoint: String,
    },
    /// A transport that the server does not offer.
    #[error("transport \"{scheme}\" is not supported: write tcp://host:port or ipc:///path")]
    UnsupportedScheme {
        /// What stood before `://`.
        scheme: String,
    },
    /// No `:port` at the end, or an IPv6 address without brackets.
    #[error(
        "endpoint \"{endpoint}\" is not tcp://host:port (an IPv6 address needs brackets: tcp://[::1]:5555)"
    )]
    NoPort {
        /// What was given.
        endpoint: String,
    },
    /// The port is not a number from 0 to 65,535.
    #[error("port \"{port}\" is not a number from 0 to 65535")]
    BadPort {
        /// What stood after the last colon.
        port: String,
    },
    /// Neither an address nor a host name.
    #[error("host \"{host}\" is neither an IP address nor a host name")]
    BadHost {
        /// What stood in the host's place.
        host: String,
    },
    /// The path of an ipc endpoint is not absolute. Abstract sockets (`ipc://@name`) have no permissions and are
    /// refused with it.
    #[error(
        "endpoint \"{endpoint}\" needs an absolute path: write ipc:///run/descartes/server.sock"
    )]
    RelativePath {
        /// What was given.
        endpoint: String,
    },
    /// The path names no file.
    #[error("path \"{}\" is not one of a socket: it needs a file name", path.display())]
    BadPath {
        /// What was given.
        path: PathBuf,
    },
    /// The operating system has no room for the path.
    #[error("path \"{}\" has {length} bytes, a socket's path at most {SOCKET_PATH_MAX}", path.display())]
    PathTooLong {
        /// What was given.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
    },
    /// The events' default port would be 65,536.
    #[error(
        "endpoint \"{endpoint}\" has no next port for events: give the events an endpoint of their own"
    )]
    NoNextPort {
        /// The request endpoint.
        endpoint: String,
    },
}

fn parse_tcp(rest: &str, text: &str) -> Result<Endpoint, EndpointError> {
    let no_port = || EndpointError::NoPort {
        endpoint: text.to_owned(),
    };
    let (host, port) = rest.rsplit_once(':').ok_or_else(no_port)?;
    if host.contains(':') && !host.starts_with('[') {
        return Err(no_port());
    }
    // `u16::from_str` would also take a leading plus sign.
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port
        .parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| EndpointError::BadPort {
            port: port.to_owned(),
        })?;
    Ok(Endpoint(Address::Tcp {
        host: parse_host(host)?,
        port,
    }))
}

fn parse_host(host: &str) -> Result<Host, EndpointError> {
    if host == "*" {
        return Ok(Host::Ip(Ipv4Addr::UNSPECIFIED.into()));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    let bad_host = || EndpointError::BadHost {
        host: host.to_owned(),
    };
    if let Some(inner) = host.strip_prefix('[') {
        let inner = inner.strip_suffix(']').ok_or_else(bad_host)?;
        return inner
            .parse::<Ipv6Addr>()
            .map(|ip| Host::Ip(ip.into()))
            .map_err(|_| bad_host());
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if host.is_empty() || host.len() > HOST_NAME_MAX || !host.bytes().all(allowed) {
        return Err(bad_host());
    }
    Ok(Host::Name(host.to_owned()))
}

fn check_path(path: PathBuf) -> Result<Endpoint, EndpointError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    let length = bytes.len();
    if path.file_name().is_none() || bytes.ends_with(b"/") || bytes.contains(&0) {
        return Err(EndpointError::BadPath { path });
    }
    if length > SOCKET_PATH_MAX {
        return Err(EndpointError::PathTooLong { path, length });
    }
    Ok(Endpoint(Address::Ipc { path }))
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests;
