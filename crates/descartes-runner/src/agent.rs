//! One agent: what is known of it, and what can be done with it.
//!
//! The agent's owner task (`owner.rs`) alone changes the state; a handle reads it under a short
//! lock and sends commands over a bounded queue.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{
    AgentId, AgentInfo, AgentStatus, EndReason, PauseMode, PauseRequest, SignalNumber, SignalScope,
    Stream, Timestamp,
};
use descartes_shim::record::{self, Exit};
use descartes_shim::wire::{Command, Outcome, PauseHow, Sizes};
use tokio::sync::{mpsc, oneshot, watch};

use crate::error::AgentError;
use crate::output::{self, LineQuery, Lines, OutputChunk};
use crate::store::Notes;

mod state;

pub(crate) use state::{AgentState, outcome_error};

/// Commands that may wait for one agent.
pub(crate) const COMMANDS_MAX: usize = 1024;

/// Kills that may wait beyond that.
const KILLS_MAX: usize = 16;

/// Bytes of stdin that may be on their way to a shim that takes none.
const STDIN_IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a pipe can hold at most without privileges (`/proc/sys/fs/pipe-max-size`): more than it
/// and the queue is never taken at once.
const PIPE_BYTES_MAX: u64 = 1024 * 1024;

/// Most bytes of one read.
pub(crate) const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A handle on one agent. Clones are handles on the same one.
#[derive(Debug, Clone)]
pub struct AgentHandle {
    pub(crate) agent: Arc<Agent>,
}

/// What all handles on an agent share.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) id: AgentId,
    pub(crate) server_id: String,
    pub(crate) dir: PathBuf,
    pub(crate) notes: Notes,
    pub(crate) stdin_bytes_max: u64,
    pub(crate) state: Mutex<AgentState>,
    pub(crate) progress: watch::Sender<Progress>,
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
}

/// Where its owner takes them from.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) ordinary: mpsc::Receiver<Order>,
    pub(crate) kills: mpsc::Receiver<Order>,
}

/// The two ends of one agent's queues.
pub(crate) fn queues() -> (Commands, Orders) {
    let (ordinary, ordinary_orders) = mpsc::channel(COMMANDS_MAX);
    let (kills, kill_orders) = mpsc::channel(KILLS_MAX);
    let orders = Orders {
        ordinary: ordinary_orders,
        kills: kill_orders,
    };
    (Commands { ordinary, kills }, orders)
}

