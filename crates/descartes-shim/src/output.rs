//! Copies one output stream of the agent from its pipe into segments.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::record::StreamEnd;
use crate::segments;

/// A stream is kept in about this many segments, so that dropping one drops little.
const SEGMENTS: u64 = 8;
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;

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

    /// Length of the stream so far.
    pub(crate) fn end(&self) -> StreamEnd {
        StreamEnd {
            bytes: self.writer.next,
            lost: self.writer.lost,
            kept: self.writer.kept,
        }
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
                    self.writer.append(&buffer[..count]);
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

/// Appends to a stream's segments, and keeps at most `bytes_max` of it.
#[derive(Debug)]
struct Writer {
    dir: OwnedFd,
    name: &'static str,
    bytes_max: u64,
    segment_bytes_max: u64,
    /// Offset of the next byte that the agent writes.
    next: u64,
    lost: u64,
    file: Option<File>,
    /// Start and length of the segments on disk, oldest first.
    segments: VecDeque<(u64, u64)>,
    kept: u64,
}

impl Writer {
    fn new(dir: OwnedFd, name: &'static str, bytes_max: u64) -> Self {
        Self {
            dir,
            name,
            bytes_max,
            segment_bytes_max: (bytes_max / SEGMENTS).clamp(1, SEGMENT_BYTES_MAX),
            next: 0,
            lost: 0,
            file: None,
            segments: VecDeque::new(),
            kept: 0,
        }
    }

    /// Appends all of `data`. Bytes that cannot be written are counted and skipped: the agent
    /// never waits for a disk that is full, and a later segment begins after the gap.
    fn append(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let Ok(count) = self.write_some(data) else {
                self.give_up_segment();
                self.next += data.len() as u64;
                self.lost += data.len() as u64;
                return;
            };
            data = &data[count..];
            self.next += count as u64;
        }
    }

    fn write_some(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = match (&self.file, self.segments.back()) {
            (Some(_), Some(&(_, length))) if length < self.segment_bytes_max => {
                self.segment_bytes_max - length
            }
            _ => {
                self.open_segment()?;
                self.segment_bytes_max
            }
        };
        let count = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.make_room(count as u64);
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let written = file.write(&data[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some((_, length)) = self.segments.back_mut() {
            *length += written as u64;
        }
        self.kept += written as u64;
        Ok(written)
    }

    fn open_segment(&mut self) -> io::Result<()> {
        self.file = None;
        if self.segments.is_empty() {
            match rustix::fs::mkdirat(&self.dir, self.name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.dir, self.path(self.next), flags, mode)?;
        self.file = Some(file.into());
        self.segments.push_back((self.next, 0));
        Ok(())
    }

    /// Closes the segment that could not be written. An empty one goes, or a full disk would
    /// gather one for each piece of output.
    fn give_up_segment(&mut self) {
        let was_open = self.file.take().is_some();
        if was_open && let Some(&(start, 0)) = self.segments.back() {
            let _ = rustix::fs::unlinkat(&self.dir, self.path(start), AtFlags::empty());
            self.segments.pop_back();
        }
    }

    /// Drops the oldest segments until `count` more bytes fit. The one being written stays.
    fn make_room(&mut self, count: u64) {
        while self.kept + count > self.bytes_max && self.segments.len() > 1 {
            if let Some((start, length)) = self.segments.pop_front() {
                // A file that cannot be removed is retention's to clear away.
                let _ = rustix::fs::unlinkat(&self.dir, self.path(start), AtFlags::empty());
                self.kept -= length;
            }
        }
    }

    fn path(&self, start: u64) -> String {
        format!("{}/{}", self.name, segments::name(start))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, bytes_max: u64) -> Writer {
        let dir = File::open(dir).unwrap();
        Writer::new(dir.into(), "stdout", bytes_max)
    }

    #[test]
    fn a_stream_above_its_limit_keeps_its_tail_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path(), 800);
        let all: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        for part in all.chunks(77) {
            writer.append(part);
            let extent = segments::extent(&dir.path().join("stdout")).unwrap();
            assert!(extent.bytes <= 800, "{extent:?}");
        }
        let chunk = segments::read(&dir.path().join("stdout"), 0, usize::MAX).unwrap();
        assert!(chunk.data.len() >= 700, "{}", chunk.data.len());
        assert_eq!(chunk.offset, chunk.first_offset);
        assert_eq!(chunk.data, all[usize::try_from(chunk.offset).unwrap()..]);
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_leaves_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path(), 1 << 20);
        writer.append(b"before");
        // A folder in the place of the next segment makes opening it fail.
        std::fs::create_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
        writer.segment_bytes_max = 6;
        writer.append(b"lost");
        writer.append(b"after");
        assert_eq!((writer.next, writer.lost), (15, 4));
        std::fs::remove_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
        let chunk = segments::read(&dir.path().join("stdout"), 6, 100).unwrap();
        assert_eq!((chunk.offset, chunk.data.as_slice()), (10, &b"after"[..]));
    }
}
