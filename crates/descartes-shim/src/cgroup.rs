//! A cgroup v2 leaf per agent, where one can be made: it kills and freezes a whole tree in one
//! write that no fork can outrun (`cgroup.kill` since Linux 5.14, `cgroup.freeze` since 5.2).
//!
//! [`Base::detect`] finds out by trying. The shim stays outside the leaf, so that freezing and
//! killing the agent leaves the shim alive.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tree::{self, Process};

mod base;

pub use base::{Base, holds_this_process};

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
/// Whatever writing `cgroup.kill` says; [`io::ErrorKind::ResourceBusy`], and nobody is killed, where
/// this process is in the leaf itself.
pub fn kill(leaf: &Path) -> io::Result<()> {
    refuse_own(leaf)?;
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
///
/// # Errors
/// Why that cannot be seen, such as `EMFILE`; a leaf that is gone has none.
pub fn is_populated(leaf: &Path) -> io::Result<bool> {
    let events = unless_gone(fs::read_to_string(leaf.join("cgroup.events")))?;
    Ok(events.is_some_and(|events| events.lines().any(|line| line == "populated 1")))
}

/// The living processes in the leaf and in what the agent has made below it.
///
/// # Errors
/// Why they cannot be seen, such as `EMFILE`; a leaf that is gone has none.
pub fn processes(leaf: &Path) -> io::Result<Vec<Process>> {
    let mut processes = Vec::new();
    for pid in pids(leaf)? {
        let process = Process::look_at(pid)?;
        processes.extend(process.filter(|process| !process.is_dead()));
    }
    // Who is listed again is the one that was looked at: a pid may have become another's meanwhile.
    let still_there = pids(leaf)?;
    processes.retain(|process| still_there.contains(&process.pid));
    for leaf in below(leaf)? {
        processes.extend(self::processes(&leaf)?);
    }
    Ok(processes)
}

fn pids(leaf: &Path) -> io::Result<HashSet<i32>> {
    let pids = unless_gone(fs::read_to_string(leaf.join("cgroup.procs")))?.unwrap_or_default();
    Ok(pids.lines().filter_map(|pid| pid.parse().ok()).collect())
}

/// The cgroups that an agent has made below its own.
fn below(leaf: &Path) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in unless_gone(fs::read_dir(leaf))?.into_iter().flatten() {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// `None` for a cgroup that is not there any more, or that lists its processes in the one above
/// (`cgroup.type` is `threaded`; `EOPNOTSUPP`).
fn unless_gone<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    match looked {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP)) => {
            Ok(None)
        }
        looked => tree::unless_hidden(looked),
    }
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
/// Whatever `rmdir(2)` says: `EBUSY` while a process is in it. Where that is this process, nothing
/// below the leaf is removed either.
pub fn remove(leaf: &Path) -> io::Result<()> {
    refuse_own(leaf)?;
    remove_with_all_below(leaf)
}

fn remove_with_all_below(leaf: &Path) -> io::Result<()> {
    for leaf in below(leaf)? {
        remove_with_all_below(&leaf)?;
    }
    missing_is_fine(fs::remove_dir(leaf))
}

/// What is below an agent's leaf that this server was started in is this server's.
fn refuse_own(leaf: &Path) -> io::Result<()> {
    if holds_this_process(leaf)? {
        let message = "this process is in that cgroup itself";
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
    }
    Ok(())
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
