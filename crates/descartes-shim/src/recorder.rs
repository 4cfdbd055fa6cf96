//! Records how the agent ended, even on a disk that has filled up meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FallocateFlags};

use crate::place;
use crate::record::{self, Exit};

/// Space kept for the record. One is about 300 bytes.
const RESERVED_BYTES: usize = 4096;

/// Holds space for the exit record from the agent's start on.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: OwnedFd,
    reserved: File,
}

impl Recorder {
    /// Reserves the space in `dir`, the agent's folder.
    pub(crate) fn reserve(dir: OwnedFd) -> io::Result<Self> {
        let mut reserved = place::create(&dir, record::EXIT_RESERVED)?;
        match rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, RESERVED_BYTES as u64) {
            Ok(()) => {}
            // A file system that cannot reserve gets the bytes themselves.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                reserved.write_all(&[b' '; RESERVED_BYTES])?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self { dir, reserved })
    }

    /// Gives the space up: the agent was never started, and whoever looks shall see that.
    pub(crate) fn give_up(&self) {
        let _ = rustix::fs::unlinkat(&self.dir, record::EXIT_RESERVED, AtFlags::empty());
    }

    /// Puts the record in place, and on the disk, before anybody is told of it.
    ///
    /// It has its name first: whoever finds it there is told of it by this shim only, and one sync
    /// is then enough for both on most file systems.
    pub(crate) fn record(&self, exit: &Exit) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let bytes = serde_json::to_vec(exit)?;
        self.reserved.write_all_at(&bytes, 0)?;
        self.reserved.set_len(bytes.len() as u64)?;
        let dir = self.dir.as_fd();
        if place::leads_to_open(dir, record::EXIT_RESERVED, &self.reserved) {
            place::rename(dir, record::EXIT_RESERVED, record::EXIT)?;
            self.reserved.sync_all()?;
        } else {
            // Somebody has removed what was kept free.
            record::write_synced(dir, record::EXIT, exit)?;
        }
        Ok(rustix::fs::fsync(dir)?)
    }
}
