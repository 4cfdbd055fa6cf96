//! One agent: what is known of it, and what can be done with it.
//!
//! The agent's owner task (`owner.rs`) alone changes the state; a handle reads it under a short
//! lock and sends commands over a bounded queue.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use descartes_protocol::{AgentId, AgentInfo, AgentStatus, EndReason, Stream, Timestamp};
use descartes_shim::record;
use descartes_shim::wire::{Command, Outcome};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::store::Notes;

mod commands;
mod end;
mod origin;
mod readers;
mod reading;
mod state;

pub(crate) use end::in_words;
pub(crate) use origin::Origin;
pub use readers::Reading;
pub(crate) use state::AgentState;

/// Commands that may wait for one agent.
pub(crate) const COMMANDS_MAX: usize = 1024;

/// Kills that may wait beyond that.
const KILLS_MAX: usize = 16;

/// A handle on one agent. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    pub(crate) agent: Arc<Agent>,
}

/// Since when an agent is this runner's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since it was started.
    Start,
    /// Since it was found. What it said before is no news, apart from what came of it.
    Adoption,
}

/// What all handles on an agent share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) server_id: String,
    pub(crate) dir: PathBuf,
    pub(crate) notes: Notes,
    pub(crate) stdin_bytes_max: u64,
    pub(crate) since: Since,
    pub(crate) state: Mutex<AgentState>,
    pub(crate) progress: watch::Sender<Progress>,
    pub(crate) readers: readers::Readers,
    /// Bytes that its output takes on disk, once it has ended and somebody has looked.
    pub(crate) output_bytes: OnceLock<u64>,
    /// How many want output reported at once.
    attention: watch::Sender<usize>,
    stdin_in_flight: Arc<AtomicUsize>,
}

/// How far an agent has come: enough to know when to look again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Length of stdout, as last reported.
    pub stdout_bytes: u64,
    /// Length of stderr, as last reported.
    pub stderr_bytes: u64,
    /// Whether the agent has ended.
    pub finished: bool,
}

impl Progress {
    /// Length of one of the streams.
    #[must_use]
    pub fn bytes(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.stdout_bytes,
            Stream::Stderr => self.stderr_bytes,
        }
    }
}

/// While it is held, the agent's output is reported at once rather than once a second.
#[derive(Debug)]
pub struct Attention {
    agent: Arc<Agent>,
}

impl Drop for Attention {
    fn drop(&mut self) {
        self.agent.attention.send_modify(|count| *count -= 1);
    }
}

/// How an agent ended that was told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StopOutcome {
    /// Exit code, where its first process exited.
    pub exit_code: Option<i32>,
    /// Signal number, where one ended it.
    pub exit_signal: Option<i32>,
    /// Why it ended.
    pub end_reason: EndReason,
    /// Whether SIGKILL was needed after the grace time.
    pub forced: bool,
}

/// What became of a write to stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Bytes of this write that are taken.
    pub bytes_written: u64,
    /// Bytes of stdin accepted since the agent's start.
    pub stdin_bytes: u64,
    /// Whether all of this write was taken.
    pub complete: bool,
}

/// A command on its way to the owner task.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) data: Bytes,
    pub(crate) reply: oneshot::Sender<Outcome>,
    /// Given back when the shim has answered, and the order is dropped.
    pub(crate) _in_flight: Option<InFlight>,
}

/// Where an agent's commands go.
#[derive(Debug)]
pub(crate) struct Commands {
    ordinary: mpsc::Sender<Order>,
    /// For kills that find the queue full: nothing else may keep an agent alive.
    kills: mpsc::Sender<Order>,
    /// What in the queue shall end the agent.
    endings: watch::Sender<Endings>,
    /// Cancelled when the server goes and leaves the agent to itself.
    leaving: CancellationToken,
}

/// Where its owner takes them from.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) ordinary: mpsc::Receiver<Order>,
    pub(crate) kills: mpsc::Receiver<Order>,
    pub(crate) endings: watch::Sender<Endings>,
}

/// How many orders in a queue shall end the agent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Endings {
    pub(crate) stops: usize,
    pub(crate) kills: usize,
}

impl Endings {
    /// The count that this order is in, if it shall end the agent.
    pub(crate) fn of(&mut self, order: &Order) -> Option<&mut usize> {
        match order.command {
            Command::Stop { .. } => Some(&mut self.stops),
            Command::Kill { .. } => Some(&mut self.kills),
            _ => None,
        }
    }
}

