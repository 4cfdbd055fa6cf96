//! The template: a small single-threaded process that shims are forked from.
//!
//! Forking a server of many threads and much memory is slow and restricts what the child may do;
//! executing a program anew for each agent costs a millisecond. The template is executed once and
//! forks in a tenth of that. It lives as long as the server that started it: its end of the
//! socket closes when the server goes, however it goes. Its shims live on.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::shim;

/// The `argv[0]` that makes a program a template, together with a socket as [`SOCKET`].
const NAME: &str = "descartes-shim";

/// The descriptor that the template finds its socket at.
const SOCKET: i32 = 3;

/// Descriptors that come with a request: agent's folder, lock, connection.
const DESCRIPTORS: usize = 3;

/// How long a template may take to fork. One that takes longer was stopped, and is replaced.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a template has started no shim, or may have.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// The template is gone, and was not asked: another one has to be started.
    #[error("the template of the shims cannot be asked")]
    NotAsked(#[source] io::Error),
    /// The template could not fork.
    #[error("the template of the shims cannot fork: the host has no process or memory left")]
    NoProcess,
    /// The template was asked and did not answer: there may be a shim, or come to be one until the
    /// template is gone.
    #[error("the template of the shims did not answer")]
    Unanswered(#[source] io::Error),
}

/// Set by the constructor: proof that it is in this program and did run.
static ARMED: AtomicBool = AtomicBool::new(false);

/// Becomes a template, and never returns, if this process was started as one.
pub fn run_if_asked() {
    ARMED.store(true, Ordering::Relaxed);
    if std::env::args_os().next().as_deref() != Some(OsStr::new(NAME)) {
        return;
    }
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number")]
    // SAFETY: only looked at. If nobody left a descriptor here, the call fails with EBADF.
    let inherited = unsafe { BorrowedFd::borrow_raw(SOCKET) };
    if rustix::net::sockopt::socket_type(inherited) != Ok(SocketType::SEQPACKET) {
        return;
    }
    #[expect(unsafe_code, reason = "an inherited descriptor is only a number")]
    // SAFETY: it is the socket that `Template::start` left here for this process, and nobody
    // else in this process knows of it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    leave(serve(&socket));
}

/// Ends the process without running what the program that it is forked from registered.
fn leave(code: i32) -> ! {
    #[expect(
        unsafe_code,
        reason = "`std::process::exit` would run foreign exit handlers"
    )]
    // SAFETY: ends the process; nothing runs after it.
    unsafe {
        libc::_exit(code)
    }
}

/// The template's life: a shim for each request, until the server is gone.
fn serve(socket: &OwnedFd) -> i32 {
    let _ = rustix::process::setsid();
    let _ = std::env::set_current_dir("/");
    let _ = rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC);
    close_strangers();
    // Before `main`, Rust has not seen to SIGPIPE yet: a shim that writes to an agent that has just
    // gone would die of it. Dead shims are to leave no zombies.
    for signal in [libc::SIGPIPE, libc::SIGCHLD] {
        #[expect(unsafe_code, reason = "rustix leaves signal handlers to the C library")]
        // SAFETY: "ignore" runs no code of ours.
        unsafe {
            libc::signal(signal, libc::SIG_IGN);
        }
    }
    loop {
        match receive(socket) {
            Ok(Some([dir, lock, connection])) => {
                #[expect(unsafe_code, reason = "a fork that is not followed by `exec`")]
                // SAFETY: this process has one thread, so the child is a whole copy of it.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    close_inherited();
                    leave(shim::run(dir, lock, connection));
                }
                let _ = rustix::net::send(socket, &child.to_le_bytes(), SendFlags::NOSIGNAL);
            }
            Ok(None) => return 0,
            Err(_) => return 1,
        }
    }
}

/// Closes what the server's own parent left open: agents outlive the server, and would hold on to
/// locks and pipes that are none of theirs.
fn close_strangers() {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return;
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let open: Vec<i32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    for descriptor in open.into_iter().filter(|&descriptor| descriptor > SOCKET) {
        #[expect(unsafe_code, reason = "inherited descriptors have no owner")]
        // SAFETY: this process has only just begun, and nothing in it owns a descriptor above the
        // socket: that of the listing is closed already.
        unsafe {
            libc::close(descriptor);
        }
    }
}

