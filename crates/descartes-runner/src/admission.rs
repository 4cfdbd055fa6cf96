//! How many agents may run at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::SpawnError;

/// Counts agents in and out. A place is taken before anything of an agent exists and given back
/// when the last of its processes is gone, so no race lets in one too many.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    limit: usize,
}

/// One agent's place; dropping it gives it back. Adopted agents beyond the limit have none.
#[derive(Debug)]
pub(crate) struct Place(
    #[expect(dead_code, reason = "held, not read")] Option<OwnedSemaphorePermit>,
);

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(limit)),
            limit,
        }
    }

    /// A place for a new agent.
    pub(crate) fn enter(&self) -> Result<Place, SpawnError> {
        let permit = Arc::clone(&self.places).try_acquire_owned();
        permit
            .map(|permit| Place(Some(permit)))
            .map_err(|_| SpawnError::AtCapacity { limit: self.limit })
    }

    /// A place for an agent that runs already, whether or not one is free.
    pub(crate) fn readmit(&self) -> Place {
        Place(Arc::clone(&self.places).try_acquire_owned().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_it_is_dropped() {
        let admission = Admission::new(1);
        let place = admission.enter().unwrap();
        let refused = admission.enter().unwrap_err().to_string();
        assert!(
            refused.starts_with("Maximum agent limit reached"),
            "{refused}"
        );
        drop(place);
        assert!(admission.enter().is_ok());
    }

    #[test]
    fn adopted_agents_beyond_the_limit_are_kept_and_nobody_new_is_let_in() {
        let admission = Admission::new(1);
        let _kept = [admission.readmit(), admission.readmit()];
        assert!(admission.enter().is_err());
    }
}
