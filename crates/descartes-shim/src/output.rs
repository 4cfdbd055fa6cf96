//! Copies one output stream of the agent from its pipe into segments.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::record::{StreamEnd, WallTime};
use crate::{segments, times};

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

    /// Goes on below another folder, with nothing of what was written before.
    pub(crate) fn move_to(&mut self, dir: OwnedFd) {
        self.writer.move_to(dir);
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
    times: times::Recorder,
    /// The segments on disk, oldest first.
    segments: VecDeque<Segment>,
    kept: u64,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u64,
    length: u64,
    has_index: bool,
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
            times: times::Recorder::default(),
            segments: VecDeque::new(),
            kept: 0,
        }
    }

    fn move_to(&mut self, dir: OwnedFd) {
        self.dir = dir;
        self.file = None;
        self.times.end_segment();
        self.segments.clear();
        self.lost += std::mem::take(&mut self.kept);
        self.times.dropped_below(self.next);
    }

    /// Appends all of `data`, which came at `now`. Bytes that cannot be written are counted and
    /// skipped: the agent never waits for a disk that is full, and a later segment begins after
    /// the gap.
    fn append(&mut self, mut data: &[u8], now: WallTime) {
        while !data.is_empty() {
            let Ok(count) = self.write_some(data, now) else {
                self.give_up_segment();
                self.next += data.len() as u64;
                self.lost += data.len() as u64;
                return;
            };
            data = &data[count..];
            self.next += count as u64;
        }
    }

    fn write_some(&mut self, data: &[u8], now: WallTime) -> io::Result<usize> {
        let room = match (&self.file, self.segments.back()) {
            (Some(_), Some(segment)) if segment.length < self.segment_bytes_max => {
                self.segment_bytes_max - segment.length
            }
            _ => {
                self.open_segment()?;
                self.segment_bytes_max
            }
        };
        let count = data.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.make_room(count as u64);
        self.note_time(now);
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        let written = file.write(&data[..count])?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.length += written as u64;
        }
        self.kept += written as u64;
        Ok(written)
    }

    fn open_segment(&mut self) -> io::Result<()> {
        self.file = None;
        self.times.end_segment();
        if self.segments.is_empty() {
            match rustix::fs::mkdirat(&self.dir, self.name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file = Some(self.create(&segments::name(self.next))?);
        self.segments.push_back(Segment {
            start: self.next,
            length: 0,
            has_index: false,
        });
        Ok(())
    }

    fn create(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.dir, self.path(name), flags, mode)?;
        Ok(file.into())
    }

    /// Notes when the next byte came, before it is written: who finds it finds its time. Where the
    /// disk has no place for that, the output is written all the same.
    fn note_time(&mut self, now: WallTime) {
        if !self.times.is_due(now) {
            return;
        }
        if !self.times.has_index()
            && let Some(&Segment { start, .. }) = self.segments.back()
            && let Ok(file) = self.create(&times::name(start))
        {
            self.times.begin_index(file, start);
            if let Some(segment) = self.segments.back_mut() {
                segment.has_index = true;
            }
        }
        self.times.note(self.next, now);
    }

    /// Closes the segment that could not be written. An empty one goes, or a full disk would
    /// gather one for each piece of output.
    fn give_up_segment(&mut self) {
        let was_open = self.file.take().is_some();
        self.times.end_segment();
        if was_open && let Some(empty) = self.segments.pop_back_if(|segment| segment.length == 0) {
            self.remove_segment(empty);
            self.times.dropped_from(empty.start);
        }
    }

    /// Drops the oldest segments until `count` more bytes fit. The one being written stays.
    fn make_room(&mut self, count: u64) {
        while self.kept + count > self.bytes_max && self.segments.len() > 1 {
            if let Some(oldest) = self.segments.pop_front() {
                self.remove_segment(oldest);
                self.kept -= oldest.length;
            }
            let first = self.segments.front().map_or(self.next, |it| it.start);
            self.times.dropped_below(first);
        }
    }

    fn remove_segment(&self, segment: Segment) {
        self.remove(&segments::name(segment.start));
        if segment.has_index {
            self.remove(&times::name(segment.start));
        }
    }

    fn remove(&self, name: &str) {
        // A file that cannot be removed is retention's to clear away.
        let _ = rustix::fs::unlinkat(&self.dir, self.path(name), AtFlags::empty());
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer(dir: &std::path::Path, bytes_max: u64) -> Writer {
        let dir = File::open(dir).unwrap();
        Writer::new(dir.into(), "stdout", bytes_max)
    }

    fn at(ms: u64) -> WallTime {
        WallTime::from_millis(ms)
    }

    fn names(dir: &std::path::Path) -> Vec<String> {
        let files = std::fs::read_dir(dir.join("stdout")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_stream_above_its_limit_keeps_its_tail_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = writer(dir.path(), 800);
        let all: Vec<u8> = (0..10_000_u32).map(|n| (n % 251) as u8).collect();
        for part in all.chunks(77) {
            writer.append(part, at(0));
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
        writer.append(b"before", at(0));
        // A folder in the place of the next segment makes opening it fail.
        std::fs::create_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
        writer.segment_bytes_max = 6;
        writer.append(b"lost", at(0));
        writer.append(b"after", at(0));
        assert_eq!((writer.next, writer.lost), (15, 4));
        std::fs::remove_dir(dir.path().join("stdout").join(segments::name(6))).unwrap();
        let chunk = segments::read(&dir.path().join("stdout"), 6, 100).unwrap();
        assert_eq!((chunk.offset, chunk.data.as_slice()), (10, &b"after"[..]));
    }

    /// The offsets and times of the entries that are kept.
    fn entries(stdout: &std::path::Path) -> Vec<(u64, u64)> {
        let found = times::between(stdout, 0, u64::MAX, usize::MAX).unwrap();
        let known = found.known.iter();
        known.map(|it| (it.offset, it.time.millis())).collect()
    }

    #[test]
    fn times_go_with_the_segments_that_they_belong_to() {
        let dir = tempfile::tempdir().unwrap();
        let stdout = dir.path().join("stdout");
        let mut writer = writer(dir.path(), 80);
        writer.append(b"0123456789ab", at(1000));
        writer.append(b"cd", at(1009));
        writer.append(b"ef", at(1010));
        assert_eq!(entries(&stdout), [(0, 1000), (14, 1010)]);
        // A second of silence, then a flood within one millisecond.
        writer.append(&[b'x'; 1000], at(2000));
        let starts = segments::starts(&stdout).unwrap();
        assert_eq!(starts.len(), 8);
        let indexes: Vec<_> = starts.iter().copied().map(times::name).collect();
        let others = names(dir.path())
            .into_iter()
            .filter(|name| name.ends_with("times") && !indexes.contains(name));
        assert_eq!(others.count(), 0, "an index outlived its segment");
        let kept = entries(&stdout);
        assert!(kept.len() == 1 && kept[0].0 >= starts[0], "{kept:?}");
        assert_eq!(kept[0].1, 2000);
    }

    #[test]
    fn a_flood_costs_few_indexes_and_always_leaves_one() {
        let dir = tempfile::tempdir().unwrap();
        let stdout = dir.path().join("stdout");
        let mut writer = writer(dir.path(), 80);
        for _ in 0..1000 {
            writer.append(b"1234567", at(5));
            let indexes = names(dir.path());
            let indexes = indexes.iter().filter(|name| name.ends_with("times"));
            assert_eq!(indexes.count(), 1);
            assert_eq!(entries(&stdout).len(), 1);
        }
    }

    #[test]
    fn output_without_a_place_for_its_times_is_written_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let stdout = dir.path().join("stdout");
        std::fs::create_dir_all(stdout.join(times::name(0))).unwrap();
        let mut writer = writer(dir.path(), 80);
        writer.append(b"0123456789ab", at(1000));
        assert_eq!(
            segments::read(&stdout, 0, 99).unwrap().data,
            b"0123456789ab"
        );
        assert_eq!(writer.lost, 0);
        // The next segment has a place.
        assert_eq!(entries(&stdout), [(10, 1000)]);
    }

    #[test]
    fn bytes_that_were_lost_leave_no_time_in_a_segment_that_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let stdout = dir.path().join("stdout");
        let mut writer = writer(dir.path(), 80);
        writer.open_segment().unwrap();
        // Opened for reading, so that writing to it fails.
        writer.file = Some(File::open(stdout.join(segments::name(0))).unwrap());
        writer.append(b"lost", at(1000));
        assert_eq!(names(dir.path()), Vec::<String>::new());
        writer.append(b"kept", at(1001));
        assert_eq!(entries(&stdout), [(4, 1001)]);
    }
}
