//! The file of an ipc socket: who may reach it, and who owns the path.
//!
//! The library creates the file with mode 0755 and takes over a path that is in use. Here:
//!
//! 1. `PATH.lock` (0600) is locked for as long as the socket lives. It stays behind afterwards: removing it would let
//!    two servers hold two different files under its name.
//! 2. The socket is made as `PATH~/s`, in a directory that nobody else can enter, set to 0600 and renamed into place.
//!    So it is never reachable under a mode that is too wide, and a client finds either the old file or the new one.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use omq_tokio::IpcPath;
use omq_tokio::endpoint::Endpoint as OmqEndpoint;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use tokio::net::UnixStream;

/// Why a path cannot be used.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It holds something that is not a socket.
    NotASocket,
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self::Io(source)
    }
}

/// A path that is ours, before its socket is in place.
#[derive(Debug)]
pub(super) struct Staging {
    path: PathBuf,
    directory: PathBuf,
    lock: OwnedFd,
}

impl Staging {
    pub(super) async fn prepare(path: &Path) -> Result<Self, Refusal> {
        let lock = take_lock(&with_suffix(path, ".lock"))?;
        refuse_if_occupied(path).await?;
        let staging = Self {
            path: path.to_owned(),
            directory: with_suffix(path, "~"),
            lock,
        };
        // What a server that was killed while binding has left.
        staging.clean()?;
        DirBuilder::new().mode(0o700).create(&staging.directory)?;
        Ok(staging)
    }

    pub(super) fn omq_endpoint(&self) -> OmqEndpoint {
        OmqEndpoint::Ipc(IpcPath::Filesystem(self.socket()))
    }

    /// Puts the socket, which has been bound by now, in its place.
    pub(super) fn publish(self) -> Result<SocketFile, Refusal> {
        let socket = self.socket();
        fs::set_permissions(&socket, Permissions::from_mode(0o600))?;
        let inode = Inode::of(&fs::symlink_metadata(&socket)?);
        fs::rename(&socket, &self.path)?;
        self.clean()?;
        Ok(SocketFile {
            path: self.path,
            inode,
            _lock: self.lock,
        })
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("s")
    }

    fn clean(&self) -> io::Result<()> {
        absent_is_fine(fs::remove_file(self.socket()))?;
        absent_is_fine(fs::remove_dir(&self.directory))
    }
}

/// The socket's file, in place. Dropping it removes the file and gives up the path.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Inode,
    _lock: OwnedFd,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody may have put something else there by hand.
        let ours =
            fs::symlink_metadata(&self.path).is_ok_and(|found| Inode::of(&found) == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "failed to remove the socket's file");
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            number: metadata.ino(),
        }
    }
}

fn take_lock(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = open(path, flags, Mode::RUSR | Mode::WUSR)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(io::Error::from(rustix::io::Errno::ADDRINUSE)),
        Err(errno) => Err(errno.into()),
    }
}

/// A socket that nobody listens on may be replaced. One that answers belongs to a program that knows nothing of our
/// lock.
async fn refuse_if_occupied(path: &Path) -> Result<(), Refusal> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(Refusal::NotASocket),
        Ok(_) => {}
        Err(error) => return absent_is_fine(Err(error)).map_err(Refusal::Io),
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Refusal::Io(error)),
        // Connected, or its queue of connections is full.
        Ok(_) | Err(_) => Err(Refusal::Io(rustix::io::Errno::ADDRINUSE.into())),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
