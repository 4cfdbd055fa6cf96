//! Whom the runner tells what happens to agents.

use std::future::{Future, ready};
use std::pin::Pin;

use descartes_protocol::{AgentId, AgentStatus, Raw, UpdateType};

/// One thing that happened to an agent.
#[derive(Debug, Clone)]
pub struct AgentUpdate {
    /// Which agent.
    pub agent_id: AgentId,
    /// What kind of thing.
    pub kind: UpdateType,
    /// The agent's status from now on.
    pub status: AgentStatus,
    /// It in words.
    pub message: Option<String>,
    /// It in figures.
    pub data: Option<Raw>,
    /// The number of this change among the agent's own, from 1; `None` where it is not kept.
    pub agent_sequence: Option<u64>,
}

/// Takes the updates of all agents.
///
/// It is called while the agent's state is locked, so that the updates of one agent come in
/// order and never before the state that they tell of. It must not wait, nor ask the agent.
pub trait Observer: std::fmt::Debug + Send + Sync + 'static {
    /// Something happened to an agent.
    fn update(&self, update: AgentUpdate);

    /// Waits until whoever passes updates on has kept up with those that there were. It is waited for between two
    /// pieces of what a talkative agent says, so that its updates do not push out those of others. Default: at once.
    ///
    /// # Cancel safety
    /// Nothing happens when the future is dropped.
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }
}
