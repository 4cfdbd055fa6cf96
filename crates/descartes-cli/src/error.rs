//! What went wrong, in words for a person, and what to do about it.

use descartes_client::ClientError;
use descartes_client::protocol::ErrorCode;
use descartes_client::transport::HandshakeFault;

use crate::exit;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    /// A lower-case sentence without a full stop.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
    /// The server's code, if it refused.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) exit: u8,
}

/// What commands return.
pub(crate) type Result<T> = std::result::Result<T, CliError>;

impl CliError {
    /// Something that the server did not have to say no to.
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            code: None,
            exit,
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(exit::USAGE, message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Nobody reads what is printed: nothing more needs to be said.
    pub(crate) fn broken_pipe() -> Self {
        Self::new(exit::BROKEN_PIPE, "")
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        let hint = hint(&error);
        let exit = match &error {
            ClientError::Refused(refusal) if refusal.code == ErrorCode::AgentNotFound => {
                exit::NO_AGENT
            }
            ClientError::Refused(_) | ClientError::TooLarge { .. } => exit::REFUSED,
            ClientError::Config(_) => exit::USAGE,
            _ => exit::NO_SERVER,
        };
        Self {
            message: error.to_string(),
            hint,
            code: error.code(),
            exit,
        }
    }
}

fn hint(error: &ClientError) -> Option<String> {
    let hint = match error {
        ClientError::Refused(refusal) => return refusal_hint(refusal.code).map(str::to_owned),
        ClientError::Unreachable { .. } => {
            "is descartes-server running there? `descartes servers` shows the servers that you have named"
        }
        ClientError::NotAdmitted { fault, .. } => admission_hint(fault),
        ClientError::WrongServer { .. } => "check the endpoint, or whether the server was renamed",
        ClientError::OutcomeUnknown { .. } => "look with `descartes ls` before trying again",
        ClientError::TimedOut { .. } => {
            "the server may be overloaded or stopped; `descartes health` tells"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

fn admission_hint(fault: &HandshakeFault) -> &'static str {
    match fault {
        HandshakeFault::UnknownKey => {
            "have the server list your public key: `descartes keys add NAME PUBLIC_KEY` on its host"
        }
        HandshakeFault::KeysNeeded => {
            "it needs keys: name its client bundle with `--server client.toml`, or keep it with \
             `descartes servers add NAME client.toml`"
        }
        HandshakeFault::HungUp => {
            "compare the server_key of your bundle with server.pub in the server's keys folder"
        }
        HandshakeFault::ServerIsPlain => {
            "leave the keys out: name the server by its endpoint alone"
        }
        HandshakeFault::Other(_) => "check the endpoint, and the keys of this client",
    }
}

fn refusal_hint(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::BackendUnavailable => {
            "install the program on the server's host, where the server's PATH finds it"
        }
        ErrorCode::MaxAgentsReached => {
            "stop an agent (`descartes ls`), or raise max_agents in the server's configuration"
        }
        ErrorCode::PermissionDenied => {
            "what you may do is up to authorized_clients.toml on the server's host"
        }
        ErrorCode::ShuttingDown | ErrorCode::Busy | ErrorCode::RateLimited => "try again later",
        ErrorCode::AgentNotFound => "`descartes ls --all` lists all agents",
        ErrorCode::Timeout => "it may still be done; `descartes show` tells",
        ErrorCode::SpawnFailed => "the server's log has the details",
        _ => return None,
    })
}
