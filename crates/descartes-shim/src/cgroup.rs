//! A cgroup v2 leaf per agent, where one can be made: it kills and freezes a whole tree in one
//! write that no fork can outrun (`cgroup.kill` since Linux 5.14, `cgroup.freeze` since 5.2).
//!
//! [`Base::detect`] finds out by trying. The shim stays outside the leaf, so that freezing and
//! killing the agent leaves the shim alive.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tree::Process;

mod base;

pub use base::Base;

/// Makes the leaf and applies `limits` (file name, value) to it.
///
/// # Errors
/// Whatever the kernel says; no leaf is left behind then.
pub fn create<'a>(
    leaf: &Path,
    limits: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> io::Result<()> {
    fs::create_dir(leaf)?;
    for (file, value) in limits {
        if let Err(error) = fs::write(leaf.join(file), value) {
            let _ = fs::remove_dir(leaf);
            return Err(error);
        }
    }
    Ok(())
}

/// Kills every process in the leaf. A leaf that does not exist has none.
///
/// # Errors
/// Whatever writing `cgroup.kill` says.
pub fn kill(leaf: &Path) -> io::Result<()> {
    missing_is_fine(fs::write(leaf.join("cgroup.kill"), "1"))
}

/// Begins to freeze or to thaw every process in the leaf.
///
/// # Errors
/// Whatever writing `cgroup.freeze` says.
pub fn set_frozen(leaf: &Path, frozen: bool) -> io::Result<()> {
    fs::write(leaf.join("cgroup.freeze"), if frozen { "1" } else { "0" })
}

/// Whether all of the leaf stands still.
#[must_use]
pub fn is_frozen(leaf: &Path) -> bool {
    event(leaf, "frozen 1")
}

/// Whether any process is in the leaf.
#[must_use]
pub fn is_populated(leaf: &Path) -> bool {
    event(leaf, "populated 1")
}

/// The living processes in the leaf and in what the agent has made below it.
#[must_use]
pub fn processes(leaf: &Path) -> Vec<Process> {
    let pids = fs::read_to_string(leaf.join("cgroup.procs")).unwrap_or_default();
    let pids = pids.lines().filter_map(|pid| pid.parse().ok());
    let mut processes: Vec<Process> = pids.filter_map(Process::read).collect();
    processes.retain(|process| !process.is_dead());
    processes.extend(below(leaf).iter().flat_map(|leaf| self::processes(leaf)));
    processes
}

/// The cgroups that an agent has made below its own.
fn below(leaf: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(leaf).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|folder| folder.path()).collect()
}

fn event(leaf: &Path, wanted: &str) -> bool {
    fs::read_to_string(leaf.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == wanted))
}

/// Whether the kernel killed a process of the leaf for its memory limit.
#[must_use]
pub fn was_out_of_memory(leaf: &Path) -> bool {
    fs::read_to_string(leaf.join("memory.events")).is_ok_and(|events| {
        events
            .lines()
            .filter_map(|line| line.strip_prefix("oom_kill "))
            .any(|count| count != "0")
    })
}

/// Removes the leaf. One that does not exist is removed already.
///
/// # Errors
/// Whatever `rmdir(2)` says: `EBUSY` while a process is in it.
pub fn remove(leaf: &Path) -> io::Result<()> {
    for leaf in below(leaf) {
        remove(&leaf)?;
    }
    missing_is_fine(fs::remove_dir(leaf))
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
