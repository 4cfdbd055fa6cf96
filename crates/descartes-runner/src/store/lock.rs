//! The locks of the state folder and of agents' folders.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use descartes_shim::record;
use rustix::fs::FlockOperation;

/// How long a start waits for an earlier server to let go of the folder.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Pause between two attempts to take the lock.
const LOCK_INTERVAL: Duration = Duration::from_millis(10);

/// Takes the lock; false where another server keeps it. One that is just ending gets a moment.
/// Blocks.
pub(super) fn take(lock: &File) -> io::Result<bool> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() >= deadline => return Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => std::thread::sleep(LOCK_INTERVAL),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether a lock that is held is the one at `path`. Where that cannot be seen, it is.
pub(super) fn is_in_place(lock: &File, path: &Path) -> bool {
    match (lock.metadata(), fs::symlink_metadata(path)) {
        (Ok(held), Ok(found)) => (held.dev(), held.ino()) == (found.dev(), found.ino()),
        (_, Err(error)) => error.kind() != io::ErrorKind::NotFound,
        (Err(_), Ok(_)) => true,
    }
}

/// What the lock in an agent's folder says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockState {
    /// A shim lives.
    Held,
    /// None does, or none has begun to.
    Free,
    /// There is no lock to say.
    Missing,
}

/// Asks the lock in the folder `dir`.
pub(crate) fn lock_state(dir: &Path) -> io::Result<LockState> {
    let path = dir.join(record::LOCK);
    loop {
        let lock = match fs::symlink_metadata(&path) {
            // Somebody has put something else there.
            Ok(found) if !found.is_file() => return Ok(LockState::Missing),
            Ok(_) => File::open(&path),
            Err(error) => Err(error),
        };
        let lock = match lock {
            Ok(lock) => lock,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockState::Missing),
            Err(error) => return Err(error),
        };
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(LockState::Held),
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        // Free only counts of the lock that is in place: a shim that makes it anew has let go of the
        // old one.
        let asked = lock.metadata()?;
        match fs::symlink_metadata(&path) {
            Ok(found) if (found.dev(), found.ino()) == (asked.dev(), asked.ino()) => {
                return Ok(LockState::Free);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
}
