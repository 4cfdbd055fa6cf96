//! Work that blocks, such as that with files.

use std::io;

use crate::error::{OpenError, SpawnError};

/// Runs what blocks where it may.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    tokio::task::spawn_blocking(work).await.map_err(Interrupted)
}

/// Work that was given up because the runtime is shutting down, or that panicked.
#[derive(Debug)]
pub(super) struct Interrupted(pub(super) tokio::task::JoinError);

impl From<Interrupted> for SpawnError {
    fn from(Interrupted(error): Interrupted) -> Self {
        Self::Start {
            action: "carry out the spawn".to_owned(),
            source: io::Error::other(error),
        }
    }
}

impl From<Interrupted> for OpenError {
    fn from(Interrupted(error): Interrupted) -> Self {
        Self::Storage {
            action: "open",
            path: "the state folder".into(),
            source: io::Error::other(error),
        }
    }
}
