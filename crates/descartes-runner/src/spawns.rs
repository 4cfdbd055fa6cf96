//! Which request started which agent: a lost reply never starts a second one.
//!
//! The record of a spawn is the agent's own `spec.json`, written before anything starts. Only
//! when retention removes an agent does its request id go to a journal, where it stays until it
//! is a day old.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use descartes_protocol::AgentId;
use tokio::sync::watch;

use crate::store::SpawnKey;

mod journal;

use journal::{Journal, Line};

/// How long the request id of a removed agent is remembered.
const REMEMBERED_SECS: u64 = 24 * 60 * 60;

/// Most removed agents whose request ids are remembered; the oldest go first.
const REMEMBERED_MAX: usize = 262_144;

/// Least lines by which the journal grows before what is old in it is forgotten.
const GROWTH_MIN: usize = 4096;

/// Whose request, and which.
type Key = (Option<String>, String);

/// All spawns that a repeated request could mean.
#[derive(Debug)]
pub(crate) struct Spawns {
    known: Mutex<HashMap<Key, Known>>,
    /// Locked for as long as it is written. Never while `known` is.
    journal: Mutex<Tidied>,
}

/// The journal, and how long it may grow until it is tidied up.
#[derive(Debug)]
struct Tidied {
    journal: Journal,
    lines_max: usize,
}

#[derive(Debug)]
struct Known {
    fingerprint: String,
    outcome: Outcome,
}

#[derive(Debug)]
enum Outcome {
    /// Under way; the channel closes when it is decided.
    Pending(watch::Receiver<()>),
    Started(AgentId),
    Removed(AgentId, u64),
}

/// What a request's id says.
#[derive(Debug)]
pub(crate) enum Claim {
    /// It is new: the holder of the [`Pending`] decides what becomes of it.
    New(Pending),
    /// The same request is under way; ask again when this ends.
    Wait(watch::Receiver<()>),
    /// It started this agent.
    Started(AgentId),
    /// It started this agent, which has been removed since.
    Removed(AgentId),
    /// It belongs to a request with other content.
    Conflict,
}

/// Wakes those who wait for the same request, when it is dropped.
#[derive(Debug)]
pub(crate) struct Pending {
    _decided: watch::Sender<()>,
}

impl Spawns {
    /// Reads the journal at `path`, and writes it anew without what is old. Where some of it is
    /// damaged, `keep_damaged` gets it first, with the reason; a journal that it fails to keep is
    /// not written anew before it has grown.
    pub(crate) fn load(
        path: PathBuf,
        keep_damaged: impl FnOnce(&str) -> io::Result<()>,
    ) -> io::Result<Self> {
        let (journal, lines, damage) = Journal::open(path)?;
        let kept = damage.map_or(Ok(()), |reason| keep_damaged(&reason));
        let lines_max = lines.len() + GROWTH_MIN;
        let known = lines.into_iter().map(entry).collect();
        let spawns = Self {
            known: Mutex::new(known),
            journal: Mutex::new(Tidied { journal, lines_max }),
        };
        if kept.is_ok() {
            spawns.tidy_up(&mut spawns.journal());
        }
        Ok(spawns)
    }

    /// Says what a request's id means, and reserves it if it is new.
    pub(crate) fn claim(&self, spawn: &SpawnKey) -> Claim {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let mut known = self.known();
        match known.get(&key) {
            Some(found) if found.fingerprint != spawn.fingerprint => Claim::Conflict,
            Some(found) => match &found.outcome {
                // A spawn that was given up without a decision was not one.
                Outcome::Pending(decided) if decided.has_changed().is_err() => {
                    Claim::New(reserve(&mut known, key, spawn))
                }
                Outcome::Pending(decided) => Claim::Wait(decided.clone()),
                Outcome::Started(id) => Claim::Started(*id),
                Outcome::Removed(id, _) => Claim::Removed(*id),
            },
            None => Claim::New(reserve(&mut known, key, spawn)),
        }
    }

    /// The request started this agent.
    pub(crate) fn started(&self, spawn: &SpawnKey, id: AgentId) {
        self.set(spawn, Outcome::Started(id));
    }

    /// The request led to nothing, unless it is known by now that it did: it may be sent again.
    pub(crate) fn give_up(&self, spawn: &SpawnKey, _pending: &Pending) {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let mut known = self.known();
        if let Some(Outcome::Pending(_)) = known.get(&key).map(|known| &known.outcome) {
            known.remove(&key);
        }
    }

