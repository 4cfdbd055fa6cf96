//! The agent's folder, as long as its shim lives: the shim notices when somebody takes it away, and
//! makes it anew, for a later server finds agents by their folders only.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::record;

/// An agent's folder, its lock, and the socket in it.
#[derive(Debug)]
pub(crate) struct Folder {
    /// Where servers look for it.
    path: PathBuf,
    dir: OwnedFd,
    /// How often the folder was made anew.
    made_anew: u32,
    /// Only held: that it is locked is how others know that this shim lives.
    lock: OwnedFd,
    listener: OwnedFd,
}

impl Folder {
    /// Begins to listen in the folder `dir`, whose lock this is.
    pub(crate) fn open(dir: OwnedFd, lock: OwnedFd) -> io::Result<Self> {
        let path = fs::read_link(by_descriptor(&dir))?;
        let listener = listen(&dir)?;
        Ok(Self {
            path,
            dir,
            made_anew: 0,
            lock,
            listener,
        })
    }

    pub(crate) fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Says which folder it is: another one each time that it was made anew.
    pub(crate) fn made_anew(&self) -> u32 {
        self.made_anew
    }

    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Whether a server that looks for the agent finds this folder and this shim.
    pub(crate) fn can_be_found(&self) -> bool {
        same(&self.path, &by_descriptor(&self.dir))
            && same(&self.path.join(record::LOCK), &by_descriptor(&self.lock))
            && self.path.join(record::SOCKET).exists()
    }

    /// Whether the records of a running agent are in it.
    pub(crate) fn has_records(&self) -> bool {
        let has = |name: &str| self.path.join(name).exists();
        has(record::SPEC) && has(record::STATE)
    }

    /// Makes folder, lock and socket anew where they are missing. The records and the output are
    /// for their writers to put back.
    ///
    /// # Errors
    /// Whatever making them says; [`io::ErrorKind::NotFound`] where the state folder itself is
    /// gone: nobody would look there. What was made stays, and the next call goes on from there.
    pub(crate) fn restore(&mut self) -> io::Result<()> {
        if !same(&self.path, &by_descriptor(&self.dir)) {
            DirBuilder::new().mode(0o700).create(&self.path)?;
            self.dir = File::open(&self.path)?.into();
            self.made_anew += 1;
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
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(&self.dir, record::SOCKET, rustix::fs::AtFlags::empty());
    }
}

/// A path to what a descriptor stands for, wherever it lies by now, and short enough for the address
/// of a socket.
pub(crate) fn by_descriptor(descriptor: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
}

/// Whether both paths lead to the same file.
fn same(one: &Path, other: &Path) -> bool {
    let inode = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    inode(one).is_some_and(|found| inode(other) == Some(found))
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
