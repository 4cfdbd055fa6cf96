//! Finds the processes of an agent and signals them, without mistaking another process for one.
//!
//! The shim is a subreaper, so everything that the agent ever started is a descendant of the shim
//! as long as the shim lives: a session of its own, a double fork or a changed process group does
//! not take a process out. When the shim is gone, its descendants are found by the
//! `DESCARTES_AGENT_ID` in their environment, and by an ancestor that has it ([`search`]).
//!
//! A process is named by pid *and* start time, and signalled through a pidfd that was opened
//! before the start time was compared, so a reused pid is never hit.

use std::collections::HashSet;
use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal};

mod marked;

pub use marked::{Search, search};

/// Times that [`halt`] looks for what has come meanwhile.
const PASSES: usize = 16;

/// Environment variable that marks every process of an agent.
pub const AGENT_ID_VARIABLE: &str = "DESCARTES_AGENT_ID";

/// One process, as `/proc/<pid>/stat` shows it (`proc_pid_stat(5)`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its parent's pid.
    pub parent: i32,
    /// The state letter: `R`, `S`, `D`, `T`, `Z`, … Where the first thread has ended before the
    /// others, that of one of them.
    pub state: u8,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// Reads the process with this pid; `None` where there is none.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        let stat = parse_stat(pid, &fs::read(format!("/proc/{pid}/stat")).ok()?)?;
        let mut process = stat.process;
        if process.is_dead() && stat.threads > 1 {
            // The kernel shows a process as a zombie when its first thread has ended, though the
            // others go on.
            process.state = living_thread(pid).unwrap_or(process.state);
        }
        Some(process)
    }

    /// Whether it is dead and only waits to be reaped.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether it stands still by a signal or a tracer.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't')
    }

    /// Sends a signal if this very process is still there. `Ok(false)` where it is gone.
    ///
    /// # Errors
    /// What `pidfd_open(2)` and `pidfd_send_signal(2)` say, except that the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let gone = |error: rustix::io::Errno| match error {
            rustix::io::Errno::SRCH => Ok(false),
            error => Err(error.into()),
        };
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(false);
        };
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(error) => return gone(error),
        };
        // The pidfd holds on to whatever has the pid now; only then is the start time compared.
        if Self::read(self.pid).is_none_or(|now| now.start_time != self.start_time) {
            return Ok(false);
        }
        match rustix::process::pidfd_send_signal(&pidfd, signal) {
            Ok(()) => Ok(true),
            Err(error) => gone(error),
        }
    }
}

/// What a `stat` file says of a process or thread.
#[derive(Debug)]
struct Stat {
    process: Process,
    threads: u64,
    flags: u64,
}

fn parse_stat(pid: i32, stat: &[u8]) -> Option<Stat> {
    // The command name, in parentheses, may itself hold spaces and parentheses.
    let after_name = stat.iter().rposition(|&byte| byte == b')')? + 1;
    let text = std::str::from_utf8(&stat[after_name..]).ok()?;
    // Field 3 is the first that follows the name.
    let fields: Vec<&str> = text.split_ascii_whitespace().take(20).collect();
    let field = |number: usize| fields.get(number - 3);
    Some(Stat {
        process: Process {
            pid,
            state: *field(3)?.as_bytes().first()?,
            parent: field(4)?.parse().ok()?,
            start_time: field(22)?.parse().ok()?,
        },
        flags: field(9)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
    })
}

/// The state of some thread of the process that has not ended.
fn living_thread(pid: i32) -> Option<u8> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let stats = threads.filter_map(|thread| fs::read(thread.path().join("stat")).ok());
    let threads = stats.filter_map(|stat| Some(parse_stat(pid, &stat)?.process));
    let mut living = threads.filter(|thread| !thread.is_dead());
    living.next().map(|thread| thread.state)
}

/// All descendants of `root`, without `root` itself and without the dead.
///
/// While the tree is forking the list can miss the newest; who needs all of them repeats until
/// nothing new is found.
#[must_use]
pub fn descendants(root: i32) -> Vec<Process> {
    below(&[root])
}

