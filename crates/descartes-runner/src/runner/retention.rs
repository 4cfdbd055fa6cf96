//! Forgetting finished agents, by number, age and bytes.
//!
//! A sweep removes those that are due: folder, cgroup, and place in the list. One that is being
//! read, or was a moment ago, is spared until nobody does any more. The id of the request that
//! started it goes to the journal first.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use descartes_protocol::Stream;
use descartes_shim::cgroup;
use descartes_shim::record::{self, WallTime};

use super::blocking::blocking;
use super::{AgentRunner, LocalProcessRunner};
use crate::agent::AgentHandle;
use crate::output;
use crate::spawns::now_secs;

/// Pause between two sweeps, unless an agent ends.
const INTERVAL: Duration = Duration::from_secs(10);

/// Pause between an agent's end and the sweep that follows: ends that come together are one sweep,
/// and who waits for an end has the time to begin to read.
const SETTLE: Duration = Duration::from_secs(1);

/// Removes what is not to be kept, until the runner stops.
pub(super) async fn sweep_regularly(runner: LocalProcessRunner) {
    let stopping = runner.inner.stopping.clone();
    // Agents may have ended while there was no server.
    runner.inner.ended.notify_one();
    loop {
        let due = async {
            let ended = runner.inner.ended.notified();
            if tokio::time::timeout(INTERVAL, ended).await.is_ok() {
                tokio::time::sleep(SETTLE).await;
            }
        };
        if stopping.run_until_cancelled(due).await.is_none() {
            return;
        }
        let sweeping = runner.clone();
        if blocking(move || sweeping.sweep()).await.is_err() {
            return;
        }
    }
}

/// A finished agent, as far as it matters here.
struct Finished {
    at: WallTime,
    handle: AgentHandle,
}

impl LocalProcessRunner {
    /// Removes what is not to be kept. Blocks.
    fn sweep(&self) {
        let mut due = self.due();
        let lease = self.inner.config.retain_read_for;
        due.retain(|handle| handle.agent.readers.close(lease));
        if due.is_empty() {
            return;
        }
        if let Err(error) = self.remember(&due) {
            tracing::warn!(%error, agents = due.len(), "failed to note down which requests started the agents that are due to be removed; trying again later");
            for handle in due {
                handle.agent.readers.reopen();
            }
            return;
        }
        for handle in due {
            // The next server goes on.
            if self.inner.stopping.is_cancelled() {
                handle.agent.readers.reopen();
                continue;
            }
            if let Err(error) = self.forget(&handle) {
                handle.agent.readers.reopen();
                tracing::warn!(agent = %handle.id(), %error, "failed to remove a finished agent; trying again later");
            }
        }
    }

    /// The finished agents that are too old, too many, or too large together.
    fn due(&self) -> Vec<AgentHandle> {
        let config = &self.inner.config;
        let now = WallTime::now();
        let oldest = now_secs().saturating_sub(config.retain_for.as_secs());
        let mut bytes = 0_u64;
        let mut due = Vec::new();
        for (index, Finished { at, handle }) in self.finished_agents().into_iter().enumerate() {
            let over = index >= config.retain_finished || at.secs < oldest;
            // Those before have used up the bytes: how many these have is of no account.
            if bytes <= config.retain_bytes {
                bytes = bytes.saturating_add(bytes_of(&handle));
            }
            let settles = now.millis().checked_sub(at.millis());
            let just_ended = settles.is_some_and(|since| u128::from(since) < SETTLE.as_millis());
            if (over || bytes > config.retain_bytes) && !just_ended {
                due.push(handle);
            }
        }
        due
    }

    /// All finished agents, the newest first.
    fn finished_agents(&self) -> Vec<Finished> {
        let agents = self.agents(None).into_iter();
        let mut finished: Vec<Finished> = agents
            .filter_map(|handle| {
                let at = handle.agent.state().exit()?.finished_at;
                Some(Finished { at, handle })
            })
            .collect();
        finished.sort_unstable_by_key(|one| {
            let at = (one.at.secs, one.at.nanos);
            std::cmp::Reverse((at, one.handle.id()))
        });
        finished
    }

    /// Puts the agents' request ids into the journal. A disk that is full refuses even that: then
    /// their output goes first.
    fn remember(&self, due: &[AgentHandle]) -> io::Result<()> {
        let spawns = due.iter().map(|handle| {
            let notes = &handle.agent.notes;
            (&notes.spawn, handle.id(), notes.spawned_at)
        });
        match self.inner.spawns.remember(spawns.clone()) {
            Err(error) if is_full(&error) => {
                for handle in due {
                    for stream in [Stream::Stdout, Stream::Stderr] {
                        // What cannot be removed now is tried again with the whole folder.
                        let _ = fs::remove_dir_all(output::stream_dir(&handle.agent.dir, stream));
                    }
                }
                self.inner.spawns.remember(spawns)
            }
            remembered => remembered,
        }
    }

    /// Takes an agent off the disk, and then off the list: what cannot be removed is tried again
    /// at the next sweep.
    fn forget(&self, handle: &AgentHandle) -> io::Result<()> {
        let (id, notes) = (handle.id(), &handle.agent.notes);
        remove_cgroup(&handle.agent.dir)?;
        self.inner.store.remove(id)?;
        self.inner
            .spawns
            .removed(&notes.spawn, id, notes.spawned_at);
        let agents = &self.inner.agents;
        let mut agents = agents.write().unwrap_or_else(PoisonError::into_inner);
        agents.remove(&id);
        Ok(())
    }
}

/// Bytes that an agent's output takes, with the index of its times. It has ended, so they do not
/// change.
fn bytes_of(handle: &AgentHandle) -> u64 {
    let agent = &handle.agent;
    *agent.output_bytes.get_or_init(|| {
        [Stream::Stdout, Stream::Stderr]
            .map(|stream| bytes_in(&output::stream_dir(&agent.dir, stream)))
            .iter()
            .sum()
    })
}

/// Bytes of the files in `dir`. What cannot be looked at is none.
fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len())
        .sum()
}

/// Removes the cgroup that the agent had, if its shim could not: a process was left in it.
fn remove_cgroup(dir: &Path) -> io::Result<()> {
    let Ok(Some(state)) = record::read::<record::State>(dir, record::STATE) else {
        return Ok(());
    };
    let Some(leaf) = state.cgroup else {
        return Ok(());
    };
    // The agent has started this very server, which needs it.
    if cgroup::holds_this_process(&leaf)? {
        return Ok(());
    }
    let killed = cgroup::kill(&leaf);
    match cgroup::remove(&leaf) {
        // Its processes are still going, or cannot: it is named until they have.
        Err(error) if error.kind() == io::ErrorKind::ResourceBusy => Err(error),
        Err(error) => {
            let leaf = leaf.display();
            tracing::warn!(%leaf, ?killed, %error, "failed to remove a finished agent's cgroup");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

fn is_full(error: &io::Error) -> bool {
    let kinds = [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded];
    kinds.contains(&error.kind())
}
