//! The records that describe one agent on disk.
//!
//! The file system is the database. An agent's folder holds
//!
//! | entry | written by | meaning |
//! |---|---|---|
//! | `lock` | server, held by the shim | an `flock`: held exactly as long as the shim lives |
//! | `spec.json` | server, before the shim starts | what to run ([`Spec`]) |
//! | `state.json` | shim, after `exec` | which process it is ([`State`]) |
//! | `control.sock` | shim | where it listens |
//! | `stdout/`, `stderr/` | shim | output segments ([`crate::segments`]) and their times ([`crate::times`]) |
//! | `exit.json` | shim, once | how it ended ([`Exit`]) |
//!
//! Records are JSON, written to a temporary file and renamed, so a reader sees a whole record or
//! none. They carry a version, so that a newer server can read what an older shim wrote.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::place;
use crate::tree::{self, ProcessKey};

/// The version of these records that this crate writes.
pub const VERSION: u32 = 1;

/// No record is longer. The longest is a spec, whose texts came in one request, each byte as six at
/// most.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Name of the lock file.
pub const LOCK: &str = "lock";
/// Name of the [`Spec`] file.
pub const SPEC: &str = "spec.json";
/// Name of the [`State`] file.
pub const STATE: &str = "state.json";
/// Name of the [`Exit`] file.
pub const EXIT: &str = "exit.json";
/// Name under which space for the [`Exit`] file is kept free until it is needed.
pub const EXIT_RESERVED: &str = "exit.json.reserved";
/// Name of the shim's socket.
pub const SOCKET: &str = "control.sock";

/// What to run, and within which limits.
#[derive(Clone, Serialize, Deserialize)]
pub struct Spec {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// The agent's id: also the value of `DESCARTES_AGENT_ID` in `env`.
    pub agent_id: String,
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Arguments, without the program's own name.
    pub args: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub working_dir: PathBuf,
    /// What the agent finds on its stdin.
    pub stdin: Stdin,
    /// Number of the signal that a stop begins with.
    pub stop_signal: i32,
    /// The signals of a cooperative pause, where the backend has one.
    pub pause_signals: Option<PauseSignals>,
    /// Soft limit of open descriptors for the agent; `None` leaves the shim's.
    pub descriptors_soft: Option<u64>,
    /// The cgroup v2 leaf to make for the agent; `None` uses the fallback.
    pub cgroup: Option<PathBuf>,
    /// Resource limits, as file names below `cgroup` and what to write there.
    #[serde(default)]
    pub cgroup_limits: BTreeMap<String, String>,
    /// Limits on time and bytes.
    pub limits: Limits,
    /// The server's own notes; the shim does not look at them.
    #[serde(default)]
    pub owner: serde_json::Value,
}

impl fmt::Debug for Spec {
    /// Without the values of variables and the server's notes.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Spec")
            .field("agent_id", &self.agent_id)
            .field("program", &self.program)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// What an agent finds on its stdin.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// `/dev/null`.
    Null,
    /// A pipe.
    Pipe {
        /// Written first, whatever the queue's limit.
        first: String,
        /// Whether stdin ends after `first`.
        close: bool,
    },
}

/// The two signals of a cooperative pause.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct PauseSignals {
    /// Number of the signal that asks the tree to pause.
    pub pause: i32,
    /// Number of the signal that asks it to go on.
    pub resume: i32,
}

/// Limits on one agent's time and bytes. `None` is no limit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Limits {
    /// Longest life, in milliseconds.
    pub max_runtime_ms: Option<u64>,
    /// Longest silence on both output streams, in milliseconds; stands still while paused.
    pub idle_timeout_ms: Option<u64>,
    /// Longest time without a connected server, in milliseconds.
    pub orphan_timeout_ms: Option<u64>,
    /// Time between a stop's signal and SIGKILL where the stop does not say, in milliseconds.
    pub stop_grace_ms: u64,
    /// Bytes kept of each output stream.
    pub output_bytes_max: u64,
    /// Bytes of stdin queued beyond what the pipe holds.
    pub stdin_bytes_max: u64,
}

/// Which process an agent is, beyond its pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Pid of the agent's first process.
    pub pid: i32,
    /// Its start time, in clock ticks since boot (`proc_pid_stat(5)`, field 22).
    pub start_time: u64,
    /// Pid of the shim.
    pub shim_pid: i32,
    /// The shim's start time, in clock ticks since boot.
    pub shim_start_time: u64,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Inode of the pid namespace that the pids belong to.
    pub pid_namespace: u64,
    /// The cgroup leaf in use; `None` where the fallback is.
    pub cgroup: Option<PathBuf>,
    /// When the agent was started.
    pub started_at: WallTime,
    /// Which version of the socket's protocol the shim speaks
    /// ([`wire::VERSION`](crate::wire::VERSION)). The first shims did not write it down.
    #[serde(default = "first_wire_version")]
    pub wire_version: u32,
}

impl State {
    /// The agent's first process.
    #[must_use]
    pub fn leader(&self) -> ProcessKey {
        ProcessKey {
            pid: self.pid,
            start_time: self.start_time,
        }
    }

    /// The shim.
    #[must_use]
    pub fn shim(&self) -> ProcessKey {
        ProcessKey {
            pid: self.shim_pid,
            start_time: self.shim_start_time,
        }
    }

