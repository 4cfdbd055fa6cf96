//! Turns the signals that a shim cares about into readable descriptors.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Has a write beyond `RLIMIT_FSIZE` fail: by itself it ends the process.
pub(crate) fn survive_long_files() -> io::Result<()> {
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// The signals of one kind, as a descriptor that becomes readable.
#[derive(Debug)]
pub(crate) struct SignalPipe {
    read: OwnedFd,
}

impl SignalPipe {
    /// Catches all of `signals` from now on.
    pub(crate) fn catch(signals: &[i32]) -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        read.set_nonblocking(true)?;
        for &signal in signals {
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        Ok(Self { read: read.into() })
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }

    /// Empties the descriptor, so that the next signal wakes again.
    pub(crate) fn clear(&self) {
        let mut buffer = [0; 64];
        while rustix::io::read(&self.read, &mut buffer).is_ok_and(|count| count > 0) {}
    }
}
