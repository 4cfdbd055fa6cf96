//! The end of the runner: with its agents, or without them.

use std::sync::PoisonError;
use std::time::Duration;

use descartes_shim::record::EndReason;
use descartes_shim::wire::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AgentRunner, LocalProcessRunner};
use crate::agent::AgentHandle;

/// How long spawns that are under way may take to be decided.
const SPAWN_PATIENCE: Duration = Duration::from_secs(10);

/// How long agents may take to go once they are killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What becomes of running agents.
#[derive(Debug, Clone)]
pub enum Departure {
    /// They are stopped together, and killed when the time is over or `hurry` is cancelled.
    Stop {
        /// The time that they have.
        within: Duration,
        /// Cuts it short.
        hurry: CancellationToken,
    },
    /// They go on without a server.
    Detach,
}

impl LocalProcessRunner {
    /// Refuses every spawn from now on.
    pub fn refuse_spawns(&self) {
        self.inner.spawn_places.close();
    }

    /// Leaves: refuses new agents, lets spawns that are under way be decided, does with the
    /// running agents as told, and ends the runner's tasks. Returns the agents that were still
    /// running in the end.
    pub async fn leave(&self, departure: Departure) -> Vec<AgentHandle> {
        self.refuse_spawns();
        self.inner.spawning.close();
        // One that hangs in the file system does not keep the server: the next start undoes it.
        let undecided = tokio::time::timeout(SPAWN_PATIENCE, self.inner.spawning.wait());
        if undecided.await.is_err() {
            tracing::error!(
                "spawns are under way that do not end; the next start looks after them"
            );
        }
        if let Departure::Stop { within, hurry } = departure {
            self.stop_all(within, &hurry).await;
        }
        let left: Vec<AgentHandle> = self.live();
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        if tokio::time::timeout(SPAWN_PATIENCE, self.inner.tasks.wait())
            .await
            .is_err()
        {
            tracing::error!(
                "tasks of the runner hang in the file system; the server goes without them"
            );
        }
        let mut template = self
            .inner
            .template
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        template.take();
        left
    }

    async fn stop_all(&self, within: Duration, hurry: &CancellationToken) {
        let deadline = Instant::now() + within;
        let grace = Duration::from_secs(self.inner.config.process.stop_grace_secs).min(within);
        let grace_ms = Some(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
        let reason = EndReason::ServerShutdown;
        let mut stops = JoinSet::new();
        for handle in self.live() {
            stops.spawn(handle.end(Command::Stop { grace_ms, reason }));
        }
        let all_stopped = async { while stops.join_next().await.is_some() {} };
        let stopped_in_time = tokio::time::timeout_at(deadline, all_stopped);
        if let Some(Ok(())) = hurry.run_until_cancelled(stopped_in_time).await
            && self.live().is_empty()
        {
            return;
        }
        let mut kills = JoinSet::new();
        for handle in self.live() {
            kills.spawn(handle.end(Command::Kill { reason }));
        }
        let all_killed = async { while kills.join_next().await.is_some() {} };
        if tokio::time::timeout(KILL_PATIENCE, all_killed)
            .await
            .is_err()
        {
            tracing::error!("agents are left that could not be killed");
        }
    }

    fn live(&self) -> Vec<AgentHandle> {
        let mut agents = self.agents(None);
        agents.retain(|handle| !handle.agent.state().is_finished());
        agents
    }
}
