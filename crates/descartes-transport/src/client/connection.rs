//! How a client's connection is doing, for whoever wonders why no reply comes.

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorRecvError, MonitorStream};
use tokio::sync::watch;

use crate::Closed;

/// What a server says to a key that is not on its list, in words.
const UNKNOWN_KEY: &str = "the server does not know this key";

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
        /// What does not fit, for a person.
        reason: String,
    },
    /// The server does not let this client in. No further attempt is made: only a new socket tries again.
    Refused {
        /// What the server said, for a person.
        reason: String,
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
            let mut is_reached = false;
            loop {
                match events.recv().await {
                    Ok(MonitorEvent::Closed) | Err(MonitorRecvError::Closed) => break,
                    Ok(MonitorEvent::Connected { .. }) => is_reached = true,
                    Ok(event) => {
                        if let Some(next) = state_after(event, is_reached, encrypts) {
                            is_reached = false;
                            sender.send_if_modified(|state| advance(state, next));
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

/// Returns whether the state has changed.
fn advance(state: &mut ConnectionState, next: ConnectionState) -> bool {
    // A retry that is announced says less than the failure before it.
    let says_less = next == nothing_there() && matches!(state, ConnectionState::Failing { .. });
    if *state == next || says_less {
        return false;
    }
    *state = next;
    true
}

fn state_after(event: MonitorEvent, is_reached: bool, encrypts: bool) -> Option<ConnectionState> {
    Some(match event {
        MonitorEvent::HandshakeSucceeded { .. } => ConnectionState::Connected,
        MonitorEvent::HandshakeFailed { reason, .. } => ConnectionState::Mismatched {
            reason: mismatch(reason, encrypts),
        },
        MonitorEvent::Disconnected { reason, .. } => ConnectionState::Failing {
            reason: describe(&reason),
        },
        MonitorEvent::ConnectStopped { reason, .. } => ConnectionState::Refused {
            reason: describe(&reason),
        },
        MonitorEvent::ConnectDelayed { .. } if is_reached => ConnectionState::Mismatched {
            reason: hung_up(encrypts),
        },
        MonitorEvent::ConnectDelayed { .. } => nothing_there(),
        _ => return None,
    })
}

fn nothing_there() -> ConnectionState {
    ConnectionState::Failing {
        reason: "nothing answers there".to_owned(),
    }
}

/// The library's words, put plainly where they are known.
fn mismatch(reason: String, encrypts: bool) -> String {
    if reason.starts_with("CURVE peer sent ERROR") {
        return UNKNOWN_KEY.to_owned();
    }
    if !reason.starts_with("mechanism mismatch") {
        return reason;
    }
    let words = if encrypts {
        "this client encrypts, and the server does not"
    } else {
        "the server encrypts, and this client has no keys"
    };
    words.to_owned()
}

/// A server that has another key than the client expects cannot say so, and hangs up.
fn hung_up(encrypts: bool) -> String {
    let words = if encrypts {
        "the server hung up in the handshake; it may have another key than this client expects"
    } else {
        "the server hung up in the handshake"
    };
    words.to_owned()
}

fn describe(reason: &DisconnectReason) -> String {
    match reason {
        DisconnectReason::PeerClosed => "the server closed the connection".to_owned(),
        DisconnectReason::LocalClose => "the connection was closed here".to_owned(),
        DisconnectReason::Error(reason) => reason.clone(),
        DisconnectReason::HandshakeRefused(_) => UNKNOWN_KEY.to_owned(),
        DisconnectReason::Handover => "another connection took over".to_owned(),
        _ => "the connection ended".to_owned(),
    }
}
