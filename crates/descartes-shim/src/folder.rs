//! The agent's folder, as long as its shim lives: the shim notices when somebody takes it away, and
//! makes it anew, for a later server finds agents by their folders only.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::place::{self, Identity};
use crate::record::{self, Spec, State};
use crate::recorder::Recorder;

/// Where folders are made, beside the one in which servers look for them: they see all of it or
/// nothing.
const MADE_IN: &str = "new";

/// Where what is in the way of a folder goes.
const DAMAGED: &str = "damaged";

/// An agent's folder, its lock, and the socket in it.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Where servers look for it.
    path: PathBuf,
    dir: OwnedFd,
    /// Only held: that it is locked is how others know that this shim lives.
    lock: OwnedFd,
    listener: Listener,
}

/// The socket, and what its name leads to.
#[derive(Debug)]
struct Listener {
    socket: OwnedFd,
    identity: Identity,
}

/// What a look at the folder has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing is missing.
    Whole,
    /// Files are missing in it.
    Incomplete,
    /// It was removed.
    Removed,
    /// It was removed, and so was the state folder: no server would look there.
    Unfindable,
}

impl Folder {
    /// Begins to listen in the folder `dir`, whose lock this is.
    pub(crate) fn open(dir: OwnedFd, lock: OwnedFd) -> io::Result<Self> {
        let path = fs::read_link(by_descriptor(&dir))?;
        let listener = listen(&dir)?;
        Ok(Self {
            path,
            dir,
            lock,
            listener,
        })
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.socket.as_fd()
    }

    /// Looks what is there. What cannot be seen, as the disk errs, counts as there.
    pub(crate) fn look(&mut self) -> Look {
        if is_removed(&self.dir) {
            let root = self.path.ancestors().nth(2);
            return match root.map(fs::metadata) {
                Some(Err(error)) if error.kind() == io::ErrorKind::NotFound => Look::Unfindable,
                _ => Look::Removed,
            };
        }
        // Who moves it, or a folder above it, has it where it is now.
        if let Ok(path) = fs::read_link(by_descriptor(&self.dir)) {
            self.path = path;
        }
        let records = [record::SPEC, record::STATE];
        let has_records = records.iter().all(|name| is_in_place(&self.dir, name));
        if self.has_lock() && self.has_socket() && has_records {
            Look::Whole
        } else {
            Look::Incomplete
        }
    }

    /// Puts back what is missing in it.
    ///
    /// # Errors
    /// Whatever making it says. What was made stays.
    pub(crate) fn complete(&mut self, spec: &Spec, state: &State) -> io::Result<()> {
        if !self.has_lock() {
            self.lock = take_lock(&self.dir)?;
        }
        // Before what needs room on the disk; and that is written whatever became of this.
        let listens = if self.has_socket() {
            Ok(())
        } else {
            self.listen_again()
        };
        record::write(&self.dir, record::SPEC, spec)?;
        record::write(&self.dir, record::STATE, state)?;
        listens
    }

    fn listen_again(&mut self) -> io::Result<()> {
        if place::identify(&self.dir, record::SOCKET).is_ok() {
            place::move_aside(self.dir.as_fd(), record::SOCKET)?;
        }
        self.listener = listen(&self.dir)?;
        Ok(())
    }