/// Gives up the template's socket in a new shim: a shim must not keep a template alive.
fn close_inherited() {
    #[expect(
        unsafe_code,
        reason = "the owner of the descriptor is on an abandoned stack frame"
    )]
    // SAFETY: the child leaves without ever using the socket that its copy of `serve` holds.
    unsafe {
        rustix::io::close(SOCKET);
    }
}

fn receive(socket: &OwnedFd) -> io::Result<Option<[OwnedFd; DESCRIPTORS]>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = loop {
        let parts = &mut [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            result => break result?,
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(io::Error::other("descriptors were lost on the way"));
    }
    let descriptors = <[OwnedFd; DESCRIPTORS]>::try_from(descriptors);
    descriptors
        .map(Some)
        .map_err(|_| io::Error::other("a request without its descriptors"))
}

/// A running template, held by the server.
///
/// Dropping it ends the template and no shim.
#[derive(Debug)]
pub struct Template {
    child: Child,
    socket: OwnedFd,
}

impl Template {
    /// Starts a template: from the program `descartes-shim` beside the running one if it is
    /// there, otherwise from the running program itself.
    ///
    /// # Errors
    /// Whatever starting a process says; [`io::ErrorKind::NotFound`] where neither program can be
    /// one.
    pub fn start() -> io::Result<Self> {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the template is no agent: it gets nothing but its socket"
        )]
        let mut command = Command::new(program()?);
        command
            .arg0(NAME)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let place = move || place_socket(theirs.as_fd());
        #[expect(
            unsafe_code,
            reason = "what a child does before `exec` has no safe form"
        )]
        // SAFETY: the closure makes system calls only and does not allocate.
        unsafe {
            command.pre_exec(place);
        }
        let child = command.spawn()?;
        let timeout = rustix::net::sockopt::Timeout::Recv;
        rustix::net::sockopt::set_socket_timeout(&ours, timeout, Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            child,
            socket: ours,
        })
    }

    /// Starts a shim for the agent whose folder is `dir`, with the lock that it holds from now on
    /// and the first connection that it serves. Returns the shim's pid.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn start_shim(
        &self,
        dir: BorrowedFd<'_>,
        lock: BorrowedFd<'_>,
        connection: BorrowedFd<'_>,
    ) -> Result<i32, ForkError> {
        let descriptors = [dir, lock, connection];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        let parts = [IoSlice::new(b"+")];
        rustix::net::sendmsg(&self.socket, &parts, &mut control, SendFlags::NOSIGNAL)
            .map_err(|error| ForkError::NotAsked(error.into()))?;
        let unanswered = |kind: io::ErrorKind| Err(ForkError::Unanswered(kind.into()));
        let mut answer = [0; 4];
        match rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty()) {
            Ok((4, _)) => match i32::from_le_bytes(answer) {
                pid if pid > 0 => Ok(pid),
                _ => Err(ForkError::NoProcess),
            },
            Ok(_) => unanswered(io::ErrorKind::BrokenPipe),
            Err(rustix::io::Errno::AGAIN) => unanswered(io::ErrorKind::TimedOut),
            Err(error) => Err(ForkError::Unanswered(error.into())),
        }
    }

    /// Ends the template, whoever waits for its answer: they get an error.
    pub fn kill(&self) {
        // It keeps its pid until it is waited for, when this is dropped.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        // It would see the socket close and end by itself, unless somebody has stopped it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Leaves `socket` at the number [`SOCKET`], to be inherited.
///
/// Should std's own pipe for errors of `exec` be there, it is overwritten: a failed `exec` then
/// shows as a template that is gone at its first request.
fn place_socket(socket: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    if socket.as_raw_fd() == SOCKET {
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::empty())?;
        return Ok(());
    }
    #[expect(
        unsafe_code,
        reason = "a descriptor is put at a fixed number for `exec`"
    )]
    // SAFETY: the child has one thread, and gives the number up again without closing it.
    let mut target = std::mem::ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(SOCKET) });
    rustix::io::dup2(socket, &mut target)?;
    Ok(())
}

fn program() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.with_file_name(NAME);
    if beside != own && fs::metadata(&beside).is_ok_and(|metadata| metadata.is_file()) {
        return Ok(beside);
    }
    if ARMED.load(Ordering::Relaxed) {
        // Not the path: the file may have been replaced by an upgrade since this process began.
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "{} is not there, and this program cannot take its place",
            beside.display()
        ),
    ))
}
