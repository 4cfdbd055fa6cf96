//! What can be done with an agent.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{
    AgentStatus, PauseMode, PauseRequest, SignalNumber, SignalScope, StdinPosition,
};
use descartes_shim::record::{self, Exit};
use descartes_shim::wire::{Command, Outcome, PauseHow, Refusal};
use tokio::sync::{mpsc, oneshot};

use super::end::end_reason;
use super::state::{AgentState, Phase};
use super::{AgentHandle, InFlight, Order, StopOutcome, Written};
use crate::error::AgentError;

/// Bytes of stdin that may be on their way to a shim that takes none.
const STDIN_IN_FLIGHT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What a pipe can hold at most without privileges (`/proc/sys/fs/pipe-max-size`): more than it
/// and the queue is never taken at once.
const PIPE_BYTES_MAX: u64 = 1024 * 1024;

impl AgentHandle {
    /// Pauses the tree. Answered when it stands still.
    ///
    /// As all commands, it takes its place in the agent's queue when this is *called*; when the
    /// future is polled, or dropped, makes no difference to the agent.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::NoCooperativePause`],
    /// [`AgentError::NotFrozen`], [`AgentError::Busy`], [`AgentError::ShimGone`],
    /// [`AgentError::ShuttingDown`], [`AgentError::LetGo`].
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
    /// [`AgentError::InvalidState`], [`AgentError::Busy`], [`AgentError::ShimGone`],
    /// [`AgentError::ShuttingDown`], [`AgentError::LetGo`].
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
    /// [`AgentError::ShimGone`],
    /// [`AgentError::ShuttingDown`], [`AgentError::LetGo`].
    pub fn stop(
        &self,
        grace: Option<Duration>,
    ) -> impl Future<Output = Result<StopOutcome, AgentError>> + Send + use<> {
        self.end(stop_command(grace))
    }

    /// As [`AgentHandle::stop`], without waiting for the end.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`] where the agent has ended, [`AgentError::Busy`],
    /// [`AgentError::ShuttingDown`].
    pub fn begin_stop(&self, grace: Option<Duration>) -> Result<(), AgentError> {
        self.begin(stop_command(grace))
    }

    /// Gives a command without waiting for its effect.
    pub(crate) fn begin(&self, command: Command) -> Result<(), AgentError> {
        self.queue(command, Bytes::new()).map(drop)
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
    /// [`AgentError::ShimGone`],
    /// [`AgentError::ShuttingDown`], [`AgentError::LetGo`].
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
    /// `data` if all of it was taken. Where `position` says how many bytes came before `data`,
    /// what was accepted before is skipped, so the write can be repeated. See
    /// [`AgentHandle::pause`] for the order of commands.
    ///
    /// # Errors
    /// [`AgentError::InvalidState`], [`AgentError::StdinGap`], [`AgentError::WriterGap`],
    /// [`AgentError::NoWriters`], [`AgentError::Busy`], [`AgentError::ShimGone`],
    /// [`AgentError::ShuttingDown`], [`AgentError::LetGo`].
    pub fn write_stdin(
        &self,
        mut data: Bytes,
        position: StdinPosition,
        close: bool,
    ) -> impl Future<Output = Result<Written, AgentError>> + Send + use<> {
        let asked = data.len();
        let most = self.agent.stdin_bytes_max.saturating_add(PIPE_BYTES_MAX);
        if position == StdinPosition::Next {
            data.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        }
        let whole = data.len() == asked;
        let close = close && whole;
        let command = self.write_command(position, close);
        let answer = command.map(|command| self.send(command, data));
        async move {
            match answer?.await? {
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

    fn write_command(&self, position: StdinPosition, close: bool) -> Result<Command, AgentError> {
        Ok(match position {
            StdinPosition::Next => Command::Write {
                offset: None,
                close,
            },
            StdinPosition::Offset(offset) => Command::Write {
                offset: Some(offset),
                close,
            },
            StdinPosition::Writer { .. } if self.agent.state().confuses_writers() => {
                return Err(AgentError::NoWriters);
            }
            StdinPosition::Writer { id, offset } => Command::WriteFrom {
                writer: id.to_string(),
                offset,
                close,
            },
        })
    }

    /// Has the shim put its records, and its folder, back.
    pub(crate) fn restore(&self) -> impl Future<Output = Result<(), AgentError>> + Send + use<> {
        let answer = self.command(Command::Restore);
        async move { answer.await.map(drop) }
    }

    fn end(
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
        let to_end = matches!(command, Command::Stop { .. } | Command::Kill { .. });
        let queued = self.queue(command, data);
        let agent = Arc::clone(&self.agent);
        async move {
            match queued?.await {
                Ok(Outcome::Refused(refusal)) => {
                    Err(outcome_error(refusal, agent.state().status()))
                }
                Ok(outcome) => Ok(outcome),
                Err(_) => unanswered(&agent.state(), to_end),
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
            // The owner has gone, and not because the agent has ended.
            Err(mpsc::error::TrySendError::Closed(_)) if commands.leaving.is_cancelled() => {
                Err(AgentError::ShuttingDown)
            }
            Err(mpsc::error::TrySendError::Closed(_)) => Err(AgentError::ShimGone),
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

/// What is known of a command that nobody answers any more.
fn unanswered(state: &AgentState, to_end: bool) -> Result<Outcome, AgentError> {
    match &state.phase {
        Phase::Live { commands, .. } if commands.leaving.is_cancelled() => Err(AgentError::LetGo),
        Phase::Live { .. } => Err(AgentError::ShimGone),
        Phase::Finished { exit, .. } if to_end => Ok(Outcome::Ended(exit.clone())),
        Phase::Finished { status, .. } => Err(outcome_error(Refusal::Ending, *status)),
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
        end_reason: end_reason(exit.reason),
        forced: exit.forced,
    })
}

/// What a shim's refusal means to who gave the command.
fn outcome_error(refusal: Refusal, status: AgentStatus) -> AgentError {
    let invalid = |why| AgentError::InvalidState { status, why };
    match refusal {
        Refusal::Ending => invalid("the agent is ending or has ended"),
        Refusal::AlreadyPaused => invalid("the agent is paused already"),
        Refusal::NotPaused => invalid("the agent is not paused"),
        Refusal::NoStdin => invalid("the agent was started without a stdin to write to"),
        Refusal::StdinClosed => invalid("the agent's stdin is closed"),
        Refusal::NoCooperativePause => AgentError::NoCooperativePause,
        Refusal::NotFrozen(pids) => AgentError::NotFrozen { pids },
        Refusal::StdinGap { total } => AgentError::StdinGap { total },
        Refusal::WriterGap { accepted } => AgentError::WriterGap { accepted },
        Refusal::SignalFailed { errno } => AgentError::SignalFailed(in_words(errno)),
        Refusal::NotRestored { errno } => AgentError::NotRestored(in_words(errno)),
    }
}

fn in_words(errno: i32) -> String {
    std::io::Error::from_raw_os_error(errno).to_string()
}
