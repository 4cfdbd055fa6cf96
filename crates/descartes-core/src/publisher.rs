//! What goes out on the event socket without being asked for: changes of status, heartbeats, and
//! live output while somebody listens.
//!
//! One task owns the socket. What it sends may get lost on the way to a slow reader; every event
//! can be asked for again by its number, and every byte of output by its offset.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{AgentId, HealthCheckResponse, Reply, Stream, Timestamp, topics};
use descartes_runner::{AgentHandle, AgentRunner, AgentUpdate, LocalProcessRunner};
use descartes_transport::{EventSocket, Interest, Published};
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::events::{EventLog, Passing};
use crate::handlers::Handlers;
use crate::keys::AuthorizedClients;

mod live;

use live::LiveOutput;

/// Events taken from the log at a time.
const BATCH: usize = 256;

/// Pause between two looks at who may listen.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Pieces of live output that may wait for the socket's task.
const OUTPUT_QUEUE: usize = 64;

/// The task that owns the event socket.
#[derive(Debug)]
pub(crate) struct Publisher {
    socket: EventSocket,
    interest: Interest,
    log: Arc<EventLog>,
    passing: Passing,
    handlers: Handlers,
    runner: LocalProcessRunner,
    server_topic: String,
    broadcasts_status: bool,
    heartbeat: Interval,
    /// The last event that was sent.
    sent: u64,
    /// The socket had no room for the last one, however long that was waited for. None is waited for until it has.
    stands_still: bool,
    live: HashMap<(AgentId, Stream), LiveOutput>,
    output: (mpsc::Sender<Piece>, mpsc::Receiver<Piece>),
    dropped: Arc<AtomicU64>,
    /// Events that were gone from the log before they could be sent.
    missed: u64,
    /// Where clients have keys: who may listen, and how often that was looked at.
    clients: Option<Arc<AuthorizedClients>>,
    clients_seen: u64,
    recheck: Interval,
}

/// A message that is ready to go out.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) topic: String,
    pub(crate) body: Bytes,
}

/// What a publisher is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) socket: EventSocket,
    pub(crate) log: Arc<EventLog>,
    pub(crate) passing: Passing,
    pub(crate) handlers: Handlers,
    pub(crate) runner: LocalProcessRunner,
    pub(crate) server_id: String,
    pub(crate) broadcasts_status: bool,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) dropped: Arc<AtomicU64>,
    pub(crate) clients: Option<Arc<AuthorizedClients>>,
}

/// What the publisher's loop wakes up for.
#[derive(Debug)]
enum Event {
    LogGrew,
    Passing(AgentUpdate, Timestamp),
    InterestChanged,
    Output(Piece),
    Heartbeat,
    Recheck,
    Stop,
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.log.published(None);
    }
}

