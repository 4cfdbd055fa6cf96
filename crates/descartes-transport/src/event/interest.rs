//! Who listens to what: one task follows the socket's events and owns the table; everybody else reads it.

use std::sync::{Arc, PoisonError, RwLock};

use omq_tokio::{MonitorEvent, MonitorRecvError, MonitorStream, PeerSubscriptions, Socket};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::table::SubscriptionTable;
use crate::Closed;

/// Which topics somebody listens to. Cheap to clone; never blocks for long.
#[derive(Debug, Clone)]
pub struct Interest {
    table: Arc<RwLock<SubscriptionTable>>,
    generation: watch::Receiver<u64>,
}

impl Interest {
    /// Whether somebody has subscribed to a prefix of `topic`. It takes a lookup for each byte of the topic, however
    /// many subscriptions there are.
    #[must_use]
    pub fn wants(&self, topic: &str) -> bool {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .wants(topic.as_bytes())
    }

    /// How many times the subscriptions have changed so far.
    #[must_use]
    pub fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Waits until the subscriptions have changed since this was called last on this view, and returns the new
    /// generation. Several changes may be reported as one. On a new view, changes of the past count as well.
    ///
    /// # Errors
    /// [`Closed`] when the socket has been closed.
    ///
    /// # Cancel safety
    /// No change is lost when the future is dropped.
    pub async fn changed(&mut self) -> Result<u64, Closed> {
        self.generation.changed().await.map_err(|_| Closed)?;
        Ok(*self.generation.borrow_and_update())
    }
}

/// The task that keeps the table; it ends with the socket, or when this is dropped.
#[derive(Debug)]
pub(super) struct InterestTask {
    view: Interest,
    task: JoinHandle<()>,
}

impl InterestTask {
    pub(super) fn start(socket: Socket, max_subscriptions: usize) -> Self {
        let table = Arc::default();
        let (sender, generation) = watch::channel(0);
        let view = Interest {
            table: Arc::clone(&table),
            generation,
        };
        let watcher = Watcher {
            socket,
            max_subscriptions,
            table,
            generation: sender,
        };
        Self {
            view,
            task: tokio::spawn(watcher.run()),
        }
    }

    pub(super) fn view(&self) -> Interest {
        self.view.clone()
    }
}

impl Drop for InterestTask {
    fn drop(&mut self) {
        // It holds the socket, which would otherwise stay open.
        self.task.abort();
    }
}

struct Watcher {
    socket: Socket,
    max_subscriptions: usize,
    table: Arc<RwLock<SubscriptionTable>>,
    generation: watch::Sender<u64>,
}

impl Watcher {
    async fn run(self) {
        while let Ok((events, peers)) = self.socket.monitor_with_subscriptions().await {
            self.rebuild(peers).await;
            if self.follow(events).await.is_err() {
                break;
            }
        }
        self.replace(SubscriptionTable::default());
    }

    /// Returns when events were missed, so that the table has to be rebuilt.
    async fn follow(&self, mut events: MonitorStream) -> Result<(), Closed> {
        loop {
            match events.recv().await {
                Ok(MonitorEvent::Closed) | Err(MonitorRecvError::Closed) => return Err(Closed),
                Ok(event) => self.apply(event).await,
                Err(_) => return Ok(()),
            }
        }
    }

    async fn rebuild(&self, peers: Vec<PeerSubscriptions>) {
        let mut table = SubscriptionTable::default();
        let mut excessive = Vec::new();
        for peer in peers {
            let connection_id = peer.peer.connection_id;
            let count = peer
                .prefixes
                .iter()
                .map(|prefix| table.subscribe(connection_id, prefix))
                .last();
            if count.is_some_and(|count| count > self.max_subscriptions) {
                excessive.push(connection_id);
            }
        }
        self.replace(table);
        for connection_id in excessive {
            self.disconnect(connection_id).await;
        }
    }

    async fn apply(&self, event: MonitorEvent) {
        match event {
            MonitorEvent::SubscribeReceived {
                connection_id,
                prefix,
            } => {
                let count = self.change(|table| table.subscribe(connection_id, &prefix));
                if count > self.max_subscriptions {
                    self.disconnect(connection_id).await;
                }
            }
            MonitorEvent::UnsubscribeReceived {
                connection_id,
                prefix,
            } => {
                self.change(|table| table.unsubscribe(connection_id, &prefix));
            }
            MonitorEvent::Disconnected { peer, .. } => {
                self.change(|table| table.disconnect(peer.connection_id));
            }
            _ => {}
        }
    }

    fn replace(&self, table: SubscriptionTable) {
        self.change(|old| *old = table);
    }

    fn change<T>(&self, change: impl FnOnce(&mut SubscriptionTable) -> T) -> T {
        let result = change(&mut self.table.write().unwrap_or_else(PoisonError::into_inner));
        self.generation.send_modify(|generation| *generation += 1);
        result
    }

    async fn disconnect(&self, connection_id: u64) {
        tracing::warn!(
            connection_id,
            limit = self.max_subscriptions,
            "disconnecting a client with too many subscriptions"
        );
        // It may have left by itself.
        let _ = self.socket.disconnect_peer(connection_id).await;
    }
}
