//! Open files: how many this process may have, and how many of them connections to shims may take.
//!
//! Each running agent costs the server one descriptor for as long as it runs. Without a bound,
//! agents could take the last one, and then nothing works any more: no client connects, no record
//! is read, no agent is stopped. So a part is kept back for everything else.

use std::sync::Arc;

use rustix::process::{Resource, Rlimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::SpawnError;

/// A quarter of all descriptors, but no more than this, is not for connections to shims.
const RESERVE_MAX: u64 = 1024;

/// The descriptors for connections to shims.
#[derive(Debug, Clone)]
pub(crate) struct Descriptors {
    free: Arc<Semaphore>,
    agents: usize,
    limit: u64,
}

/// The right to one connection; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Descriptor(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Descriptors {
    /// The share of `limit` open files that is for shims.
    pub(crate) fn new(limit: u64) -> Self {
        let share = limit - (limit / 4).min(RESERVE_MAX);
        let agents = usize::try_from(share).map_or(Semaphore::MAX_PERMITS, |share| {
            share.min(Semaphore::MAX_PERMITS)
        });
        Self {
            free: Arc::new(Semaphore::new(agents)),
            agents,
            limit,
        }
    }

    /// How many agents can be connected at once.
    pub(crate) fn agents(&self) -> usize {
        self.agents
    }

    /// One for a new agent.
    pub(crate) fn take(&self) -> Result<Descriptor, SpawnError> {
        self.try_take().ok_or(SpawnError::OutOfDescriptors {
            agents: self.agents,
            limit: self.limit,
        })
    }

    /// One for an agent that runs already, if one is free.
    pub(crate) fn try_take(&self) -> Option<Descriptor> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Descriptor(permit))
    }

    /// One for an agent that runs already, as soon as one is free.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped, but the place in the queue.
    pub(crate) async fn wait(&self) -> Descriptor {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Descriptor(permit),
            Err(_) => unreachable!("nobody closes the semaphore"),
        }
    }
}

/// Limits of open files: the one that this process has now, and the one that it was started with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenFiles {
    /// What this process may have.
    pub(crate) own: u64,
    /// The soft limit that agents get back; `None` where it was not changed.
    pub(crate) agents_soft: Option<u64>,
}

/// Lets the server have all the descriptors that it may.
pub(crate) fn raise_limit() -> OpenFiles {
    let before = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => OpenFiles {
            own: before.maximum.unwrap_or(u64::MAX),
            agents_soft: before.current,
        },
        Err(error) => {
            tracing::warn!(%error, "failed to raise the limit of open files");
            OpenFiles {
                own: before.current.unwrap_or(u64::MAX),
                agents_soft: None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_descriptors_is_kept_back() {
        assert_eq!(Descriptors::new(100).agents(), 75);
        assert_eq!(Descriptors::new(100_000).agents(), 98_976);
        let none = Descriptors::new(0);
        let refused = none.take().unwrap_err().to_string();
        assert!(
            refused.starts_with("Maximum agent limit reached"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn who_waits_gets_the_descriptor_that_comes_free() {
        let descriptors = Descriptors::new(1);
        let taken = descriptors.try_take().unwrap();
        let mut waiting = std::pin::pin!(descriptors.wait());
        let in_vain = tokio::time::timeout(std::time::Duration::ZERO, waiting.as_mut());
        assert!(in_vain.await.is_err());
        drop(taken);
        waiting.await;
        assert!(descriptors.try_take().is_some(), "it is given back");
    }
}
