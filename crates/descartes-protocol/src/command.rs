//! Commands to an agent, as types.

mod payload;

use std::time::Duration;

use bytes::Bytes;

use crate::codec::Fault;
use crate::{
    ErrorCode, PauseRequest, Raw, SignalNumber, SignalScope, StdinPosition, Stream, Timestamp,
};

/// What a [`ControlCommand`](crate::ControlCommand) or a
/// [`BatchControlCommand`](crate::BatchControlCommand) asks of an agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// `pause`: hold the agent.
    Pause {
        /// How.
        mode: PauseRequest,
    },
    /// `resume`: let a held agent go on.
    Resume,
    /// `stop`: end the agent, gently first.
    Stop {
        /// How long it may take to end by itself, at most a day; `None`: as the server has it.
        grace: Option<Duration>,
        /// Whether the reply comes only when it has ended.
        wait: bool,
    },
    /// `kill`: end the agent at once.
    Kill,
    /// `write_stdin`: feed its standard input.
    WriteStdin {
        /// The bytes, decoded if they came as base64.
        data: Bytes,
        /// Whether the input ends after them.
        close: bool,
        /// Where they begin.
        position: StdinPosition,
    },
    /// `close_stdin`: end its standard input.
    CloseStdin,
    /// `read_stdout` or `read_stderr`: bring what it wrote.
    Read {
        /// Where it wrote.
        stream: Stream,
        /// The first byte; `None`: what follows the server's own cursor, which moves.
        offset: Option<u64>,
        /// At most so many bytes.
        max_bytes: Option<u64>,
        /// How long to wait for output if there is none.
        wait: Duration,
        /// Begin where the output begins that arrived at this time or later, if that is behind `offset`;
        /// without `offset` the cursor is neither used nor moved.
        since: Option<Timestamp>,
        /// Whether the reply says when its bytes arrived ([`OutputTime`](crate::OutputTime)); on the wire by default no.
        times: bool,
    },
    /// `get_status`: bring its [`AgentInfo`](crate::AgentInfo).
    GetStatus,
    /// `signal`: send it a signal.
    Signal {
        /// Which one.
        signal: SignalNumber,
        /// To which of its processes.
        scope: SignalScope,
    },
    /// `custom_action`: have it do something that no command is for.
    CustomAction {
        /// The action's name.
        action: String,
        /// The action's parameters.
        params: Option<Raw>,
    },
    /// `query_output`: bring lines of what it wrote.
    QueryOutput {
        /// Whether those of standard output; on the wire by default yes.
        stdout: bool,
        /// Whether those of standard error; on the wire by default no.
        stderr: bool,
        /// At most so many of each stream.
        max_lines: Option<u64>,
        /// Whether the last ones instead of the first; on the wire by default no.
        tail: bool,
    },
    /// `stream_logs`: tell where its output is published.
    StreamLogs,
}

/// A command that cannot be carried out, whatever the agent. Its text names the field and what is wrong
/// with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault}")]
pub struct CommandError {
    fault: Fault,
}

impl CommandError {
    /// The code to answer with: `unsupported_command` or `malformed_message`.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.fault.code()
    }
}

impl Command {
    /// Reads a command from its name and its payload. Keys of the payload that it does not know are
    /// ignored; an absent payload is an empty one.
    ///
    /// # Errors
    ///
    /// With the code `unsupported_command` if there is no such command or signal, and `malformed_message` if
    /// the payload is no map, or a key in it is missing, of a wrong type or out of range.
    pub fn parse(command_type: &str, payload: Option<&Raw>) -> Result<Self, CommandError> {
        payload::parse(command_type, payload).map_err(|fault| CommandError { fault })
    }

    /// The command's payload on the wire; `None` for a command that has none.
    #[must_use]
    pub fn payload(&self) -> Option<Raw> {
        payload::encode(self)
    }

    /// The command's name on the wire.
    #[must_use]
    pub fn command_type(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Stop { .. } => "stop",
            Self::Kill => "kill",
            Self::WriteStdin { .. } => "write_stdin",
            Self::CloseStdin => "close_stdin",
            Self::Read {
                stream: Stream::Stdout,
                ..
            } => "read_stdout",
            Self::Read {
                stream: Stream::Stderr,
                ..
            } => "read_stderr",
            Self::GetStatus => "get_status",
            Self::Signal { .. } => "signal",
            Self::CustomAction { .. } => "custom_action",
            Self::QueryOutput { .. } => "query_output",
            Self::StreamLogs => "stream_logs",
        }
    }
}
