//! Copies one output stream of the agent from its pipe into segments.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::record::{StreamEnd, WallTime};

mod writer;

use writer::Writer;

/// Most reads of one stream before the loop looks at everything else again.
const READS_A_TURN: usize = 16;

/// One output stream: the pipe's end and the files.
#[derive(Debug)]
pub(crate) struct OutputStream {
    pipe: Option<OwnedFd>,
    writer: Writer,
}

/// What reading from the pipe came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Bytes taken from the pipe.
    pub(crate) bytes: u64,
    /// Whether more may be waiting.
    pub(crate) more: bool,
}

impl OutputStream {
    /// A stream that is written below `dir`, the agent's folder, as `name`.
    pub(crate) fn new(pipe: OwnedFd, dir: OwnedFd, name: &'static str, bytes_max: u64) -> Self {
        Self {
            pipe: Some(pipe),
            writer: Writer::new(dir, name, bytes_max),
        }
    }

    /// The descriptor to wait on, until the agent closed its end.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Goes on below another folder, with nothing of what was written before.
    pub(crate) fn move_to(&mut self, dir: OwnedFd) {
        self.writer.move_to(dir);
    }

    /// Length of the stream so far.
    pub(crate) fn end(&self) -> StreamEnd {
        self.writer.end()
    }

    /// Looks once more at what is on disk, so that the stream's end is told as it is.
    pub(crate) fn settle(&mut self) {
        self.writer.settle();
    }

    /// Takes what the pipe holds, up to a turn's share, and writes it out.
    pub(crate) fn copy(&mut self, buffer: &mut [u8]) -> Copied {
        let mut bytes = 0;
        for _ in 0..READS_A_TURN {
            let Some(pipe) = &self.pipe else {
                return Copied { bytes, more: false };
            };
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(count) if count > 0 => {
                    self.writer.append(&buffer[..count], WallTime::now());
                    bytes += count as u64;
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Copied { bytes, more: false },
                // The end, or a pipe that cannot be read any more.
                Ok(_) | Err(_) => self.pipe = None,
            }
        }
        Copied { bytes, more: true }
    }
}
