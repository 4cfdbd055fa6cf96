//! Finds the processes of an agent and signals them, without mistaking another process for one.
//!
//! The shim is a subreaper, so everything that the agent ever started is a descendant of the shim
//! as long as the shim lives: a session of its own, a double fork or a changed process group does
//! not take a process out. When the shim is gone, its descendants are found by the
//! `DESCARTES_AGENT_ID` in their environment and by an ancestor that has it ([`search`]), and by
//! the session of the agent's first process, as long as that is there ([`session()`]).
//!
//! A process is named by pid *and* start time, and signalled through a pidfd that was opened
//! before the start time was compared, so a reused pid is never hit.

use std::fs;
use std::io;

use rustix::process::{Pid, PidfdFlags, Signal};

mod below;
mod halting;
mod marked;
mod session;

pub use below::{descendants, family};
pub use halting::{Halted, halt, kill};
pub use marked::search;
pub use session::session;

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

/// What tells a process from any other of this boot and pid namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProcessKey {
    /// Its pid.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessKey {
    /// Looks at this very process; `None` where it is gone. One that is dead and not yet reaped is
    /// there.
    ///
    /// # Errors
    /// As [`Process::look_at`].
    pub fn look(self) -> io::Result<Option<Process>> {
        let now = Process::look_at(self.pid)?;
        Ok(now.filter(|now| now.key() == self))
    }
}

/// What a look at processes has shown.
#[derive(Debug, Default)]
pub struct Search {
    /// The living processes that were looked for, in no order, and never this process.
    pub found: Vec<Process>,
    /// Whether a process was in the middle of `exec`, when it has no environment to look into, and
    /// so may be the agent's.
    pub unsure: bool,
    /// The first reason why something could not be looked at: there may be processes that are not
    /// in `found`. A process that is gone, or that this user may not look into, is no such reason.
    pub fault: Option<io::Error>,
}

impl Search {
    /// Adds what another look has shown.
    pub fn add(&mut self, other: Self) {
        self.found.extend(other.found);
        self.unsure |= other.unsure;
        if let Some(fault) = other.fault {
            self.fault.get_or_insert(fault);
        }
    }

    /// What was looked at, if that was possible; otherwise that becomes the fault.
    pub fn take<T>(&mut self, looked: io::Result<T>) -> Option<T> {
        match looked {
            Ok(seen) => Some(seen),
            Err(error) => {
                self.fault.get_or_insert(error);
                None
            }
        }
    }
}

impl Process {
    /// Reads the process with this pid; `None` where there is none, or where it cannot be read.
    #[must_use]
    pub fn read(pid: i32) -> Option<Self> {
        Self::look_at(pid).ok().flatten()
    }

    /// Reads the process with this pid; `None` where there is none that this user may look at.
    ///
    /// # Errors
    /// Why it is not known whether there is one, such as `EMFILE` where no descriptor is left.
    pub fn look_at(pid: i32) -> io::Result<Option<Self>> {
        let Some(stat) = Stat::of(pid)? else {
            return Ok(None);
        };
        let mut process = stat.process;
        if process.is_dead() && stat.threads > 1 {
            // The kernel shows a process as a zombie when its first thread has ended, though the
            // others go on.
            process.state = living_thread(pid)?.unwrap_or(process.state);
        }
        Ok(Some(process))
    }

    /// What tells it from any other.
    #[must_use]
    pub fn key(&self) -> ProcessKey {
        ProcessKey {
            pid: self.pid,
            start_time: self.start_time,
        }
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
    /// What `pidfd_open(2)` and `pidfd_send_signal(2)` say, except that the process is gone, and
    /// what keeps it from being looked at.
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
        if self.key().look()?.is_none() {
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
    session: i32,
    threads: u64,
    flags: u64,
}

impl Stat {
    /// Of a process; `None` where there is none that this user may look at.
    fn of(pid: i32) -> io::Result<Option<Self>> {
        let stat = unless_hidden(fs::read(format!("/proc/{pid}/stat")))?;
        Ok(stat.and_then(|stat| parse_stat(pid, &stat)))
    }
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
        session: field(6)?.parse().ok()?,
        flags: field(9)?.parse().ok()?,
        threads: field(20)?.parse().ok()?,
    })
}

/// The state of some thread of the process that has not ended.
fn living_thread(pid: i32) -> io::Result<Option<u8>> {
    for thread in numbers_in(&format!("/proc/{pid}/task"))? {
        let stat = unless_hidden(fs::read(format!("/proc/{pid}/task/{thread}/stat")))?;
        let thread = stat.and_then(|stat| parse_stat(pid, &stat));
        if let Some(living) = thread.filter(|thread| !thread.process.is_dead()) {
            return Ok(Some(living.process.state));
        }
    }
    Ok(None)
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// The numbers among the names in a folder of `/proc`; none where it is not there.
///
/// The folder is closed again before one of them is looked at, so that a single free descriptor is
/// enough.
fn numbers_in(folder: &str) -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in unless_hidden(fs::read_dir(folder))?.into_iter().flatten() {
        let name = unless_hidden(entry)?.map(|entry| entry.file_name());
        numbers.extend(name.and_then(|name| name.to_str()?.parse::<i32>().ok()));
    }
    Ok(numbers)
}

fn all_pids() -> io::Result<Vec<i32>> {
    let pids = numbers_in("/proc")?;
    if pids.is_empty() {
        return Err(io::Error::other("/proc shows no process"));
    }
    Ok(pids)
}

/// `None` for what is gone, or nothing that this user may look at. Other errors do not say that
/// there is nothing.
pub(crate) fn unless_hidden<T>(looked: io::Result<T>) -> io::Result<Option<T>> {
    let hidden = [libc::ENOENT, libc::ESRCH, libc::EACCES, libc::EPERM];
    match looked {
        Ok(seen) => Ok(Some(seen)),
        Err(error) if error.raw_os_error().is_some_and(|it| hidden.contains(&it)) => Ok(None),
        Err(error) => Err(error),
    }
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