    /// Whether its pids mean something here: they are of this boot and this pid namespace.
    #[must_use]
    pub fn is_of_here(&self) -> bool {
        self.boot_id == tree::boot_id() && self.pid_namespace == tree::pid_namespace()
    }
}

fn first_wire_version() -> u32 {
    1
}

/// How an agent ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// [`VERSION`] of the writer.
    pub version: u32,
    /// Exit code of the first process, where it exited.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended the first process, where one did.
    pub exit_signal: Option<i32>,
    /// Why it ended.
    pub reason: EndReason,
    /// Whether SIGKILL was needed after the grace time of a stop.
    pub forced: bool,
    /// When the last process of the tree was gone.
    pub finished_at: WallTime,
    /// Length of stdout.
    pub stdout: StreamEnd,
    /// Length of stderr.
    pub stderr: StreamEnd,
    /// Pids of processes that could not be killed before the deadline.
    #[serde(default)]
    pub left_over: Vec<i32>,
}

/// The length of one output stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEnd {
    /// Bytes that the agent wrote.
    pub bytes: u64,
    /// Of these, bytes that could not be written to a file, or whose file was deleted.
    #[serde(default)]
    pub lost: u64,
    /// Bytes that are on disk.
    #[serde(default)]
    pub kept: u64,
}

/// Why an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By itself.
    Exited,
    /// A stop was asked for.
    Stopped,
    /// A kill was asked for.
    Killed,
    /// `max_runtime_ms` was over.
    Timeout,
    /// `idle_timeout_ms` was over.
    IdleTimeout,
    /// The server shut down.
    ServerShutdown,
    /// No server was connected for `orphan_timeout_ms`.
    Orphaned,
    /// The kernel killed it for its memory limit.
    MemoryLimit,
    /// Its shim died; the server recorded that in its place.
    Lost,
}

/// A wall-clock time, as the two numbers of `SystemTime` since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallTime {
    /// Whole seconds.
    pub secs: u64,
    /// Nanoseconds within the second.
    pub nanos: u32,
}

impl WallTime {
    /// The present time; a clock before 1970 reads as 1970.
    #[must_use]
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            secs: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }

    /// Whole milliseconds since the Unix epoch; at most as many as the number holds.
    #[must_use]
    pub fn millis(self) -> u64 {
        let nanos = u64::from(self.nanos) / 1_000_000;
        self.secs.saturating_mul(1000).saturating_add(nanos)
    }

    /// The time so many milliseconds after the Unix epoch.
    #[must_use]
    pub fn from_millis(millis: u64) -> Self {
        let since = Duration::from_millis(millis);
        Self {
            secs: since.as_secs(),
            nanos: since.subsec_nanos(),
        }
    }
}

/// Something that is kept in an agent's folder.
pub trait Record: DeserializeOwned {
    /// The version of its writer, where it has one.
    fn version(&self) -> Option<u32> {
        None
    }
}

impl Record for Spec {
    fn version(&self) -> Option<u32> {
        Some(self.version)
    }
}

impl Record for State {
    fn version(&self) -> Option<u32> {
        Some(self.version)
    }
}

impl Record for Exit {
    fn version(&self) -> Option<u32> {
        Some(self.version)
    }
}

/// Reads the record `name` in the folder `dir`. `Ok(None)` where there is none.
///
/// # Errors
/// Whatever opening and reading the file says; [`io::ErrorKind::InvalidData`] where it is no such
/// record.
pub fn read<T: Record>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    // Whatever else somebody has put there is not waited for.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file: File = match rustix::fs::open(dir.join(name), flags, Mode::empty()) {
        Ok(file) => file.into(),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::new();
    file.take(RECORD_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    let damaged =
        |problem: String| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {problem}"));
    if bytes.len() as u64 > RECORD_BYTES_MAX {
        return Err(damaged(format!("is longer than {RECORD_BYTES_MAX} bytes")));
    }
    // A record that was cut short is damaged like any other.
    let record: T = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    match record.version() {
        Some(version) if version > VERSION => Err(damaged(format!(
            "has version {version}; this program knows versions up to {VERSION}"
        ))),
        _ => Ok(Some(record)),
    }
}

/// Writes the record `name` into the folder `dir`, whole or not at all.
///
/// It is not synced: a record of a running agent guards against the server's death, and a host's
/// death ends the agent as well.
///
/// # Errors
/// Whatever creating, writing and renaming the file says.
pub fn write<T: Serialize>(dir: impl AsFd, name: &str, record: &T) -> io::Result<()> {
    write_and(dir, name, record, |_| Ok(()))
}

/// Writes a record as [`write()`] does, and has it on the disk before it has its name.
///
/// # Errors
/// As [`write()`], and whatever syncing the file says.
pub fn write_synced<T: Serialize>(dir: impl AsFd, name: &str, record: &T) -> io::Result<()> {
    write_and(dir, name, record, File::sync_all)
}

fn write_and<T: Serialize>(
    dir: impl AsFd,
    name: &str,
    record: &T,
    before_it_is_named: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = format!("{name}.new");
    let mut file = place::create(dir.as_fd(), &temporary)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    before_it_is_named(&file)?;
    place::rename(dir, &temporary, name)
}
