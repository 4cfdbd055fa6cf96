//! Starts the agent, and signals, freezes and kills everything that comes of it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Resource, Signal};

use crate::cgroup;
use crate::record::{Spec, Stdin};
use crate::tree::{self, Process, ProcessKey, Search};

/// Passes over the tree in one go, for processes that fork while they are being signalled.
const PASSES: usize = 64;

/// Attempts to kill the tree in one go.
const KILL_PASSES: usize = 8;

/// Processes that a message names at most.
const NAMED_MAX: usize = 64;

/// How long killed processes that are not the shim's to wait for may take to go.
const CLEARING_TIME: Duration = Duration::from_secs(1);

const CLEARING_INTERVAL: Duration = Duration::from_millis(5);

/// A started agent: its first process and the ends of its pipes.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) leader: Process,
    pub(crate) pidfd: OwnedFd,
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// A failure to start, as what was being done and why it failed.
#[derive(Debug)]
pub(crate) struct StartError {
    pub(crate) action: String,
    pub(crate) source: io::Error,
}

/// Names what was being done when an error came up.
pub(crate) trait While<T> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, StartError>;
}

impl<T, E: Into<io::Error>> While<T> for Result<T, E> {
    fn during(self, action: impl FnOnce() -> String) -> Result<T, StartError> {
        self.map_err(|source| StartError {
            action: action(),
            source: source.into(),
        })
    }
}

/// Starts the agent in a session and, where `leaf` is given, in a cgroup of its own.
pub(crate) fn start(spec: &Spec, leaf: Option<&PathBuf>) -> Result<Started, StartError> {
    // Looked at before the fork, as `exec` would blame the program for a missing folder.
    std::fs::read_dir(&spec.working_dir)
        .during(|| format!("enter the working directory {}", spec.working_dir.display()))?;
    let procs = leaf
        .map(|leaf| {
            std::fs::OpenOptions::new()
                .write(true)
                .open(leaf.join("cgroup.procs"))
        })
        .transpose()
        .during(|| "open the agent's cgroup".to_owned())?;
    let mut child = command(spec, procs)
        .spawn()
        .during(|| format!("execute {}", spec.program.display()))?;
    adopt(&mut child).during(|| format!("take hold of the new process {}", child.id()))
}

fn command(spec: &Spec, procs: Option<File>) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place where agents are started"
    )]
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.args)
        .env_clear()
        .envs(&spec.env)
        .current_dir(&spec.working_dir)
        .stdin(match spec.stdin {
            Stdin::Null => Stdio::null(),
            Stdin::Pipe { .. } => Stdio::piped(),
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let descriptors = spec.descriptors_soft;
    let prepare = move || {
        rustix::process::setsid()?;
        if let Some(mut procs) = procs.as_ref() {
            procs.write_all(b"0")?;
        }
        reset_signals();
        if let Some(soft) = descriptors {
            let mut limit = rustix::process::getrlimit(Resource::Nofile);
            limit.current = Some(limit.maximum.map_or(soft, |hard| soft.min(hard)));
            rustix::process::setrlimit(Resource::Nofile, limit)?;
        }
        Ok(())
    };
    #[expect(
        unsafe_code,
        reason = "what a child does before `exec` has no safe form"
    )]
    // SAFETY: the process is single-threaded, so nothing is held by a thread that does not exist
    // after the fork; the closure makes system calls only and does not allocate.
    unsafe {
        command.pre_exec(prepare);
    }
    command
}

