//! The server's event socket: PUB, and who listens to what.

mod interest;
mod table;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use omq_tokio::{Message, PeerPublicKey, Socket, TrySendError};

use crate::bind::{BindError, Bound, SocketFile, SocketRole, bind};
use crate::endpoint::Endpoint;
use crate::keys::PublicKey;
use crate::limits::Limits;
use crate::security::ServerSecurity;
pub use interest::Interest;
use interest::InterestTask;

/// Longest topic that can be subscribed to, in bytes. A longer subscription is ignored.
pub const TOPIC_MAX: usize = 255;

/// How long a message may wait for its place in the socket's queue. The library's task empties that unless it is stuck;
/// on a machine with too much to do that was seen to take more than a second.
const ROOM_WAIT: Duration = Duration::from_secs(10);

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It is on its way to those who want it and have room for it.
    Queued,
    /// It went to nobody.
    Dropped,
}

/// The server's PUB socket. A message is two frames: topic and body.
///
/// It never waits for a subscriber: who reads too slowly loses messages and is not told.
#[derive(Debug)]
pub struct EventSocket {
    socket: Socket,
    endpoint: Endpoint,
    interest: InterestTask,
    dropped: AtomicU64,
    file: Mutex<Option<SocketFile>>,
}

impl EventSocket {
    /// Listens on `endpoint`.
    ///
    /// # Errors
    /// See [`BindError`]; nothing stays behind.
    pub async fn bind(
        endpoint: &Endpoint,
        security: ServerSecurity,
        limits: &Limits,
    ) -> Result<Self, BindError> {
        let options = security
            .apply(limits.options())
            .subscription_admission(|request| request.prefix.len() <= TOPIC_MAX);
        let Bound {
            socket,
            endpoint,
            file,
        } = bind(SocketRole::Events, endpoint, options).await?;
        let interest = InterestTask::start(socket.clone(), limits.max_subscriptions);
        Ok(Self {
            socket,
            endpoint,
            interest,
            dropped: AtomicU64::new(0),
            file: Mutex::new(file),
        })
    }

    /// Where it listens, with the real port where 0 was asked for.
    #[must_use]
    pub fn local_endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends `body` to everybody who subscribed to a prefix of `topic`. Never waits: where the socket's own queue is
    /// full, it is dropped.
    ///
    /// Until the library's task gets to it, a message waits in a queue of [`Limits::send_hwm`] messages, whatever their
    /// size: with the default, bodies up to 64 KiB keep that queue below 64 MiB.
    pub fn publish(&self, topic: &str, body: Bytes) -> Published {
        if self.socket.try_send(message(topic, body)).is_ok() {
            return Published::Queued;
        }
        self.dropped.fetch_add(1, Ordering::Relaxed);
        Published::Dropped
    }

    /// As [`EventSocket::publish`], but waits for a place in the socket's queue, at most 10 s. Slow subscribers are
    /// not waited for: what is queued goes to those who have room, and is dropped for the others.
    ///
    /// # Cancel safety
    /// Nothing is sent when the future is dropped.
    pub async fn publish_when_room(&self, topic: &str, body: Bytes) -> Published {
        let sending = async {
            let mut message = message(topic, body);
            loop {
                match self.socket.try_send(message) {
                    Ok(()) => return Published::Queued,
                    Err(TrySendError::Full(returned)) => message = returned,
                    Err(_) => return Published::Dropped,
                }
                self.socket.wait_send_ready().await;
            }
        };
        let sent = tokio::time::timeout(ROOM_WAIT, sending).await;
        let published = sent.unwrap_or(Published::Dropped);
        if published == Published::Dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        published
    }

    /// How many messages went to nobody because the socket's own queue was full or closed. What is dropped for a single
    /// slow subscriber is not in it: the library does not tell.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Disconnects every client whose verified key is not admitted any more. Clients without a key stay.
    ///
    /// # Cancel safety
    /// Dropping the future may leave some of them connected.
    pub async fn keep_only(&self, admitted: impl Fn(&PublicKey) -> bool) {
        let Ok(connections) = self.socket.connections().await else {
            return;
        };
        for connection in connections {
            let key = connection.peer_info.as_ref().and_then(|peer| {
                match peer.authentication.public_key {
                    Some(PeerPublicKey::Curve(bytes)) => Some(PublicKey::from_bytes(bytes)),
                    _ => None,
                }
            });
            if key.is_some_and(|key| !admitted(&key)) {
                // One that has gone by itself meanwhile is gone.
                let _ = self.socket.disconnect_peer(connection.connection_id).await;
            }
        }
    }

    /// A view of who listens to what.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.interest.view()
    }

    /// Stops listening, lets queued messages go out for at most [`Limits::linger`], and disconnects everybody. On
    /// return the address is free.
    pub async fn close(&self) {
        // A second close finds the socket closed, which is what it wants.
        let _ = self.socket.clone().close().await;
        self.file
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
    }
}

fn message(topic: &str, body: Bytes) -> Message {
    Message::multipart([Bytes::copy_from_slice(topic.as_bytes()), body])
}
