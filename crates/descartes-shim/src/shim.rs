//! One agent's shim: it owns the agent's processes, pipes, files and socket.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::WaitOptions;

use crate::cgroup;
use crate::connection::Connection;
use crate::folder::{self, Folder};
use crate::lifecycle::{Lifecycle, Moment};
use crate::output::OutputStream;
use crate::process::{self, StartError, Started, Tree, While};
use crate::record::{self, Spec, State, Stdin, WallTime};
use crate::recorder::Recorder;
use crate::signals::{self, SignalPipe};
use crate::stdin::StdinQueue;
use crate::tree::{self, Process};
use crate::wire::{Hello, Message, Paused, Sizes, StartFailure};

mod commands;
mod events;
mod restoring;
mod timers;

/// Servers that may be connected at once; beyond that the oldest is let go.
const CONNECTIONS_MAX: usize = 4;

const BUFFER_BYTES: usize = 64 * 1024;

/// Pause between two attempts to kill an agent that was started in vain.
const KILL_INTERVAL: Duration = Duration::from_millis(10);

/// A shim with its agent.
#[derive(Debug)]
pub(crate) struct Shim {
    spec: Spec,
    folder: Folder,
    state: State,
    recorder: Recorder,
    lifecycle: Lifecycle,
    tree: Tree,
    /// The first process's pidfd, until it was reaped.
    leader: Option<OwnedFd>,
    leader_end: Option<rustix::process::WaitStatus>,
    stdin: StdinQueue,
    stdout: OutputStream,
    stderr: OutputStream,
    buffer: Vec<u8>,
    connections: Vec<Connection>,
    next_connection: u64,
    /// Until when no server is let in, as one could not be.
    deaf_until: Option<Moment>,
    /// Until when the end of the first process is not looked for: it has ended, and cannot be
    /// reaped.
    unreaped_until: Option<Moment>,
    /// Whether the tree is to go on and could not be let go.
    is_to_thaw: bool,
    child_signals: SignalPipe,
    end_signals: SignalPipe,
    /// Who waits for the pause, and for the end: connection and request.
    pause_waiters: Vec<(u64, u64)>,
    end_waiters: Vec<(u64, u64)>,
    paused: Option<Paused>,
    clock: Instant,
    /// When limits were last compared with the clock.
    looked_at: Moment,
    /// When the last look at the clock was over.
    looked_until: Moment,
    timers: timers::Timers,
}

/// Starts the agent of the folder `dir` and serves it to its end. Returns the exit code.
///
/// `lock` is the folder's, and locked.
pub(crate) fn run(dir: OwnedFd, lock: OwnedFd, connection: OwnedFd) -> i32 {
    let _ = rustix::process::setsid();
    let clock = Instant::now();
    let Ok(mut server) = Connection::new(0, connection, Moment::ZERO) else {
        return 1;
    };
    match Shim::start(dir, lock, clock) {
        Ok(mut shim) => {
            shim.greet(server);
            shim.serve();
            0
        }
        Err(error) => {
            server.send(&Message::Failed(StartFailure {
                action: error.action,
                errno: error.source.raw_os_error(),
                error: error.source.to_string(),
            }));
            1
        }
    }
}