/// Gives every signal its default action and unblocks it: ignored and blocked ones would be
/// inherited by the agent from whatever started the server.
fn reset_signals() {
    for number in 1..=64 {
        #[expect(unsafe_code, reason = "rustix leaves signal handlers to the C library")]
        // SAFETY: SIG_DFL runs no code of ours, and a number that takes no handler is refused.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
    #[expect(unsafe_code, reason = "rustix leaves the signal mask to the C library")]
    // SAFETY: both calls get a valid, initialised set.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

fn adopt(child: &mut Child) -> io::Result<Started> {
    let number = child.id().cast_signed();
    let pid = Pid::from_raw(number).ok_or(io::ErrorKind::InvalidData)?;
    // The process cannot have been reaped yet, so the pid is still its own.
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    let leader = Process::look_at(number)?.ok_or(io::ErrorKind::NotFound)?;
    let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let stderr = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let started = Started {
        leader,
        pidfd,
        stdin: child.stdin.take().map(OwnedFd::from),
        stdout: stdout.into(),
        stderr: stderr.into(),
    };
    let pipes = [
        Some(&started.stdout),
        Some(&started.stderr),
        started.stdin.as_ref(),
    ];
    for pipe in pipes.into_iter().flatten() {
        rustix::io::ioctl_fionbio(pipe.as_fd(), true)?;
    }
    Ok(started)
}

/// Everything below the shim: it can be signalled, frozen and killed.
#[derive(Debug)]
pub(crate) struct Tree {
    shim: i32,
    leaf: Option<PathBuf>,
    /// Processes that were told to stand still: in a pause without a cgroup, and those that have
    /// left theirs.
    told_to_stop: HashSet<ProcessKey>,
    /// Who did not stand still when that was last looked at.
    moving: Vec<i32>,
}

/// A look at who stands still.
struct Stillness {
    /// Processes that no cgroup freezes.
    loose: HashSet<ProcessKey>,
    moving: Vec<Process>,
    /// Whether all could be seen.
    is_sure: bool,
}

impl Tree {
    pub(crate) fn new(leaf: Option<PathBuf>) -> Self {
        Self {
            shim: std::process::id().cast_signed(),
            leaf,
            told_to_stop: HashSet::new(),
            moving: Vec::new(),
        }
    }

    /// The cgroup leaf in use.
    pub(crate) fn leaf(&self) -> Option<&PathBuf> {
        self.leaf.as_ref()
    }

    /// Sends the signal once to every process of the tree, those forked meanwhile included.
    ///
    /// # Errors
    /// The first refusal, or why the tree cannot be looked at, if no process could be signalled at
    /// all.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut tried = HashSet::new();
        let mut reached = false;
        let mut refusal = None;
        for _ in 0..PASSES {
            let search = tree::descendants(self.shim);
            refusal = refusal.or(search.fault);
            let mut fresh = search.found;
            fresh.retain(|process| tried.insert(process.key()));
            if fresh.is_empty() {
                break;
            }
            for process in fresh {
                match process.signal(signal) {
                    Ok(was_there) => reached |= was_there,
                    Err(error) => refusal = refusal.or(Some(error)),
                }
            }
        }
        match refusal {
            Some(error) if !reached => Err(error),
            _ => Ok(()),
        }
    }

    /// Kills what is there now. What forks meanwhile is for the next call.
    ///
    /// # Errors
    /// Why the tree could not be looked at, or a process in it not be tried, in the end. Nobody
    /// knows then who is left.
    pub(crate) fn kill(&self) -> io::Result<()> {
        if let Some(leaf) = &self.leaf {
            // The walk below does what the cgroup might not.
            let _ = cgroup::kill(leaf);
        }
        let mut tried = Ok(());
        for _ in 0..KILL_PASSES {
            // Also while not all can be seen: who outlives his parent becomes the shim's child.
            let mut fault = None;
            let halted = tree::halt(|| {
                let search = tree::descendants(self.shim);
                fault = search.fault;
                search.found
            });
            let alive = halted.processes;
            tried = tree::kill(&alive).and(fault.map_or(Ok(()), Err));
            if alive.iter().all(|process| process.state == b'D') {
                break;
            }
        }
        tried
    }

    /// Makes the tree stand still; to be called again until [`Tree::is_frozen`].
    pub(crate) fn freeze(&mut self) {
        if let Some(leaf) = &self.leaf {
            let _ = cgroup::set_frozen(leaf, true);
        }
        let loose = self.loose();
        // Without a look into the cgroup its own would be among them.
        if self.leaf.is_some() && loose.fault.is_some() {
            return;
        }
        for process in loose.found {
            if !process.is_stopped() && matches!(process.signal(Signal::STOP), Ok(true)) {
                self.told_to_stop.insert(process.key());
            }
        }
    }

    /// Whether every process stands still, or will before it runs another instruction.
    pub(crate) fn is_frozen(&mut self) -> bool {
        // Twice: a single look can pass by a process whose parent ends meanwhile.
        let (first, second) = (self.look(), self.look());
        let is_still = |look: &Stillness| look.is_sure && look.moving.is_empty();
        let is_frozen = is_still(&first) && is_still(&second) && first.loose == second.loose;
        self.moving = named(second.moving);
        is_frozen
    }

    fn look(&self) -> Stillness {
        let mut search = self.loose();
        let loose = search.found.iter().map(Process::key).collect();
        let waits_for_device =
            |process: &Process| process.state == b'D' && self.told_to_stop.contains(&process.key());
        let stands = |process: &Process| process.is_stopped() || waits_for_device(process);
        let mut moving = std::mem::take(&mut search.found);
        moving.retain(|process| !stands(process));
        let mut is_sure = true;
        if let Some(leaf) = self.leaf.as_ref().filter(|leaf| !cgroup::is_frozen(leaf)) {
            is_sure = false;
            // The kernel shows what it has frozen as asleep.
            let awake = |process: &Process| process.state != b'S' && !process.is_stopped();
            let in_leaf = search.take(cgroup::processes(leaf)).unwrap_or_default();
            moving.extend(in_leaf.into_iter().filter(awake));
        }
        Stillness {
            loose,
            moving,
            is_sure: is_sure && search.fault.is_none(),
        }
    }

    /// The processes that no cgroup freezes: all, or those that have left theirs.
    fn loose(&self) -> Search {
        let mut search = tree::descendants(self.shim);
        if let Some(leaf) = &self.leaf {
            let in_leaf = search.take(cgroup::processes(leaf)).unwrap_or_default();
            let in_leaf: HashSet<ProcessKey> = in_leaf.iter().map(Process::key).collect();
            search
                .found
                .retain(|process| !in_leaf.contains(&process.key()));
        }
        search
    }

    /// Lets the tree go on.
    ///
    /// # Errors
    /// Why not all of it could be, as where no descriptor is left on the host: it is to be tried
    /// again.
    pub(crate) fn thaw(&mut self) -> io::Result<()> {
        if let Some(leaf) = &self.leaf {
            tree::unless_hidden(cgroup::set_frozen(leaf, false))?;
        }
        let is_to_go = |process: &Process| {
            // Without a cgroup also those that stood still already.
            self.leaf.is_none() || self.told_to_stop.contains(&process.key())
        };
        let search = tree::descendants(self.shim);
        let mut tried = search.fault.map_or(Ok(()), Err);
        for process in search.found.iter().filter(|process| is_to_go(process)) {
            let woken = tree::unless_hidden(process.signal(Signal::CONT));
            tried = tried.and(woken.map(drop));
        }
        tried?;
        self.told_to_stop.clear();
        Ok(())
    }

    /// Pids of processes that did not stand still when [`Tree::is_frozen`] last looked, as many as a
    /// message names.
    pub(crate) fn moving(&self) -> Vec<i32> {
        self.moving.clone()
    }

    /// Pids of processes that are still there and can be seen, as many as a message names.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let mut processes = tree::descendants(self.shim).found;
        let known: HashSet<ProcessKey> = processes.iter().map(Process::key).collect();
        let in_leaf = self.leaf.as_deref().map(cgroup::processes);
        let in_leaf = in_leaf.and_then(Result::ok).unwrap_or_default();
        processes.extend(in_leaf.into_iter().filter(|it| !known.contains(&it.key())));
        named(processes)
    }

    /// Kills what is in the cgroup though it descends from the shim no more, and waits a moment for
    /// it to go.
    pub(crate) fn clear_leaf(&self) {
        let Some(leaf) = &self.leaf else { return };
        let deadline = Instant::now() + CLEARING_TIME;
        while cgroup::is_populated(leaf).unwrap_or(false) && Instant::now() < deadline {
            let _ = cgroup::kill(leaf);
            std::thread::sleep(CLEARING_INTERVAL);
        }
    }
}

fn named(processes: Vec<Process>) -> Vec<i32> {
    let pids = processes.into_iter().map(|process| process.pid);
    pids.take(NAMED_MAX).collect()
}