impl Order {
    /// Whether it shall end the agent.
    pub(crate) fn ends(&self) -> bool {
        matches!(self.command, Command::Stop { .. } | Command::Kill { .. })
    }

    /// Whether it shall end the agent at once.
    pub(crate) fn kills(&self) -> bool {
        matches!(self.command, Command::Kill { .. })
    }
}

/// The two ends of one agent's queues, in a server that is there until `leaving`.
pub(crate) fn queues(leaving: &CancellationToken) -> (Commands, Orders) {
    let (ordinary, ordinary_orders) = mpsc::channel(COMMANDS_MAX);
    let (kills, kill_orders) = mpsc::channel(KILLS_MAX);
    let endings = watch::Sender::new(Endings::default());
    let orders = Orders {
        ordinary: ordinary_orders,
        kills: kill_orders,
        endings: endings.clone(),
    };
    let commands = Commands {
        ordinary,
        kills,
        endings,
        leaving: leaving.clone(),
    };
    (commands, orders)
}

impl Commands {
    fn send(&self, order: Order) -> Result<(), mpsc::error::TrySendError<Order>> {
        let place = match self.ordinary.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Closed(())) => {
                return Err(mpsc::error::TrySendError::Closed(order));
            }
            Err(mpsc::error::TrySendError::Full(())) => {
                if order.kills() {
                    return self.kills.try_send(order);
                }
                return Err(mpsc::error::TrySendError::Full(order));
            }
        };
        // Before its receiver can count it out.
        if order.ends() {
            self.endings.send_modify(|endings| {
                if let Some(count) = endings.of(&order) {
                    *count += 1;
                }
            });
        }
        place.send(order);
        Ok(())
    }
}

/// Bytes of stdin on their way to the shim.
#[derive(Debug)]
pub(crate) struct InFlight {
    counter: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Agent {
    pub(crate) fn new(
        id: AgentId,
        server_id: &str,
        dir: PathBuf,
        notes: Notes,
        stdin_bytes_max: u64,
        (since, state): (Since, AgentState),
    ) -> Self {
        let progress = state.progress();
        Self {
            id,
            server_id: server_id.to_owned(),
            dir,
            notes,
            stdin_bytes_max,
            since,
            state: Mutex::new(state),
            progress: watch::Sender::new(progress),
            readers: readers::Readers::default(),
            output_bytes: OnceLock::new(),
            attention: watch::Sender::new(0),
            stdin_in_flight: Arc::default(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, AgentState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when attention begins and ends.
    pub(crate) fn attention(&self) -> watch::Receiver<usize> {
        self.attention.subscribe()
    }
}

impl AgentHandle {
    /// The agent's id.
    #[must_use]
    pub fn id(&self) -> AgentId {
        self.agent.id
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> AgentStatus {
        self.agent.state().status()
    }

    /// All that is known of it.
    #[must_use]
    pub fn info(&self) -> AgentInfo {
        self.agent.state().info(&self.agent)
    }

    /// Whether this runner has started it. Others were found: an earlier runner did.
    #[must_use]
    pub fn was_started_here(&self) -> bool {
        self.agent.since == Since::Start
    }

    /// How far it has come, and a way to wait until it has come further.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.agent.progress.subscribe()
    }

    /// Has output reported at once for as long as the result is held.
    #[must_use]
    pub fn attend(&self) -> Attention {
        self.agent.attention.send_modify(|count| *count += 1);
        Attention {
            agent: Arc::clone(&self.agent),
        }
    }

    /// The pid of its shim, if that stands still (SIGSTOP) and does nothing until it gets SIGCONT.
    #[must_use]
    pub fn stopped_shim(&self) -> Option<i32> {
        self.agent.state().stopped_shim().map(|shim| shim.pid)
    }

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn finished(&self) {
        // The sender lives as long as the agent, which this handle holds.
        let _ = self.progress().wait_for(|progress| progress.finished).await;
    }
}

/// Turns the shims' times into the wire's.
pub(crate) fn timestamp(time: record::WallTime) -> Timestamp {
    Timestamp {
        secs_since_epoch: time.secs,
        nanos_since_epoch: time.nanos,
    }
}