    /// Makes the folder anew, whole or not at all: a server that found half of it would take the
    /// agent for dead.
    ///
    /// # Errors
    /// Whatever making it says.
    pub(crate) fn make_anew(&mut self, spec: &Spec, state: &State) -> io::Result<Writers> {
        let parts = (self.path.parent(), self.path.file_name());
        let (Some(agents), Some(name)) = parts else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let root = agents.parent().unwrap_or(agents);
        private_dir(agents)?;
        private_dir(&root.join(MADE_IN))?;
        let aside = root.join(MADE_IN).join(name);
        match fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let made = furnish(&aside, spec, state).and_then(|made| {
            if is_something_else(&self.path) {
                let damaged = root.join(DAMAGED);
                private_dir(&damaged)?;
                fs::rename(&self.path, damaged.join(in_the_way(name)))?;
            }
            fs::rename(&aside, &self.path)?;
            Ok(made)
        });
        if made.is_err() {
            let _ = fs::remove_dir_all(&aside);
        }
        // Another shim may be about to use it, and then it stays.
        let _ = fs::remove_dir(root.join(MADE_IN));
        let (folder, writers) = made?;
        self.dir = folder.dir;
        self.lock = folder.lock;
        self.listener = folder.listener;
        Ok(writers)
    }

    fn has_lock(&self) -> bool {
        place::leads_to_open(&self.dir, record::LOCK, &self.lock)
    }

    fn has_socket(&self) -> bool {
        place::leads_to(&self.dir, record::SOCKET, self.listener.identity)
    }
}

/// What a new folder's writers need to write there.
#[derive(Debug)]
pub(crate) struct Writers {
    pub(crate) recorder: Recorder,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// The parts of a new folder.
struct Made {
    dir: OwnedFd,
    lock: OwnedFd,
    listener: Listener,
}

fn furnish(path: &Path, spec: &Spec, state: &State) -> io::Result<(Made, Writers)> {
    DirBuilder::new().mode(0o700).create(path)?;
    let dir: OwnedFd = File::open(path)?.into();
    let lock = take_lock(&dir)?;
    record::write(&dir, record::SPEC, spec)?;
    record::write(&dir, record::STATE, state)?;
    let writers = Writers {
        recorder: Recorder::reserve(dir.try_clone()?)?,
        stdout: dir.try_clone()?,
        stderr: dir.try_clone()?,
    };
    let listener = listen(&dir)?;
    let made = Made {
        dir,
        lock,
        listener,
    };
    Ok((made, writers))
}

/// Puts a lock in place that is taken before it has its name: a lock that is found free means that
/// the shim died.
fn take_lock(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let temporary = "lock.new";
    let lock = place::create(dir, temporary)?;
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    place::rename(dir, temporary, record::LOCK)?;
    Ok(lock.into())
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.dir, record::SOCKET, AtFlags::empty());
    }
}

/// A path to what a descriptor stands for, wherever it lies by now, and short enough for the address
/// of a socket.
pub(crate) fn by_descriptor(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Whether the folder has no name any more. Some file systems keep its count of links, and the
/// kernel says so in the name.
fn is_removed(dir: &OwnedFd) -> bool {
    let unlinked = rustix::fs::fstat(dir).is_ok_and(|stat| stat.st_nlink == 0);
    let name = fs::read_link(by_descriptor(dir));
    unlinked || name.is_ok_and(|name| name.as_os_str().as_bytes().ends_with(b" (deleted)"))
}

/// Whether there is a file of this name.
fn is_in_place(dir: &OwnedFd, name: &str) -> bool {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => FileType::from_raw_mode(found.st_mode) == FileType::RegularFile,
        Err(error) => error != rustix::io::Errno::NOENT,
    }
}

/// What a thing is called that was in the way of this folder.
fn in_the_way(name: &OsStr) -> OsString {
    let mut other = name.to_owned();
    other.push(".other");
    other
}

/// Whether there is something that is no folder.
fn is_something_else(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir())
}

fn private_dir(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn listen(dir: &OwnedFd) -> io::Result<Listener> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new(by_descriptor(dir).join(record::SOCKET))?;
    // The folder lets nobody else in; the mode is for who moves it. The agent inherits the mask
    // that the server was started with.
    let before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let bound = rustix::net::bind(&socket, &address);
    rustix::process::umask(before);
    bound?;
    rustix::net::listen(&socket, 16)?;
    let identity = place::identify(dir, record::SOCKET)?;
    Ok(Listener { socket, identity })
}
