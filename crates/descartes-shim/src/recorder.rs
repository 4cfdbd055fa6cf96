//! Records how the agent ended, even on a disk that has filled up meanwhile.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FallocateFlags;

use crate::record::{self, Exit};

/// Space kept for the record. One is about 300 bytes.
const RESERVED_BYTES: usize = 4096;

/// Holds space for the exit record, if it has been reserved.
#[derive(Debug)]
pub(crate) struct Recorder {
    dir: OwnedFd,
    reserved: Option<File>,
}

impl Recorder {
    /// A recorder for `dir`, the agent's folder, that takes the space when it needs it.
    pub(crate) fn unreserved(dir: OwnedFd) -> Self {
        Self {
            dir,
            reserved: None,
        }
    }

    /// Reserves the space.
    pub(crate) fn reserve(&mut self) -> io::Result<()> {
        let mut reserved = record::create(&self.dir, record::EXIT_RESERVED)?;
        match rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, RESERVED_BYTES as u64) {
            Ok(()) => {}
            // A file system that cannot reserve gets the bytes themselves.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                reserved.write_all(&[b' '; RESERVED_BYTES])?;
            }
            Err(error) => return Err(error.into()),
        }
        self.reserved = Some(reserved);
        Ok(())
    }

    /// Puts the record in place, and on the disk, before anybody is told of it.
    pub(crate) fn record(&self, exit: &Exit) -> io::Result<()> {
        match &self.reserved {
            Some(reserved) => self.record_in(reserved, exit),
            None => record::write(&self.dir, record::EXIT, exit),
        }
    }

    fn record_in(&self, reserved: &File, exit: &Exit) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        let bytes = serde_json::to_vec(exit)?;
        reserved.write_all_at(&bytes, 0)?;
        reserved.set_len(bytes.len() as u64)?;
        reserved.sync_all()?;
        let dir = self.dir.as_fd();
        match rustix::fs::renameat(dir, record::EXIT_RESERVED, dir, record::EXIT) {
            // Somebody has removed what was kept free.
            Err(rustix::io::Errno::NOENT) => record::write(dir, record::EXIT, exit),
            renamed => Ok(renamed?),
        }
    }
}
