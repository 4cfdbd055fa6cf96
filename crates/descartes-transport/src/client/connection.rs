//! How a client's connection is doing, for whoever wonders why no reply comes.

use omq_tokio::{DisconnectReason, MonitorEvent, MonitorRecvError, MonitorStream};
use tokio::sync::watch;

use crate::Closed;

/// The state of a client's connection.
///
/// ```text
/// Connecting ──▶ Connected ──▶ Failing ──▶ Connected ──▶ …
///     └────────────┴─────────────┴──▶ Refused
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
    pub(super) fn start(mut events: MonitorStream) -> Self {
        let (sender, receiver) = watch::channel(ConnectionState::Connecting);
        tokio::spawn(async move {
            loop {
                match events.recv().await {
                    Ok(MonitorEvent::Closed) | Err(MonitorRecvError::Closed) => break,
                    Ok(event) => {
                        sender.send_if_modified(|state| apply(state, event));
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
fn apply(state: &mut ConnectionState, event: MonitorEvent) -> bool {
    let next = match event {
        MonitorEvent::HandshakeSucceeded { .. } => ConnectionState::Connected,
        MonitorEvent::HandshakeFailed { reason, .. } => ConnectionState::Failing { reason },
        MonitorEvent::Disconnected { reason, .. } => ConnectionState::Failing {
            reason: describe(&reason),
        },
        MonitorEvent::ConnectStopped { reason, .. } => ConnectionState::Refused {
            reason: describe(&reason),
        },
        // It announces a retry; the event before it, if there was one, said why.
        MonitorEvent::ConnectDelayed { .. }
            if !matches!(state, ConnectionState::Failing { .. }) =>
        {
            ConnectionState::Failing {
                reason: "server cannot be reached".to_owned(),
            }
        }
        _ => return false,
    };
    let changed = *state != next;
    *state = next;
    changed
}

fn describe(reason: &DisconnectReason) -> String {
    match reason {
        DisconnectReason::PeerClosed => "server closed the connection".to_owned(),
        DisconnectReason::LocalClose => "connection was closed here".to_owned(),
        DisconnectReason::Error(reason) => reason.clone(),
        DisconnectReason::HandshakeRefused(refusal) => refusal.to_string(),
        DisconnectReason::Handover => "another connection took over".to_owned(),
        _ => "connection ended".to_owned(),
    }
}