/// All descendants of these processes, each named once, and parents before their children.
fn below(roots: &[i32]) -> Vec<Process> {
    let mut found = Vec::new();
    let mut seen: HashSet<i32> = roots.iter().copied().collect();
    let mut unseen_by_kernel = Vec::new();
    let mut pending = roots.to_vec();
    while let Some(pid) = pending.pop() {
        let Some(children) = children_of(pid) else {
            // Either the process just went, or this kernel has no `children` file.
            if roots.contains(&pid) {
                unseen_by_kernel.push(pid);
            }
            continue;
        };
        for child in children {
            // One that has another parent by now may be another process by now.
            let read = Process::read(child).filter(|process| process.parent == pid);
            let Some(process) = read.filter(|_| seen.insert(child)) else {
                continue;
            };
            if !process.is_dead() {
                found.push(process);
            }
            pending.push(child);
        }
    }
    if !unseen_by_kernel.is_empty() {
        found.extend(below_by_parent(unseen_by_kernel, &mut seen));
    }
    found
}

/// Children of all threads of a process, from `/proc/<pid>/task/<tid>/children`.
fn children_of(pid: i32) -> Option<Vec<i32>> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(list) => {
                children.extend(
                    list.split_ascii_whitespace()
                        .filter_map(|pid| pid.parse::<i32>().ok()),
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && task.path().exists() => {
                return None;
            }
            Err(_) => {}
        }
    }
    Some(children)
}

/// The slow way, for kernels without `CONFIG_PROC_CHILDREN`: one pass over all processes.
fn below_by_parent(roots: Vec<i32>, seen: &mut HashSet<i32>) -> Vec<Process> {
    let all: Vec<Process> = all_pids().filter_map(Process::read).collect();
    let mut found: Vec<Process> = Vec::new();
    let mut parents = roots;
    while let Some(parent) = parents.pop() {
        for process in all.iter().filter(|process| process.parent == parent) {
            if seen.insert(process.pid) {
                parents.push(process.pid);
                if !process.is_dead() {
                    found.push(*process);
                }
            }
        }
    }
    found
}

/// Stops (SIGSTOP) what `find` finds, until it finds nothing new, and returns all of that, in the
/// order in which it was found.
///
/// Processes that stand still start no others in the place of those that are killed next, and
/// nobody is killed before his children were found.
pub fn halt(mut find: impl FnMut() -> Vec<Process>) -> Vec<Process> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for _ in 0..PASSES {
        let mut fresh = find();
        fresh.retain(|process| known.insert((process.pid, process.start_time)));
        if fresh.is_empty() {
            break;
        }
        for process in &fresh {
            // Whom it does not reach is killed all the same.
            let _ = process.signal(Signal::STOP);
        }
        found.append(&mut fresh);
    }
    found
}

/// Kills what [`halt`] stopped, children before their parents: a parent that is killed first may
/// wake up the children that it leaves behind (`setpgid(2)`, orphaned process groups).
pub fn kill(halted: &[Process]) {
    for process in halted.iter().rev() {
        let _ = process.signal(Signal::KILL);
    }
}

fn all_pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// A signal by number, 1 to 64 without 32 and 33, which the C library keeps to itself.
#[must_use]
pub fn signal_from_number(number: i32) -> Option<Signal> {
    if !(1..=64).contains(&number) || matches!(number, 32 | 33) {
        return None;
    }
    #[expect(
        unsafe_code,
        reason = "rustix has no checked way to name real-time signals"
    )]
    // SAFETY: the number is a signal of this kernel and not one that the C library reserves.
    Some(unsafe { Signal::from_raw_unchecked(number) })
}

/// The kernel's id of this boot; empty where it cannot be read.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

/// Inode of this process's pid namespace; 0 where it cannot be read.
#[must_use]
pub fn pid_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self/ns/pid").map_or(0, |metadata| metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let stat = b"7 (a) b (c) S 3 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        let process = parse_stat(7, stat).unwrap().process;
        assert_eq!(process.parent, 3);
        assert_eq!(process.state, b'S');
        assert_eq!(process.start_time, 4242);
    }

    #[test]
    fn a_process_with_another_start_time_is_not_signalled() {
        let mut me = Process::read(std::process::id().cast_signed()).unwrap();
        me.start_time += 1;
        assert!(!me.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn signals_that_the_c_library_keeps_are_no_signals() {
        assert!(signal_from_number(0).is_none());
        assert!(signal_from_number(32).is_none());
        assert!(signal_from_number(65).is_none());
        assert_eq!(signal_from_number(15), Some(Signal::TERM));
        assert_eq!(signal_from_number(40).unwrap().as_raw(), 40);
    }
}
