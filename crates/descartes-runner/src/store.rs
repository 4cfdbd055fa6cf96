//! The folders on disk: one per agent, under one that a single server owns.
//!
//! ```text
//! <state_dir>/            0700
//!   lock                  held by the server that owns the folder
//!   spawns.journal        request ids of agents that retention has removed
//!   agents/<id>/          one agent (descartes_shim::record)
//!   damaged/              folders and records that could not be understood, set aside, each with its reason
//!   removed/<id>/         what is being removed
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use descartes_protocol::{AgentId, StringMap};
use descartes_shim::record::{self, Exit, Record, Spec, State};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::link;
use crate::parser::ParserKind;
pub(crate) use lock::{LockState, lock_state};

mod damaged;
mod lock;

/// Marks an agent whose spawn was refused: a server that dies while it undoes the spawn leaves it to
/// the next.
const UNDONE: &str = "undone";

const LOCK: &str = "lock";

const JOURNAL: &str = "spawns.journal";

/// What the server notes in an agent's spec beside what the shim needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Notes {
    pub(crate) name: String,
    pub(crate) backend: String,
    /// At most [`descartes_protocol::limits::MAX_TASK_IN_REPLY_BYTES`] of it.
    pub(crate) task: String,
    pub(crate) model: Option<String>,
    pub(crate) labels: Option<StringMap>,
    pub(crate) metadata: Option<StringMap>,
    pub(crate) parser: ParserKind,
    pub(crate) spawn: SpawnKey,
    /// Seconds since the epoch.
    pub(crate) spawned_at: u64,
}

/// What makes one spawn the same as another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SpawnKey {
    /// The client's key, where clients have keys.
    pub(crate) client: Option<String>,
    pub(crate) request_id: String,
    /// A hash of the request's content.
    pub(crate) fingerprint: String,
}

/// The state folder, held by its lock.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    lock: Mutex<File>,
}

/// What a folder says about its agent.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) found: Found,
    /// Records that are there and cannot be understood.
    pub(crate) damaged: Vec<Damage>,
}

/// How things stand with an agent, by what can be read in its folder.
#[derive(Debug)]
pub(crate) enum Found {
    /// Its shim lives.
    Alive {
        notes: Notes,
        stdin_bytes_max: u64,
        /// `None` while it starts, and where the record is gone or damaged.
        state: Option<State>,
    },
    /// Its shim lives, and what it was told to run is not to be read.
    AliveUnreadable,
    /// It ended, and this is how.
    Ended {
        notes: Notes,
        state: Option<State>,
        exit: Exit,
    },
    /// It was started, its shim is gone, and nobody recorded the end.
    Lost {
        spec: Box<Spec>,
        notes: Notes,
        state: Option<State>,
    },
    /// It never came to be started.
    NeverStarted { spec: Option<Box<Spec>> },
    /// Its spawn was refused, and is to be undone.
    Undone {
        spec: Box<Spec>,
        state: Option<State>,
    },
    /// Its shim is gone, and what it was told to run is not to be read.
    Unreadable,
}

/// A record that cannot be understood.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) record: &'static str,
    pub(crate) reason: String,
}

impl Store {
    /// Takes the folder, making it where it is missing.
    pub(crate) fn open(root: &Path) -> Result<Self, OpenError> {
        let storage = |action, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Storage {
                action,
                path,
                source,
            }
        };
        private_dir(root).map_err(storage("create", root))?;
        let mode = fs::metadata(root).map_err(storage("look at", root))?.mode() & 0o777;
        if mode & 0o077 != 0 {
            let path = root.to_owned();
            return Err(OpenError::NotPrivate { path, mode });
        }
        let lock_path = root.join(LOCK);
        let lock = loop {
            let lock = private_file(&lock_path).map_err(storage("create", &lock_path))?;
            if !lock::take(&lock).map_err(storage("lock", &lock_path))? {
                return Err(OpenError::Locked {
                    path: root.to_owned(),
                });
            }
            // The server that had it may have made it anew meanwhile.
            if lock::is_in_place(&lock, &lock_path) {
                break lock;
            }
        };
        let agents = root.join("agents");
        private_dir(&agents).map_err(storage("create", &agents))?;
        // What an earlier server was still removing.
        let _ = fs::remove_dir_all(root.join("removed"));
        Ok(Self {
            root: root.to_owned(),
            lock: Mutex::new(lock),
        })
    }

    /// Sees to it that the folder is still this server's: somebody may have removed it, or its lock,
    /// and then another server could take it. Blocks.
    pub(crate) fn keep(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.root.join(LOCK);
        if lock::is_in_place(&lock, &path) {
            return;
        }
        let taken = private_dir(&self.root.join("agents"))
            .and_then(|()| private_file(&path))
            .and_then(|fresh| Ok(lock::take(&fresh)?.then_some(fresh)));
        let path = path.display();
        match taken {
            Ok(Some(fresh)) => {
                tracing::error!(%path, "the lock of the state folder was removed; took it anew");
                *lock = fresh;
            }
            Ok(None) => {
                tracing::error!(%path, "the state folder was removed, and another server has taken it: stop one of them");
            }
            Err(error) => {
                tracing::error!(%path, %error, "the lock of the state folder was removed, and cannot be made anew");
            }
        }
    }

    /// The folder of one agent.
    pub(crate) fn agent_dir(&self, id: AgentId) -> PathBuf {
        self.root.join("agents").join(id.to_string())
    }

    pub(crate) fn journal_path(&self) -> PathBuf {
        self.root.join(JOURNAL)
    }

    /// Makes the folder of a new agent: first its lock, then its spec. Returns folder and lock.
    pub(crate) fn create(&self, id: AgentId, spec: &Spec) -> io::Result<(File, File)> {
        let path = self.agent_dir(id);
        DirBuilder::new().mode(0o700).create(&path)?;
        let made = (|| {
            let lock = private_file(&path.join(record::LOCK))?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            let dir = File::open(&path)?;
            record::write(&dir, record::SPEC, spec)?;
            Ok((dir, lock))
        })();
        if made.is_err() {
            let _ = fs::remove_dir_all(&path);
        }
        made
    }

    /// Notes that an agent's spawn was refused, before anything of it is undone.
    pub(crate) fn mark_undone(&self, id: AgentId) {
        let path = self.agent_dir(id).join(UNDONE);
        if let Err(error) = private_file(&path) {
            tracing::warn!(agent = %id, %error, "failed to mark a spawn that is undone");
        }
    }

    /// Removes everything of an agent.
    pub(crate) fn remove(&self, id: AgentId) -> io::Result<()> {
        let removed = self.root.join("removed");
        private_dir(&removed)?;
        let aside = removed.join(id.to_string());
        // Whole or gone: half a folder would say that its agent was lost.
        match fs::rename(self.agent_dir(id), &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => fs::remove_dir_all(aside),
        }
    }

    /// All agents' folders, oldest first, and the names that are no agent's.
    pub(crate) fn list(&self) -> io::Result<(Vec<AgentId>, Vec<String>)> {
        let mut ids = Vec::new();
        let mut strangers = Vec::new();
        for entry in fs::read_dir(self.root.join("agents"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            match name.parse() {
                Ok(id) => ids.push(id),
                Err(_) => strangers.push(name),
            }
        }
        ids.sort_unstable();
        Ok((ids, strangers))
    }

    /// Reads one agent's folder. Blocks.
    pub(crate) fn look_at(&self, id: AgentId) -> io::Result<Look> {
        let dir = self.agent_dir(id);
        let alive = match lock_state(&dir)? {
            LockState::Held => true,
            LockState::Free => false,
            LockState::Missing => lives_without_lock(&dir)?,
        };
        let mut damaged = Vec::new();
        let found = read(&dir, alive, &mut damaged)?;
        Ok(Look { found, damaged })
    }

    /// Which request an agent was spawned for, where that can be read. Blocks.
    pub(crate) fn spawn_key(&self, id: AgentId) -> Option<SpawnKey> {
        let spec: Spec = readable(&self.agent_dir(id), record::SPEC).ok()??;
        let notes: Notes = serde_json::from_value(spec.owner).ok()?;
        Some(notes.spawn)
    }
}