impl Commands {
    fn send(&self, order: Order) -> Result<(), mpsc::error::TrySendError<Order>> {
        match self.ordinary.try_send(order) {
            Err(mpsc::error::TrySendError::Full(order))
                if matches!(order.command, Command::Kill { .. }) =>
            {
                self.kills.try_send(order)
            }
            sent => sent,
        }
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
        state: AgentState,
    ) -> Self {
        let progress = state.progress();
        Self {
            id,
            server_id: server_id.to_owned(),
            dir,
            notes,
            stdin_bytes_max,
            state: Mutex::new(state),
            progress: watch::Sender::new(progress),
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

    /// Waits until it has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn finished(&self) {
        // The sender lives as long as the agent, which this handle holds.
        let _ = self.progress().wait_for(|progress| progress.finished).await;
    }

    /// Pauses the tree. Answered when it stands still.
    ///
    /// As all commands, it takes its place in the agent's queue when this is *called*; when the
    /// future is polled, or dropped, makes no difference to the agent.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::NoCooperativePause`],
    /// [`AgentError::NotFrozen`], [`AgentError::Busy`], [`AgentError::ShimGone`].
    pub fn pause(
        &self,
        mode: PauseRequest,
    ) -> impl Future<Output = Result<PauseMode, AgentError>> + Send + use<> {
        let answer = self.command(Command::Pause(match mode {
            PauseRequest::Auto => PauseHow::Auto,
            PauseRequest::Forced => PauseHow::Forced,
            PauseRequest::Cooperative => PauseHow::Cooperative,
        }));
        async move {
            match answer.await? {
                Outcome::Paused(paused) if paused.forced => Ok(PauseMode::Forced),
                Outcome::Paused(_) => Ok(PauseMode::Cooperative),
                _ => Err(AgentError::ShimGone),
            }
        }
    }

    /// Lets a paused tree go on. See [`AgentHandle::pause`] for the order of commands.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::Busy`], [`AgentError::ShimGone`].
    pub fn resume(&self) -> impl Future<Output = Result<(), AgentError>> + Send + use<> {
        let answer = self.command(Command::Resume);
        async move { answer.await.map(drop) }
    }

    /// Sends the backend's stop signal to the tree and kills what is left after `grace` (`None`:
    /// the configured time). Answered when no process is left. See [`AgentHandle::pause`] for the
    /// order of commands.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::LeftOver`], [`AgentError::Busy`],
    /// [`AgentError::ShimGone`].
    pub fn stop(
        &self,
        grace: Option<Duration>,
    ) -> impl Future<Output = Result<StopOutcome, AgentError>> + Send + use<> {
        self.end(stop_command(grace))
    }

    /// As [`AgentHandle::stop`], without waiting for the end.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`] where the agent has ended, [`AgentError::Busy`].
    pub fn begin_stop(&self, grace: Option<Duration>) -> Result<(), AgentError> {
        self.queue(stop_command(grace), Bytes::new()).map(drop)
    }

    /// Kills the tree. Answered when no process is left. See [`AgentHandle::pause`] for the order
    /// of commands.
    ///
    /// # Errors
    /// As [`AgentHandle::stop`].
    pub fn kill(&self) -> impl Future<Output = Result<StopOutcome, AgentError>> + Send + use<> {
        self.end(Command::Kill {
            reason: record::EndReason::Killed,
        })
    }

    /// Sends a signal to the tree, or to the first process only. See [`AgentHandle::pause`] for
    /// the order of commands.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::SignalFailed`], [`AgentError::Busy`],
    /// [`AgentError::ShimGone`].
    pub fn signal(
        &self,
        signal: SignalNumber,
        scope: SignalScope,
    ) -> impl Future<Output = Result<(), AgentError>> + Send + use<> {
        let answer = self.command(Command::Signal {
            signal: signal.number(),
            leader_only: scope == SignalScope::Leader,
        });
        async move { answer.await.map(drop) }
    }

    /// Writes to stdin what the pipe and the queue have room for; with `close`, stdin ends after
    /// `data` if all of it was taken. With `offset`, the number of bytes of stdin before `data`,
    /// what was accepted before is skipped, so the write can be repeated. See
    /// [`AgentHandle::pause`] for the order of commands.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::StdinGap`], [`AgentError::Busy`],
    /// [`AgentError::ShimGone`].
    pub fn write_stdin(
        &self,
        mut data: Bytes,
        offset: Option<u64>,
        close: bool,
    ) -> impl Future<Output = Result<Written, AgentError>> + Send + use<> {
        let asked = data.len();
        let most = self.agent.stdin_bytes_max.saturating_add(PIPE_BYTES_MAX);
        if offset.is_none() {
            data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let whole = data.len() == asked;
        let close = close && whole;
        let answer = self.send(Command::Write { offset, close }, data);
        async move {
            match answer.await? {
                Outcome::Written {
                    taken,
                    total,
                    complete,
                } => Ok(Written {
                    bytes_written: taken,
                    stdin_bytes: total,
                    complete: complete && whole,
                }),
                _ => Err(AgentError::ShimGone),
            }
        }
    }

    /// Reads at most `max` bytes of a stream from `offset` on; waits up to `wait` if there is
    /// nothing yet. Without `offset` it reads from the stream's cursor and moves it.
    ///
    /// # Errors
    /// [`AgentError::Output`].
    ///
    /// # Cancel safety
    /// The cursor moves only when the result is returned.
    pub async fn read(
        &self,
        stream: Stream,
        offset: Option<u64>,
        max: u64,
        wait: Duration,
    ) -> Result<OutputChunk, AgentError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut progress = self.progress();
        let mut attention = None;
        loop {
            progress.mark_unchanged();
            let from = offset.unwrap_or_else(|| self.agent.state().cursor(stream));
            let chunk = self.read_at(stream, from, max).await?;
            let waiting = chunk.data.is_empty() && !chunk.eof && max > 0;
            if waiting && tokio::time::Instant::now() < deadline {
                attention.get_or_insert_with(|| self.attend());
                let _ = tokio::time::timeout_at(deadline, progress.changed()).await;
                continue;
            }
            if offset.is_some()
                || self
                    .agent
                    .state()
                    .move_cursor(stream, from, chunk.next_offset)
            {
                return Ok(chunk);
            }
        }
    }

    async fn read_at(
        &self,
        stream: Stream,
        offset: u64,
        max: u64,
    ) -> Result<OutputChunk, AgentError> {
        let end = self.agent.state().stream_end(stream);
        let dir = output::stream_dir(&self.agent.dir, stream);
        let max = usize::try_from(max.min(READ_BYTES_MAX)).unwrap_or(usize::MAX);
        let chunk = blocking(move || output::read(&dir, offset, max, end)).await?;
        if !chunk.data.is_empty() {
            self.agent.state().saw(stream, chunk.next_offset);
        }
        Ok(chunk)
    }

    /// Looks for lines in the output.
    ///
    /// # Errors
    /// [`AgentError::Output`].
    pub async fn query(&self, query: LineQuery) -> Result<Lines, AgentError> {
        let dir = self.agent.dir.clone();
        blocking(move || output::query(&dir, &query)).await
    }

    pub(crate) fn end(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<StopOutcome, AgentError>> + Send + use<> {
        let answer = self.command(command);
        async move {
            match answer.await? {
                Outcome::Ended(exit) => ended(exit),
                _ => Err(AgentError::ShimGone),
            }
        }
    }

    fn command(
        &self,
        command: Command,
    ) -> impl Future<Output = Result<Outcome, AgentError>> + Send + use<> {
        self.send(command, Bytes::new())
    }

    /// Queues a command now; the future brings its outcome.
    fn send(
        &self,
        command: Command,
        data: Bytes,
    ) -> impl Future<Output = Result<Outcome, AgentError>> + Send + use<> {
        let queued = self.queue(command, data);
        let agent = Arc::clone(&self.agent);
        async move {
            let outcome = queued?.await.map_err(|_| AgentError::ShimGone)?;
            match outcome {
                Outcome::Refused(refusal) => Err(outcome_error(refusal, agent.state().status())),
                outcome => Ok(outcome),
            }
        }
    }

    fn queue(
        &self,
        command: Command,
        data: Bytes,
    ) -> Result<oneshot::Receiver<Outcome>, AgentError> {
        let in_flight = self.take_off(data.len())?;
        let (reply, outcome) = oneshot::channel();
        let order = Order {
            command,
            data,
            reply,
            _in_flight: in_flight,
        };
        let state = self.agent.state();
        let finished = || AgentError::InvalidState {
            status: state.status(),
            why: "the agent has ended",
        };
        let commands = state.commands().ok_or_else(finished)?;
        match commands.send(order) {
            Ok(()) => Ok(outcome),
            Err(mpsc::error::TrySendError::Full(_)) => Err(AgentError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(finished()),
        }
    }

    fn take_off(&self, bytes: usize) -> Result<Option<InFlight>, AgentError> {
        if bytes == 0 {
            return Ok(None);
        }
        let counter = Arc::clone(&self.agent.stdin_in_flight);
        let before = counter.fetch_add(bytes, Ordering::Relaxed);
        let in_flight = InFlight { counter, bytes };
        if before > 0 && before + bytes > STDIN_IN_FLIGHT_BYTES_MAX {
            return Err(AgentError::Busy);
        }
        Ok(Some(in_flight))
    }
}

fn stop_command(grace: Option<Duration>) -> Command {
    Command::Stop {
        grace_ms: grace.map(|grace| u64::try_from(grace.as_millis()).unwrap_or(u64::MAX)),
        reason: record::EndReason::Stopped,
    }
}

fn ended(exit: Exit) -> Result<StopOutcome, AgentError> {
    if !exit.left_over.is_empty() {
        let pids = exit.left_over;
        return Err(AgentError::LeftOver { pids });
    }
    Ok(StopOutcome {
        exit_code: exit.exit_code,
        exit_signal: exit.exit_signal,
        end_reason: state::end_reason(exit.reason),
        forced: exit.forced,
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) => Err(AgentError::Output(error.to_string())),
        Err(error) => Err(AgentError::Output(error.to_string())),
    }
}

/// Turns the shims' times into the wire's.
pub(crate) fn timestamp(time: record::WallTime) -> Timestamp {
    Timestamp {
        secs_since_epoch: time.secs,
        nanos_since_epoch: time.nanos,
    }
}

/// What an [`Agent`] is made with, while it runs.
pub(crate) fn running_state(commands: Commands, state: &record::State, sizes: Sizes) -> AgentState {
    AgentState::running(commands, state, sizes)
}
