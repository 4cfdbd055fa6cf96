//! Why a server does not start, or does not run.

use std::io;
use std::path::PathBuf;

use descartes_runner::OpenError;
use descartes_transport::BindError;

use crate::config::ConfigFault;

/// What the server's methods return.
pub type AgentResult<T> = Result<T, ServerError>;

/// Why a server does not start, or does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It is running already.
    #[error("the server is already running")]
    AlreadyRunning,
    /// Its configuration is wrong.
    #[error("the configuration is not valid: {}", in_words(.0))]
    Config(Vec<ConfigFault>),
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its state folder cannot be used.
    #[error(transparent)]
    State(#[from] OpenError),
    /// Its keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// A socket was closed under it.
    #[error("the request socket was closed")]
    SocketClosed,
}

impl ServerError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Bind(error) => error.hint(),
            Self::State(OpenError::Locked { .. }) => {
                Some("stop the other server, or give this one a state_dir of its own")
            }
            _ => None,
        }
    }
}

/// Why keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file or folder could not be read or written.
    #[error("failed to {action} {}: {source}", path.display())]
    Storage {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Others may read a secret.
    #[error("{} is open to other users (mode {mode:o}); run `chmod {wanted:o} {}`", path.display(), path.display())]
    NotPrivate {
        /// The file or folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// What it has to be.
        wanted: u32,
    },
    /// A file does not hold what it should.
    #[error("{} is not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

fn in_words(faults: &[ConfigFault]) -> String {
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    faults.join("; ")
}
