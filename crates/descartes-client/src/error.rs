//! What can become of a request that is not answered as it should be.

use std::time::Duration;

use descartes_protocol::{AgentStatus, ErrorCode, Raw};
use descartes_transport::{ConnectError, Endpoint, EndpointError, HandshakeFault};

use crate::bundle::KeyFault;

/// Why a request has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// The client's own settings are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no connection, and the request was not carried out.
    #[error("failed to reach the server at {endpoint}: {reason}")]
    Unreachable {
        /// Where the server should be.
        endpoint: String,
        /// What went wrong last.
        reason: String,
    },
    /// The server lets nobody in with these keys, or without any.
    #[error("the server at {endpoint} does not let this client in: {fault}")]
    NotAdmitted {
        /// The server.
        endpoint: String,
        /// What does not fit.
        fault: HandshakeFault,
    },
    /// Another server than the expected one answers there.
    #[error("the server at {endpoint} is {found:?}, not {expected:?}")]
    WrongServer {
        /// Where.
        endpoint: String,
        /// The one that was expected.
        expected: String,
        /// The one that is there.
        found: String,
    },
    /// The server understood, and said no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// No reply came to a request that changes nothing.
    #[error("no reply to {request} within {:.1} s", waited.as_secs_f64())]
    TimedOut {
        /// The kind of request.
        request: &'static str,
        /// How long it was waited for, all attempts together.
        waited: Duration,
    },
    /// No reply came, and the server may or may not have done what was asked.
    #[error("the outcome of {request} is unknown: {reason}")]
    OutcomeUnknown {
        /// The kind of request, or the command.
        request: &'static str,
        /// Its `request_id`. A spawn can be made again with it.
        request_id: String,
        /// Why no reply came.
        reason: String,
    },
    /// The request is larger than the protocol allows, and was not sent.
    #[error("{request} of {bytes} bytes is above the limit of {limit}")]
    TooLarge {
        /// The kind of request.
        request: &'static str,
        /// Its size.
        bytes: usize,
        /// The largest one that may be sent.
        limit: usize,
    },
    /// The server's reply is none to this request.
    #[error("the server's reply to {request} is not understood: {problem}")]
    BadReply {
        /// The kind of request.
        request: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// What became of an earlier write of this writer is not known, so that it cannot say where the next one begins.
    #[error("an earlier write of this writer has an unknown outcome; a new writer can go on")]
    WriterLost,
    /// [`disconnect`](crate::ZmqAgentRunner::disconnect) was called while the request was under way.
    #[error("the client was disconnected while {request} was under way")]
    Disconnected {
        /// The kind of request.
        request: &'static str,
    },
}

impl ClientError {
    /// The server's code, if it refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            _ => None,
        }
    }

    /// Whether the request, one that changes something, cannot have reached the server.
    pub(crate) fn is_of_nothing_sent(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Unreachable { .. }
                | Self::NotAdmitted { .. }
                | Self::WrongServer { .. }
                | Self::TooLarge { .. }
        )
    }

    /// Whether the server refused with this code.
    #[must_use]
    pub fn is(&self, code: ErrorCode) -> bool {
        self.code() == Some(code)
    }
}

/// The server's no.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// The agent's status, where the request was about one.
    pub status: Option<AgentStatus>,
    /// What came of it nevertheless, for instance how much of a write was taken.
    pub data: Option<Raw>,
}

/// What is wrong with a client's settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The endpoint is none.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The endpoint stands for all addresses of a host.
    #[error("{endpoint} stands for all of a server's addresses; name one of them")]
    Wildcard {
        /// What was given.
        endpoint: Endpoint,
    },
    /// A socket cannot be made with these settings.
    #[error(transparent)]
    Socket(#[from] ConnectError),
    /// The bundle's keys are wrong.
    #[error(transparent)]
    Keys(#[from] KeyFault),
    /// A setting is below its least value.
    #[error("{key} must be at least 1")]
    Zero {
        /// Which one.
        key: &'static str,
    },
    /// A setting is above its greatest value.
    #[error("{key} must be at most {max}")]
    TooLarge {
        /// Which one.
        key: &'static str,
        /// The greatest value.
        max: u64,
    },
}
