//! What can go wrong with agents, each fault with its code on the wire.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use descartes_protocol::{AgentId, AgentStatus, ErrorCode};

use crate::backend::LaunchError;
use crate::output::QueryError;

/// Why a runner cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has the folder.
    #[error("the state folder {} belongs to another running server", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder is open to others.
    #[error("{} can be entered by other users (mode {mode:o}); run `chmod 700 {}`", path.display(), path.display())]
    NotPrivate {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It was given up before it had the folder.
    #[error("the start was given up")]
    GivenUp,
    /// The folder cannot be used.
    #[error("failed to {action} {}", path.display())]
    Storage {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Why an agent was not started. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The backend does not exist, is not there, or does not take what was asked for.
    #[error(transparent)]
    Backend(#[from] LaunchError),
    /// Something that was asked for is not allowed.
    #[error("{field}: {reason}")]
    InvalidConfig {
        /// Which field of the configuration.
        field: &'static str,
        /// Why it is not allowed.
        reason: String,
    },
    /// As many agents run as may.
    #[error("Maximum agent limit reached: {limit} agents are running")]
    AtCapacity {
        /// How many may.
        limit: usize,
    },
    /// The server's limit of open files allows no more.
    #[error(
        "Maximum agent limit reached: {limit} open files, the server's limit, are enough for {agents} agents; raise it (`LimitNOFILE=`, `ulimit -n`) and start the server anew"
    )]
    OutOfDescriptors {
        /// How many agents can be connected at once.
        agents: usize,
        /// How many files the server may have open.
        limit: u64,
    },
    /// The request's id was used for another agent.
    #[error("the request id {request_id:?} belongs to a spawn with other content")]
    Conflict {
        /// The id.
        request_id: String,
    },
    /// The request led to an agent that is not kept any more.
    #[error(
        "Agent not found: the request started agent {agent_id}, which has finished and was removed"
    )]
    Removed {
        /// That agent.
        agent_id: String,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// It did not start in time, and was undone.
    #[error("the agent did not start within {} s and was undone", after.as_secs_f64())]
    TimedOut {
        /// The time that it had.
        after: Duration,
    },
    /// The operating system refused.
    #[error("failed to {action}: {source}")]
    Start {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl SpawnError {
    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Backend(LaunchError::UnknownBackend { .. }) => ErrorCode::UnknownBackend,
            Self::Backend(LaunchError::BackendUnavailable { .. }) => ErrorCode::BackendUnavailable,
            Self::Backend(LaunchError::InvalidConfig(_)) | Self::InvalidConfig { .. } => {
                ErrorCode::InvalidConfig
            }
            Self::AtCapacity { .. } | Self::OutOfDescriptors { .. } => ErrorCode::MaxAgentsReached,
            Self::Conflict { .. } => ErrorCode::RequestConflict,
            Self::Removed { .. } => ErrorCode::AgentNotFound,
            Self::ShuttingDown => ErrorCode::ShuttingDown,
            Self::TimedOut { .. } => ErrorCode::Timeout,
            Self::Start { .. } => ErrorCode::SpawnFailed,
        }
    }
}

/// Why a command to an agent was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The agent's state does not allow it.
    #[error("{why} (its status is {status})")]
    InvalidState {
        /// Its status.
        status: AgentStatus,
        /// What is the matter.
        why: &'static str,
    },
    /// The agent's backend cannot do it.
    #[error("the agent's backend has no cooperative pause")]
    NoCooperativePause,
    /// More commands wait for this agent than may.
    #[error("too many commands are waiting for this agent; try again later")]
    Busy,
    /// The data goes on after bytes that never came.
    #[error("offset is beyond the {total} bytes of stdin that were accepted so far")]
    StdinGap {
        /// Bytes accepted so far.
        total: u64,
    },
    /// A writer's data goes on after bytes that never came.
    #[error(
        "writer.offset is beyond the {accepted} bytes that were accepted from this writer so far"
    )]
    WriterGap {
        /// Bytes accepted from this writer so far.
        accepted: u64,
    },
    /// The agent was started by an earlier version, whose shim does not tell writers apart.
    #[error(
        "the agent was started by an earlier version of the server and cannot tell its writers apart; use offset"
    )]
    NoWriters,
    /// The operating system refused the signal.
    #[error("failed to send the signal: {0}")]
    SignalFailed(String),
    /// Processes did not stand still in time.
    #[error("processes {pids:?} could not be frozen in time; the agent goes on")]
    NotFrozen {
        /// Their pids.
        pids: Vec<i32>,
    },
    /// Processes could not be killed.
    #[error(
        "processes {pids:?} could not be killed: they wait in the kernel or belong to another user"
    )]
    LeftOver {
        /// Their pids.
        pids: Vec<i32>,
    },
    /// The connection to the shim was lost on the way: it is not known whether it was done.
    #[error("the agent's shim went away before it answered")]
    ShimGone,
    /// The server shuts down and has let go of the agent. Nothing was done.
    #[error("the server is shutting down and has let go of the agent; this was not done")]
    ShuttingDown,
    /// The server shuts down and let go of the agent on the way: it is not known whether it was done.
    #[error(
        "the server is shutting down and has let go of the agent; whether this was done is not known"
    )]
    LetGo,
    /// The shim could not make the agent's folder anew.
    #[error("failed to make the agent's folder anew: {0}")]
    NotRestored(String),
    /// It has finished and was removed.
    #[error("Agent not found: {agent_id}")]
    Removed {
        /// The agent.
        agent_id: AgentId,
    },
    /// Output could not be read.
    #[error("failed to read the agent's output: {0}")]
    Output(String),
    /// It took too long and was given up.
    #[error("it took too long and was given up; ask for less")]
    TimedOut,
    /// The regular expression is not one, or is too large.
    #[error("filter: {0}")]
    Filter(String),
}

impl AgentError {
    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::InvalidState { .. } | Self::StdinGap { .. } | Self::WriterGap { .. } => {
                ErrorCode::InvalidState
            }
            Self::NoCooperativePause | Self::NoWriters => ErrorCode::UnsupportedCommand,
            Self::Busy => ErrorCode::Busy,
            Self::ShuttingDown | Self::LetGo => ErrorCode::ShuttingDown,
            Self::SignalFailed(_) | Self::ShimGone | Self::NotRestored(_) | Self::Output(_) => {
                ErrorCode::Internal
            }
            Self::NotFrozen { .. } | Self::LeftOver { .. } | Self::TimedOut => ErrorCode::Timeout,
            Self::Removed { .. } => ErrorCode::AgentNotFound,
            Self::Filter(_) => ErrorCode::MalformedMessage,
        }
    }
}

impl From<io::Error> for AgentError {
    /// Output could not be read.
    fn from(error: io::Error) -> Self {
        Self::Output(error.to_string())
    }
}

impl From<QueryError> for AgentError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Read(error) => error.into(),
            QueryError::TimedOut => Self::TimedOut,
            QueryError::Filter(error) => Self::Filter(error.to_string()),
        }
    }
}
