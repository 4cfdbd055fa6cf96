//! How a client's connection is doing, for whoever wonders why no reply comes.

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorRecvError, MonitorStream};
use tokio::sync::watch;

use crate::Closed;

/// What a server answers to a key that is not on its list (rfc.zeromq.org, 27).
const NOT_LISTED: &str = "400";

/// What the library's words begin with where it was the connection that failed.
const BROKEN: &str = "io error";

/// Why a client and a server that was reached did not come to terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeFault {
    /// The client's key is not on the server's list.
    #[error("the server does not know this key")]
    UnknownKey,
    /// The server encrypts, and the client was given no keys.
    #[error("the server encrypts, and this client has no keys")]
    KeysNeeded,
    /// The client encrypts, and the server does not.
    #[error("this client encrypts, and the server does not")]
    ServerIsPlain,
    /// The server hung up. One that has another key than the client expects cannot say so.
    #[error(
        "the server hung up in the handshake; it may have another key than this client expects"
    )]
    HungUp,
    /// Anything else, in the library's words.
    #[error("{0}")]
    Other(String),
}

/// The state of a client's connection.
///
/// ```text
/// Connecting ──▶ Connected ──▶ Failing, Mismatched ──▶ Connected ──▶ …
///     └────────────┴───────────────────┴──▶ Refused
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// No attempt has ended yet.
    Connecting,
    /// The server has let this client in.
    Connected,
    /// The last attempt or connection ended; the next attempt follows by itself.
    Failing {
        /// What went wrong, for a person.
        reason: String,
    },
    /// The server was reached, and the two did not come to terms; the next attempt follows by itself.
    Mismatched {
        /// What does not fit.
        fault: HandshakeFault,
    },
    /// The server does not let this client in. No further attempt is made: only a new socket tries again.
    Refused {
        /// What does not fit.
        fault: HandshakeFault,
    },
}

/// Follows a [`ConnectionState`].
#[derive(Debug, Clone)]
pub struct ConnectionWatch(watch::Receiver<ConnectionState>);

impl ConnectionWatch {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.0.borrow().clone()
    }

    /// Waits for a state that differs from the one seen last on this watch, and returns it. States in between may be
    /// skipped.
    ///
    /// # Errors
    /// [`Closed`] when the socket has been closed.
    ///
    /// # Cancel safety
    /// No change is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<ConnectionState, Closed> {
        self.0.changed().await.map_err(|_| Closed)?;
        Ok(self.0.borrow_and_update().clone())
    }

    /// Must be called before the socket connects, so that no event is missed. Ends with the socket.
    pub(super) fn start(mut events: MonitorStream, encrypts: bool) -> Self {
        let (sender, receiver) = watch::channel(ConnectionState::Connecting);
        tokio::spawn(async move {
            let mut attempt = Attempt::default();
            loop {
                match events.recv().await {
                    Ok(MonitorEvent::Closed) | Err(MonitorRecvError::Closed) => break,
                    Ok(event) => {
                        if let Some(next) = attempt.state_after(event, encrypts) {
                            sender.send_if_modified(|state| {
                                let changed = *state != next;
                                *state = next;
                                changed
                            });
                        }
                    }
                    // The events that follow tell how things stand.
                    Err(_) => {}
                }
            }
        });
        Self(receiver)
    }
}

/// How far an attempt to connect has come.
#[derive(Debug, Default)]
struct Attempt {
    is_reached: bool,
    /// Whether it was told why it failed. The announcement of the next one says less.
    is_explained: bool,
}

impl Attempt {
    fn state_after(&mut self, event: MonitorEvent, encrypts: bool) -> Option<ConnectionState> {
        let failed = |state| (state, true);
        let (state, is_explained) = match event {
            MonitorEvent::Connected { .. } => {
                self.is_reached = true;
                return None;
            }
            MonitorEvent::HandshakeSucceeded { .. } => (ConnectionState::Connected, false),
            MonitorEvent::HandshakeFailed { reason, .. } if reason.starts_with(BROKEN) => {
                failed(broken_off(encrypts))
            }
            MonitorEvent::HandshakeFailed { reason, .. } => failed(ConnectionState::Mismatched {
                fault: mismatch(reason, encrypts),
            }),
            MonitorEvent::Disconnected { reason, .. } => failed(ConnectionState::Failing {
                reason: describe(&reason),
            }),
            MonitorEvent::ConnectStopped { reason, .. } => failed(ConnectionState::Refused {
                fault: refusal(&reason),
            }),
            MonitorEvent::ConnectDelayed { .. } if self.is_explained => {
                *self = Self::default();
                return None;
            }
            MonitorEvent::ConnectDelayed { .. } if self.is_reached => (broken_off(encrypts), false),
            MonitorEvent::ConnectDelayed { .. } => (nothing_there(), false),
            _ => return None,
        };
        *self = Self {
            is_reached: false,
            is_explained,
        };
        Some(state)
    }
}

fn nothing_there() -> ConnectionState {
    ConnectionState::Failing {
        reason: "nothing answers there".to_owned(),
    }
}

/// The server hung up in the handshake. To a client that has keys it may have said so that they are wrong. To one that
/// has none it would have said it in words: it was just starting or ending.
fn broken_off(encrypts: bool) -> ConnectionState {
    if encrypts {
        let fault = HandshakeFault::HungUp;
        ConnectionState::Mismatched { fault }
    } else {
        let reason = "the server hung up in the handshake".to_owned();
        ConnectionState::Failing { reason }
    }
}

/// The library tells by words alone.
fn mismatch(reason: String, encrypts: bool) -> HandshakeFault {
    if reason.starts_with("CURVE peer sent ERROR") {
        HandshakeFault::UnknownKey
    } else if reason.starts_with("mechanism mismatch") && encrypts {
        HandshakeFault::ServerIsPlain
    } else if reason.starts_with("mechanism mismatch") {
        HandshakeFault::KeysNeeded
    } else {
        HandshakeFault::Other(reason)
    }
}

fn refusal(reason: &DisconnectReason) -> HandshakeFault {
    match reason {
        DisconnectReason::HandshakeRefused(refusal) if refusal.reason.as_str() == NOT_LISTED => {
            HandshakeFault::UnknownKey
        }
        reason => HandshakeFault::Other(describe(reason)),
    }
}

fn describe(reason: &DisconnectReason) -> String {
    match reason {
        DisconnectReason::PeerClosed => "the server closed the connection".to_owned(),
        DisconnectReason::LocalClose => "the connection was closed here".to_owned(),
        DisconnectReason::Error(reason) => reason.clone(),
        DisconnectReason::HandshakeRefused(refusal) => refusal.to_string(),
        DisconnectReason::Handover => "another connection took over".to_owned(),
        _ => "the connection ended".to_owned(),
    }
}