    /// The request was refused: it may be sent again.
    pub(crate) fn refused(&self, spawn: &SpawnKey) {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        self.known().remove(&key);
    }

    /// These agents are about to be removed: their request ids go to the journal first. Blocks.
    pub(crate) fn remember<'a>(
        &self,
        agents: impl Iterator<Item = (&'a SpawnKey, AgentId, u64)>,
    ) -> io::Result<()> {
        let now = now_secs();
        let lines: Vec<Line> = agents
            .filter(|(_, _, spawned_at)| is_young(*spawned_at, now))
            .map(|(key, agent_id, spawned_at)| Line {
                key: key.clone(),
                agent_id,
                spawned_at,
            })
            .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let mut tidied = self.journal();
        if tidied.journal.len() >= tidied.lines_max {
            self.tidy_up(&mut tidied);
        }
        tidied.journal.append(&lines)
    }

    /// The agent has been removed.
    pub(crate) fn removed(&self, spawn: &SpawnKey, id: AgentId, spawned_at: u64) {
        if is_young(spawned_at, now_secs()) {
            self.set(spawn, Outcome::Removed(id, spawned_at));
        } else {
            self.refused(spawn);
        }
    }

    /// Forgets what is old, in memory and in the file. So both stay bounded in a server that runs
    /// for months.
    fn tidy_up(&self, tidied: &mut Tidied) {
        let lines = self.young();
        tidied.lines_max = lines.len() + GROWTH_MIN.max(lines.len() / 4);
        if let Err(error) = tidied.journal.rewrite(&lines) {
            // It is longer than it need be, and says the same.
            tracing::warn!(%error, "failed to tidy up the journal of spawns");
        }
    }

    /// Drops removed agents that are too old or too many, and returns the others, the oldest first.
    fn young(&self) -> Vec<Line> {
        let now = now_secs();
        let mut known = self.known();
        known.retain(|_, known| match known.outcome {
            Outcome::Removed(_, spawned_at) => is_young(spawned_at, now),
            Outcome::Pending(_) | Outcome::Started(_) => true,
        });
        let mut lines: Vec<Line> = known.iter().filter_map(line).collect();
        // Spawns wait for it.
        drop(known);
        lines.sort_unstable_by_key(|line| (line.spawned_at, line.agent_id));
        let kept = lines.split_off(lines.len().saturating_sub(REMEMBERED_MAX));
        for line in lines {
            self.known().remove(&(line.key.client, line.key.request_id));
        }
        kept
    }

    fn set(&self, spawn: &SpawnKey, outcome: Outcome) {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let fingerprint = spawn.fingerprint.clone();
        self.known().insert(
            key,
            Known {
                fingerprint,
                outcome,
            },
        );
    }

    fn known(&self) -> MutexGuard<'_, HashMap<Key, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn journal(&self) -> MutexGuard<'_, Tidied> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a line of the journal says.
fn entry(line: Line) -> (Key, Known) {
    let key = (line.key.client, line.key.request_id);
    let known = Known {
        fingerprint: line.key.fingerprint,
        outcome: Outcome::Removed(line.agent_id, line.spawned_at),
    };
    (key, known)
}

/// The line that says this; none for an agent that is still there.
fn line(((client, request_id), known): (&Key, &Known)) -> Option<Line> {
    let Outcome::Removed(agent_id, spawned_at) = known.outcome else {
        return None;
    };
    Some(Line {
        key: SpawnKey {
            client: client.clone(),
            request_id: request_id.clone(),
            fingerprint: known.fingerprint.clone(),
        },
        agent_id,
        spawned_at,
    })
}

fn is_young(spawned_at: u64, now: u64) -> bool {
    spawned_at.saturating_add(REMEMBERED_SECS) > now
}

fn reserve(known: &mut HashMap<Key, Known>, key: Key, spawn: &SpawnKey) -> Pending {
    let (sender, decided) = watch::channel(());
    let fingerprint = spawn.fingerprint.clone();
    let outcome = Outcome::Pending(decided);
    known.insert(
        key,
        Known {
            fingerprint,
            outcome,
        },
    );
    Pending { _decided: sender }
}

/// Seconds since the epoch.
pub(crate) fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