fn read(dir: &Path, alive: bool, damaged: &mut Vec<Damage>) -> io::Result<Found> {
    let spec: Option<Spec> = whole(dir, record::SPEC, damaged)?;
    let state: Option<State> = whole(dir, record::STATE, damaged)?;
    let exit: Option<Exit> = whole(dir, record::EXIT, damaged)?;
    let Some(spec) = spec else {
        let was_there =
            state.is_some() || exit.is_some() || !damaged.is_empty() || was_started(dir);
        return Ok(match (alive, was_there) {
            (true, _) => Found::AliveUnreadable,
            (false, true) => Found::Unreadable,
            (false, false) => Found::NeverStarted { spec: None },
        });
    };
    if dir.join(UNDONE).exists() {
        let spec = Box::new(spec);
        return Ok(Found::Undone { spec, state });
    }
    let notes: Notes = match serde_json::from_value(spec.owner.clone()) {
        Ok(notes) => notes,
        Err(error) => {
            damaged.push(Damage {
                record: record::SPEC,
                reason: format!("{}: {error}", record::SPEC),
            });
            return Ok(if alive {
                Found::AliveUnreadable
            } else {
                Found::Unreadable
            });
        }
    };
    if alive {
        let stdin_bytes_max = spec.limits.stdin_bytes_max;
        return Ok(Found::Alive {
            notes,
            stdin_bytes_max,
            state,
        });
    }
    let spec = Box::new(spec);
    Ok(match exit {
        Some(exit) => Found::Ended { notes, state, exit },
        None if state.is_none() && damaged.is_empty() && !was_started(dir) => {
            Found::NeverStarted { spec: Some(spec) }
        }
        None => Found::Lost { spec, notes, state },
    })
}

/// Whether a shim lives whose lock somebody has removed: it makes the lock anew. Blocks.
fn lives_without_lock(dir: &Path) -> io::Result<bool> {
    if link::connect(dir).is_ok() {
        return Ok(true);
    }
    let state: Option<State> = readable(dir, record::STATE)?;
    let Some(state) = state.filter(State::is_of_here) else {
        return Ok(false);
    };
    Ok(state.shim().look()?.is_some_and(|shim| !shim.is_dead()))
}

/// Whether there is a trace of a start besides the records: what a shim makes just before it.
fn was_started(dir: &Path) -> bool {
    let traces = [record::EXIT_RESERVED, "stdout", "stderr"];
    traces.iter().any(|name| dir.join(name).exists())
}

/// A record; one that cannot be understood counts as missing.
pub(crate) fn readable<T: Record>(dir: &Path, name: &'static str) -> io::Result<Option<T>> {
    whole(dir, name, &mut Vec::new())
}

/// Reads a record; one that cannot be understood is noted in `damaged` and counts as missing.
fn whole<T: Record>(
    dir: &Path,
    name: &'static str,
    damaged: &mut Vec<Damage>,
) -> io::Result<Option<T>> {
    match record::read(dir, name) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::IsADirectory
            ) =>
        {
            damaged.push(Damage {
                record: name,
                reason: error.to_string(),
            });
            Ok(None)
        }
        result => result,
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).recursive(true).create(path)
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}