impl Publisher {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut heartbeat = tokio::time::interval(parts.heartbeat_interval);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            interest: parts.socket.interest(),
            socket: parts.socket,
            sent: parts.log.sequence(),
            stands_still: false,
            log: parts.log,
            passing: parts.passing,
            handlers: parts.handlers,
            runner: parts.runner,
            server_topic: topics::server(&parts.server_id),
            broadcasts_status: parts.broadcasts_status,
            heartbeat,
            live: HashMap::new(),
            output: mpsc::channel(OUTPUT_QUEUE),
            dropped: parts.dropped,
            missed: 0,
            clients: parts.clients,
            clients_seen: 0,
            recheck: tokio::time::interval(RECHECK_INTERVAL),
        }
    }

    /// Publishes until `stop`, then sends what the log still holds and closes the socket.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            match self.next_event(&stop).await {
                Event::LogGrew => self.publish_log().await,
                Event::Passing(update, at) => self.publish_passing(&update, at),
                Event::InterestChanged => self.follow_interest().await,
                Event::Output(piece) => _ = self.socket.publish(&piece.topic, piece.body),
                Event::Heartbeat => self.publish_heartbeat(),
                Event::Recheck => self.drop_unlisted().await,
                Event::Stop => break,
            }
            let dropped = self.socket.dropped() + self.missed;
            self.dropped.store(dropped, Ordering::Relaxed);
        }
        self.live.clear();
        while self.sent < self.log.sequence() {
            self.publish_log().await;
        }
        self.socket.close().await;
    }

    async fn next_event(&mut self, stop: &CancellationToken) -> Event {
        tokio::select! {
            () = self.log.grown_beyond(self.sent) => Event::LogGrew,
            Some((update, at)) = self.passing.recv() => Event::Passing(update, at),
            Ok(_) = self.interest.changed() => Event::InterestChanged,
            Some(piece) = self.output.1.recv() => Event::Output(piece),
            _ = self.heartbeat.tick() => Event::Heartbeat,
            _ = self.recheck.tick(), if self.clients.is_some() => Event::Recheck,
            () = stop.cancelled() => Event::Stop,
        }
    }

    /// Lets go of listeners that were taken off the list of clients.
    async fn drop_unlisted(&mut self) {
        let Some(clients) = &self.clients else { return };
        let generation = clients.generation();
        if generation != self.clients_seen {
            self.clients_seen = generation;
            self.socket
                .keep_only(|key| clients.role(key).is_some())
                .await;
        }
    }

    /// Sends the next events. Where the socket has no room for one it waits, but not for ever.
    async fn publish_log(&mut self) {
        let page = self.log.after(self.sent, BATCH, None);
        let first = page.events.first().and_then(|event| event.sequence);
        if let Some(first) = first {
            self.missed += first - self.sent - 1;
        }
        self.sent = page.next_sequence;
        for update in page.events {
            if update.agent_sequence == Some(1) {
                self.follow_new(update.agent_id);
            }
            let topic = topics::status(update.agent_id);
            if !self.broadcasts_status || !self.interest.wants(&topic) {
                continue;
            }
            let body = update.encode();
            let published = if self.stands_still {
                self.socket.publish(&topic, body)
            } else {
                self.socket.publish_when_room(&topic, body).await
            };
            self.stands_still = published == Published::Dropped;
        }
        self.log.published(Some(self.sent));
    }

    fn publish_passing(&self, update: &AgentUpdate, at: Timestamp) {
        let topic = topics::status(update.agent_id);
        if self.broadcasts_status && self.interest.wants(&topic) {
            self.socket
                .publish(&topic, self.log.update(update, at, None).encode());
        }
    }

    fn publish_heartbeat(&self) {
        if self.broadcasts_status && self.interest.wants(&self.server_topic) {
            let heartbeat: HealthCheckResponse = self.handlers.heartbeat(String::new());
            self.socket
                .publish(&self.server_topic, Reply::from(heartbeat).encode());
        }
    }

    /// Begins to send output that somebody wants now, and stops what nobody does any more.
    async fn follow_interest(&mut self) {
        let interest = &self.interest;
        self.live.retain(|(agent, stream), live| {
            interest.wants(&topics::log(*agent, *stream)) && !live.has_ended()
        });
        let agents = self.runner.agents(None);
        // Those of them that have just started are followed from their start, which is among these.
        let told = self.log.sequence();
        while self.sent < told {
            self.publish_log().await;
        }
        for handle in agents {
            if !handle.status().is_final() {
                self.follow(&handle, None);
            }
        }
    }

    /// Whoever subscribed before the agent was there gets its output from the start.
    fn follow_new(&mut self, id: AgentId) {
        let agent = self.runner.agent(id);
        // The first event of one that was found may be any.
        if let Some(handle) = agent.filter(AgentHandle::was_started_here) {
            self.follow(&handle, Some(0));
        }
        self.live.retain(|_, live| !live.has_ended());
    }

    fn follow(&mut self, handle: &AgentHandle, from: Option<u64>) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let topic = topics::log(handle.id(), stream);
            if self.interest.wants(&topic) {
                let sender = &self.output.0;
                self.live.entry((handle.id(), stream)).or_insert_with(|| {
                    LiveOutput::start(handle, stream, topic, from, sender.clone())
                });
            }
        }
    }
}
