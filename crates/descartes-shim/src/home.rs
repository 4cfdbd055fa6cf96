//! The agent's folder, as long as its shim lives: the shim notices when somebody takes it away, and
//! makes it anew, for a later server finds agents by their folders only.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::record;

/// An agent's folder, its lock, and the socket in it.
#[derive(Debug)]
pub(crate) struct Home {
    /// Where servers look for it.
    path: PathBuf,
    dir: OwnedFd,
    /// Only held: that it is locked is how others know that this shim lives.
    lock: OwnedFd,
    listener: OwnedFd,
}

/// What [`Home::restore`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restored {
    SameFolder,
    /// Nothing is in it yet but the lock and the socket.
    NewFolder,
}

impl Home {
    /// Moves in: begins to listen in the folder.
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
        self.listener.as_fd()
    }

    /// Whether who looks for the folder finds this one, with its lock and its socket.
    pub(crate) fn is_there(&self) -> bool {
        let held = by_descriptor(&self.dir);
        same(&self.path, &held)
            && same(&self.path.join(record::LOCK), &by_descriptor(&self.lock))
            && self.path.join(record::SOCKET).exists()
    }

    /// Makes what is missing anew. The records and the output in it are their writers' to restore.
    ///
    /// # Errors
    /// Whatever making the folder, its lock and its socket says; [`io::ErrorKind::NotFound`] where
    /// the state folder itself is gone: nobody would look there.
    pub(crate) fn restore(&mut self) -> io::Result<Restored> {
        let mut restored = Restored::SameFolder;
        if !same(&self.path, &by_descriptor(&self.dir)) {
            DirBuilder::new().mode(0o700).create(&self.path)?;
            self.dir = File::open(&self.path)?.into();
            restored = Restored::NewFolder;
        }
        if !same(&self.path.join(record::LOCK), &by_descriptor(&self.lock)) {
            // Locked before it has its name: a lock that is found free means that the shim died.
            let temporary = "lock.new";
            let lock = record::create(&self.dir, temporary)?;
            rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
            rustix::fs::renameat(&self.dir, temporary, &self.dir, record::LOCK)?;
            self.lock = lock.into();
        }
        if !self.path.join(record::SOCKET).exists() {
            self.listener = listen(&self.dir)?;
        }
        Ok(restored)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = remove(&self.dir, record::SOCKET);
    }
}

/// A path to the folder that no longer name can make too long for a socket address.
pub(crate) fn by_descriptor(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Whether both paths lead to the same file.
fn same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    inode(one).is_some_and(|found| inode(other) == Some(found))
}

fn remove(dir: &OwnedFd, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn listen(dir: &OwnedFd) -> io::Result<OwnedFd> {
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
    Ok(socket)
}
