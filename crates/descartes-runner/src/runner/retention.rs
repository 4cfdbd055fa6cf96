//! Forgetting finished agents, by number, age and bytes.

use std::sync::PoisonError;
use std::time::Duration;

use super::LocalProcessRunner;
use super::spawn::blocking;
use crate::agent::AgentHandle;
use crate::spawns::now_secs;

/// Pause between two sweeps.
const INTERVAL: Duration = Duration::from_secs(10);

/// Removes what is not to be kept, until the runner stops.
pub(super) async fn sweep_regularly(runner: LocalProcessRunner) {
    let stopping = runner.inner.stopping.clone();
    loop {
        let again = stopping.run_until_cancelled(tokio::time::sleep(INTERVAL));
        if again.await.is_none() {
            return;
        }
        for handle in runner.expired() {
            runner.forget(handle).await;
        }
    }
}

impl LocalProcessRunner {
    /// The finished agents that are too old, too many, or too large together.
    fn expired(&self) -> Vec<AgentHandle> {
        let config = &self.inner.config;
        let mut finished: Vec<(u64, u64, AgentHandle)> = super::AgentRunner::agents(self, None)
            .into_iter()
            .filter_map(|handle| {
                let state = handle.agent.state();
                let exit = state.exit()?;
                let ended = (exit.finished_at.secs, exit.stdout.kept + exit.stderr.kept);
                drop(state);
                Some((ended.0, ended.1, handle))
            })
            .collect();
        finished.sort_by_key(|(at, _, handle)| std::cmp::Reverse((*at, handle.id())));
        let oldest = now_secs().saturating_sub(config.retain_for.as_secs());
        let mut bytes = 0_u64;
        let mut expired = Vec::new();
        for (index, (finished_at, kept_bytes, handle)) in finished.into_iter().enumerate() {
            bytes = bytes.saturating_add(kept_bytes);
            let kept = index < config.retain_finished
                && finished_at >= oldest
                && bytes <= config.retain_bytes;
            if !kept {
                expired.push(handle);
            }
        }
        expired
    }

    /// Takes an agent off the list and its folder off the disk.
    async fn forget(&self, handle: AgentHandle) {
        let id = handle.id();
        let runner = self.clone();
        let removed = blocking(move || {
            let notes = &handle.agent.notes;
            let spawn = (&notes.spawn, id, notes.spawned_at);
            runner.inner.spawns.remember(std::iter::once(spawn))?;
            // Off the list last: a folder that cannot be removed is tried again at the next sweep.
            runner.inner.store.remove(id)?;
            runner
                .inner
                .spawns
                .removed(&notes.spawn, id, notes.spawned_at);
            let mut agents = runner
                .inner
                .agents
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            agents.remove(&id);
            Ok::<_, std::io::Error>(())
        });
        if let Ok(Err(error)) = removed.await {
            tracing::warn!(agent = %id, %error, "failed to remove a finished agent; trying again later");
        }
    }
}
