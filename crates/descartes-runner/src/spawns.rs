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
    /// damaged, `keep_damaged` gets it first, with the reason.
    pub(crate) fn load(path: PathBuf, keep_damaged: impl FnOnce(&str)) -> io::Result<Self> {
        let (journal, lines, damage) = Journal::open(path)?;
        if let Some(reason) = damage {
            keep_damaged(&reason);
        }
        let known = lines.into_iter().map(entry).collect();
        let spawns = Self {
            known: Mutex::new(known),
            journal: Mutex::new(Tidied {
                journal,
                lines_max: 0,
            }),
        };
        spawns.tidy_up(&mut spawns.journal());
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
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn key(request_id: &str, fingerprint: &str) -> SpawnKey {
        SpawnKey {
            client: None,
            request_id: request_id.to_owned(),
            fingerprint: fingerprint.to_owned(),
        }
    }

    fn spawns(dir: &Path) -> Spawns {
        let damaged = |reason: &str| panic!("{reason}");
        Spawns::load(dir.join("spawns.journal"), damaged).unwrap()
    }

    /// Removes an agent that a request started so many seconds ago.
    fn remove(spawns: &Spawns, key: &SpawnKey, age_secs: u64) -> AgentId {
        let id = AgentId::generate();
        let spawned_at = now_secs() - age_secs;
        spawns.started(key, id);
        let agents = std::iter::once((key, id, spawned_at));
        spawns.remember(agents).unwrap();
        spawns.removed(key, id, spawned_at);
        id
    }

    fn is_removed(spawns: &Spawns, key: &SpawnKey, id: AgentId) -> bool {
        matches!(spawns.claim(key), Claim::Removed(known) if known == id)
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
        let before = spawns(dir.path());
        let (young, old) = (key("young", "1"), key("old", "1"));
        let id = remove(&before, &young, 60);
        remove(&before, &old, REMEMBERED_SECS);
        let after = spawns(dir.path());
        for spawns in [before, after] {
            assert!(is_removed(&spawns, &young, id));
            assert!(matches!(spawns.claim(&key("young", "2")), Claim::Conflict));
            assert!(matches!(spawns.claim(&old), Claim::New(_)));
        }
    }

    #[test]
    fn the_same_id_of_two_clients_is_two_requests_also_when_both_were_removed() {
        let dir = tempfile::tempdir().unwrap();
        let keys = [None, Some("one"), Some("two")].map(|client| SpawnKey {
            client: client.map(str::to_owned),
            ..key("same", client.unwrap_or("none"))
        });
        let before = spawns(dir.path());
        let ids = keys.each_ref().map(|key| remove(&before, key, 60));
        let after = spawns(dir.path());
        for (key, id) in keys.iter().zip(ids) {
            assert!(is_removed(&after, key, id), "{key:?}");
        }
    }

    #[test]
    fn a_line_that_was_cut_short_swallows_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let before = spawns(dir.path());
        let first = remove(&before, &key("first", "1"), 60);
        // As a disk does that is full in the middle of a line.
        let journal = dir.path().join("spawns.journal");
        let mut text = fs::read(&journal).unwrap();
        text.extend(b"{\"client\":null,\"request_id\":\"sec");
        fs::write(&journal, text).unwrap();
        assert!(is_removed(&spawns(dir.path()), &key("first", "1"), first));
        let third = remove(&before, &key("third", "1"), 60);
        let after = spawns(dir.path());
        assert!(is_removed(&after, &key("first", "1"), first));
        assert!(is_removed(&after, &key("third", "1"), third));
    }

    #[test]
    fn damaged_lines_are_told_before_they_are_gone_and_cost_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let before = spawns(dir.path());
        let first = remove(&before, &key("first", "1"), 60);
        remove(&before, &key("second", "1"), 60);
        let third = remove(&before, &key("third", "1"), 60);
        let journal = dir.path().join("spawns.journal");
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(
            &journal,
            text.replace("{\"client\":null,\"request_id\":\"second", "#"),
        )
        .unwrap();
        let mut said = String::new();
        let keep_damaged = |reason: &str| {
            assert_eq!(fs::read_to_string(&journal).unwrap().lines().count(), 3);
            reason.clone_into(&mut said);
        };
        let after = Spawns::load(journal.clone(), keep_damaged).unwrap();
        assert!(said.contains("the first of them line 2"), "{said}");
        assert!(is_removed(&after, &key("first", "1"), first));
        assert!(is_removed(&after, &key("third", "1"), third));
        // What is left is whole.
        drop(spawns(dir.path()));
    }

    #[test]
    fn a_journal_that_cannot_be_tidied_up_is_read_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let id = remove(&spawns(dir.path()), &key("a", "1"), 60);
        // Where the new file would be written there is something else.
        fs::create_dir(dir.path().join("spawns.new")).unwrap();
        assert!(is_removed(&spawns(dir.path()), &key("a", "1"), id));
    }

    #[test]
    fn what_is_old_leaves_the_journal_while_the_server_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (spawns, old) = (spawns(dir.path()), now_secs() - REMEMBERED_SECS);
        let keys: Vec<SpawnKey> = (0..=GROWTH_MIN).map(|n| key(&n.to_string(), "1")).collect();
        let id = AgentId::generate();
        let young = keys.iter().map(|key| (key, id, now_secs()));
        spawns.remember(young).unwrap();
        for key in &keys {
            // A day goes by.
            spawns.set(key, Outcome::Removed(id, old));
        }
        let last = remove(&spawns, &key("last", "1"), 60);
        let text = fs::read_to_string(dir.path().join("spawns.journal")).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(is_removed(&spawns, &key("last", "1"), last));
        assert!(matches!(spawns.claim(&keys[0]), Claim::New(_)));
    }
}
