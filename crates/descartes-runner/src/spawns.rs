//! Which request started which agent: a lost reply never starts a second one.
//!
//! The record of a spawn is the agent's own `spec.json`, written before anything starts. Only
//! when retention removes an agent does its request id go to a journal, where it stays until it
//! is a day old.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use descartes_protocol::AgentId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::store::SpawnKey;

/// How long the request id of a removed agent is remembered.
const REMEMBERED_SECS: u64 = 24 * 60 * 60;

/// Most removed agents whose request ids are remembered; the oldest go first.
const REMEMBERED_MAX: usize = 262_144;

/// Whose request, and which.
type Key = (Option<String>, String);

/// All spawns that a repeated request could mean.
#[derive(Debug)]
pub(crate) struct Spawns {
    journal: PathBuf,
    known: Mutex<HashMap<Key, Known>>,
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

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(flatten)]
    key: SpawnKey,
    agent_id: AgentId,
    spawned_at: u64,
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
    /// Reads the journal at `path`, and writes it anew without what is old.
    pub(crate) fn load(path: PathBuf) -> io::Result<Self> {
        let mut lines = read(&path)?;
        let now = now_secs();
        lines.retain(|line| line.spawned_at.saturating_add(REMEMBERED_SECS) > now);
        lines.drain(..lines.len().saturating_sub(REMEMBERED_MAX));
        rewrite(&path, &lines)?;
        let known = lines
            .into_iter()
            .map(|line| {
                let outcome = Outcome::Removed(line.agent_id, line.spawned_at);
                let fingerprint = line.key.fingerprint;
                (
                    (line.key.client, line.key.request_id),
                    Known {
                        fingerprint,
                        outcome,
                    },
                )
            })
            .collect();
        Ok(Self {
            journal: path,
            known: Mutex::new(known),
        })
    }

    /// Says what a request's id means, and reserves it if it is new.
    pub(crate) fn claim(&self, spawn: &SpawnKey) -> Claim {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// The request was refused: it may be sent again.
    pub(crate) fn refused(&self, spawn: &SpawnKey) {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.remove(&key);
    }

    /// The agent is about to be removed: its request id goes to the journal first. Blocks.
    pub(crate) fn remember(
        &self,
        spawn: &SpawnKey,
        id: AgentId,
        spawned_at: u64,
    ) -> io::Result<()> {
        if spawned_at.saturating_add(REMEMBERED_SECS) <= now_secs() {
            self.refused(spawn);
            return Ok(());
        }
        let line = Line {
            key: spawn.clone(),
            agent_id: id,
            spawned_at,
        };
        let mut file = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&self.journal)?;
        file.write_all(&encode(&line))?;
        self.set(spawn, Outcome::Removed(id, spawned_at));
        self.forget_old();
        Ok(())
    }

    fn set(&self, spawn: &SpawnKey, outcome: Outcome) {
        let key = (spawn.client.clone(), spawn.request_id.clone());
        let fingerprint = spawn.fingerprint.clone();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(
            key,
            Known {
                fingerprint,
                outcome,
            },
        );
    }

    /// Keeps the memory bounded in a server that runs for months.
    fn forget_old(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() > REMEMBERED_MAX {
            let now = now_secs();
            known.retain(|_, known| match known.outcome {
                Outcome::Removed(_, spawned_at) => spawned_at.saturating_add(REMEMBERED_SECS) > now,
                Outcome::Pending(_) | Outcome::Started(_) => true,
            });
        }
    }
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

/// Reads the journal; a line that a crash cut short, or that is damaged, is skipped.
fn read(path: &Path) -> io::Result<Vec<Line>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

fn rewrite(path: &Path, lines: &[Line]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let content: Vec<u8> = lines.iter().flat_map(encode).collect();
    fs::write(&temporary, content)?;
    fs::set_permissions(
        &temporary,
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )?;
    fs::rename(&temporary, path)
}

fn encode(line: &Line) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(request_id: &str, fingerprint: &str) -> SpawnKey {
        SpawnKey {
            client: None,
            request_id: request_id.to_owned(),
            fingerprint: fingerprint.to_owned(),
        }
    }

    fn spawns(dir: &Path) -> Spawns {
        Spawns::load(dir.join("spawns.journal")).unwrap()
    }

    #[test]
    fn a_request_that_is_under_way_is_waited_for_and_then_known() {
        let dir = tempfile::tempdir().unwrap();
        let spawns = spawns(dir.path());
        let Claim::New(pending) = spawns.claim(&key("a", "1")) else {
            panic!("not new");
        };
        let Claim::Wait(mut decided) = spawns.claim(&key("a", "1")) else {
            panic!("not under way");
        };
        let id = AgentId::generate();
        spawns.started(&key("a", "1"), id);
        drop(pending);
        assert!(decided.has_changed().is_err(), "the waiter is woken");
        decided.borrow_and_update();
        assert!(matches!(spawns.claim(&key("a", "1")), Claim::Started(known) if known == id));
        assert!(matches!(spawns.claim(&key("a", "2")), Claim::Conflict));
    }

    #[test]
    fn a_refused_request_may_be_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let spawns = spawns(dir.path());
        assert!(matches!(spawns.claim(&key("a", "1")), Claim::New(_)));
        spawns.refused(&key("a", "1"));
        assert!(matches!(spawns.claim(&key("a", "2")), Claim::New(_)));
    }

    #[test]
    fn a_removed_agents_request_is_remembered_across_restarts_for_a_day() {
        let dir = tempfile::tempdir().unwrap();
        let id = AgentId::generate();
        let before = spawns(dir.path());
        before
            .remember(&key("young", "1"), id, now_secs() - 60)
            .unwrap();
        before
            .remember(&key("old", "1"), id, now_secs() - REMEMBERED_SECS)
            .unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(dir.path().join("spawns.journal"))
            .unwrap()
            .write_all(b"{\"half\":")
            .unwrap();
        let after = spawns(dir.path());
        assert!(matches!(after.claim(&key("young", "1")), Claim::Removed(known) if known == id));
        assert!(matches!(after.claim(&key("old", "1")), Claim::New(_)));
    }
}
