//! Who reads an agent's output: it is not removed under them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{Agent, AgentHandle};
use crate::error::AgentError;

/// The readers of one agent.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// How many read right now.
    now: usize,
    /// When the last of them was there.
    last: Option<Instant>,
    /// Nobody begins to read any more.
    removed: bool,
}

/// While it is held, and for a while after, the agent is not removed.
#[derive(Debug)]
pub struct Reading {
    agent: Arc<Agent>,
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut known = self.agent.readers.known();
        known.now -= 1;
        known.last = Some(Instant::now());
    }
}

impl Readers {
    /// Somebody may be reading whom this server has not met.
    pub(crate) fn assume_one(&self) {
        self.known().last = Some(Instant::now());
    }

    /// Lets nobody begin any more, unless somebody reads or has read within `lease`. Returns
    /// whether the agent may be removed.
    pub(crate) fn close(&self, lease: Duration) -> bool {
        let mut known = self.known();
        let idle = known.last.is_none_or(|last| last.elapsed() >= lease);
        known.removed = known.now == 0 && idle;
        known.removed
    }

    /// The agent was not removed after all.
    pub(crate) fn reopen(&self) {
        self.known().removed = false;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AgentHandle {
    /// Keeps the agent from being removed for as long as the result is held, and for
    /// [`retain_read_for`](crate::LocalRunnerConfig::retain_read_for) after. Reads and queries do so
    /// by themselves; it is for who is about to read, or waits for something to read.
    ///
    /// # Errors
    /// [`AgentError::Removed`].
    pub fn reading(&self) -> Result<Reading, AgentError> {
        let agent = Arc::clone(&self.agent);
        let mut known = agent.readers.known();
        if known.removed {
            let agent_id = agent.id;
            return Err(AgentError::Removed { agent_id });
        }
        known.now += 1;
        drop(known);
        Ok(Reading { agent })
    }

    /// Keeps the agent from being removed for
    /// [`retain_read_for`](crate::LocalRunnerConfig::retain_read_for) from now on: for who was told of
    /// it and is about to read.
    ///
    /// # Errors
    /// [`AgentError::Removed`].
    pub fn expect_reader(&self) -> Result<(), AgentError> {
        // Its end is what counts.
        self.reading().map(drop)
    }
}