impl Shim {
    fn start(dir: OwnedFd, lock: OwnedFd, clock: Instant) -> Result<Self, StartError> {
        let path = folder::by_descriptor(&dir);
        let spec: Spec = record::read(&path, record::SPEC)
            .and_then(|spec| spec.ok_or(std::io::ErrorKind::NotFound.into()))
            .during(|| "read the agent's spec.json".to_owned())?;
        name_process(&spec.agent_id);
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .during(|| "become a subreaper".to_owned())?;
        let child_signals =
            SignalPipe::catch(&[libc::SIGCHLD]).during(|| "catch SIGCHLD".to_owned())?;
        let end_signals = SignalPipe::catch(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP])
            .during(|| "catch SIGTERM".to_owned())?;
        signals::survive_long_files().during(|| "catch SIGXFSZ".to_owned())?;
        let folder = Folder::open(dir, lock).during(|| "listen on control.sock".to_owned())?;
        let again = || {
            let copy = folder.dir().try_clone_to_owned();
            copy.during(|| "duplicate a descriptor".to_owned())
        };
        let tree = make_tree(&spec).during(|| "make the agent's cgroup".to_owned())?;
        let (stdout_dir, stderr_dir) = (again()?, again()?);
        let recorder = Recorder::reserve(again()?)
            .during(|| "reserve space for the exit record".to_owned())?;
        // Last: nothing that can fail comes after it.
        let (started, state) =
            start_agent(&spec, &tree, folder.dir()).inspect_err(|_| recorder.give_up())?;
        let bytes_max = spec.limits.output_bytes_max;
        Ok(Self {
            stdin: stdin_queue(&spec, started.stdin),
            stdout: OutputStream::new(started.stdout, stdout_dir, "stdout", bytes_max),
            stderr: OutputStream::new(started.stderr, stderr_dir, "stderr", bytes_max),
            lifecycle: Lifecycle::new(spec.pause_signals.is_some()),
            timers: timers::Timers::new(&spec.limits),
            leader: Some(started.pidfd),
            leader_end: None,
            buffer: vec![0; BUFFER_BYTES],
            connections: Vec::new(),
            next_connection: 1,
            deaf_until: None,
            unreaped_until: None,
            is_to_thaw: false,
            pause_waiters: Vec::new(),
            end_waiters: Vec::new(),
            paused: None,
            spec,
            folder,
            state,
            recorder,
            tree,
            child_signals,
            end_signals,
            clock,
            looked_at: Moment::ZERO,
            looked_until: Moment::ZERO,
        })
    }

    fn now(&self) -> Moment {
        self.clock.elapsed()
    }

    fn sizes(&self) -> Sizes {
        let (stdout, stderr) = (self.stdout.end(), self.stderr.end());
        Sizes {
            stdout: stdout.bytes,
            stderr: stderr.bytes,
            stdout_lost: stdout.lost,
            stderr_lost: stderr.lost,
        }
    }

    /// Tells a new server how things stand, and counts it in.
    fn greet(&mut self, mut server: Connection) {
        let sizes = self.sizes();
        server.send(&Message::Hello(Hello {
            version: crate::wire::VERSION,
            state: self.state.clone(),
            paused: self.paused,
            stdin_bytes: self.stdin.total(),
            sizes,
        }));
        server.reported.0 = sizes;
        if self.connections.len() == CONNECTIONS_MAX {
            self.connections.remove(0);
        }
        self.connections.push(server);
    }
}

/// Shows in `ps` which agent this shim is for. The kernel keeps 15 bytes: the id's random end.
fn name_process(agent_id: &str) {
    let tail = agent_id.len().saturating_sub(10);
    let name = format!("shim-{}", agent_id.get(tail..).unwrap_or_default());
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = rustix::thread::set_name(&name);
    }
}

fn make_tree(spec: &Spec) -> std::io::Result<Tree> {
    if let Some(leaf) = &spec.cgroup {
        cgroup::create(leaf, &spec.cgroup_limits)?;
    }
    Ok(Tree::new(spec.cgroup.clone()))
}

/// Starts the agent and writes down which process it is. If the latter fails, nothing of it runs.
fn start_agent(
    spec: &Spec,
    tree: &Tree,
    dir: BorrowedFd<'_>,
) -> Result<(Started, State), StartError> {
    let shim = own_process().during(|| "look at the shim's own process".to_owned());
    let started = shim.and_then(|shim| {
        let started = process::start(spec, tree.leaf())?;
        let state = state_of(tree, &started.leader, &shim);
        record::write(dir, record::STATE, &state)
            .during(|| "write the agent's state.json".to_owned())?;
        Ok((started, state))
    });
    if started.is_err() {
        end_all(tree);
        if let Some(leaf) = tree.leaf() {
            let _ = cgroup::remove(leaf);
        }
    }
    started
}

/// Kills until there are no children any more, whatever keeps the shim from seeing them for now.
fn end_all(tree: &Tree) {
    loop {
        let _ = tree.kill();
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(KILL_INTERVAL),
            Err(_) => return,
        }
    }
}

fn own_process() -> std::io::Result<Process> {
    let own = Process::look_at(std::process::id().cast_signed())?;
    own.ok_or_else(|| std::io::ErrorKind::NotFound.into())
}

fn state_of(tree: &Tree, leader: &Process, shim: &Process) -> State {
    State {
        version: record::VERSION,
        pid: leader.pid,
        start_time: leader.start_time,
        shim_pid: shim.pid,
        shim_start_time: shim.start_time,
        boot_id: tree::boot_id(),
        pid_namespace: tree::pid_namespace(),
        cgroup: tree.leaf().cloned(),
        started_at: WallTime::now(),
        wire_version: crate::wire::VERSION,
    }
}

fn stdin_queue(spec: &Spec, pipe: Option<OwnedFd>) -> StdinQueue {
    let (first, close) = match &spec.stdin {
        Stdin::Null => ("", false),
        Stdin::Pipe { first, close } => (first.as_str(), *close),
    };
    StdinQueue::new(pipe, first, close, spec.limits.stdin_bytes_max)
}
