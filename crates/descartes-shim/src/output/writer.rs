//! Appends one stream to its segments, and keeps at most so many bytes of it on disk.
//!
//! Whatever happens to the files, the agent does not wait and what is told stays true: bytes that
//! the disk does not take, and bytes whose file somebody else removed or cut, are counted as lost,
//! and a later segment begins after the gap.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::record::{StreamEnd, WallTime};
use crate::{segments, times};

/// A stream is kept in about this many segments, so that dropping one drops little.
const SEGMENTS: u64 = 8;
const SEGMENT_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// A large stream has larger segments rather than more than this many.
const LARGE_SEGMENTS: u64 = 64;
/// Segments that hold less have no index: it would take much of their place.
const TIMED_SEGMENT_BYTES_MIN: u64 = 8 * times::ENTRY_BYTES_MAX;
/// Most segments. Each gap begins another one, and a disk that is full now and then could leave
/// any number.
const SEGMENTS_MAX: usize = 128;

/// How often at most the segment being written is looked for at its name.
const PLACE_INTERVAL_MS: u64 = 1000;

/// Appends to a stream's segments.
#[derive(Debug)]
pub(super) struct Writer {
    dir: OwnedFd,
    name: &'static str,
    bytes_max: u64,
    segment_bytes_max: u64,
    /// Offset of the next byte that the agent writes.
    next: u64,
    lost: u64,
    /// The newest segment, as long as it is written.
    file: Option<File>,
    /// When it was last seen to be in its place.
    seen_at: WallTime,
    times: times::Recorder,
    /// The segments on disk, oldest first.
    segments: VecDeque<Segment>,
    kept: u64,
    index_bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    start: u64,
    length: u64,
    /// Bytes of its index, where it has one.
    index: Option<u64>,
}

impl Segment {
    /// Bytes of both its files.
    fn bytes(self) -> u64 {
        self.length + self.index.unwrap_or(0)
    }
}

impl Writer {
    /// Writes below `dir`, the agent's folder, into the folder `name`.
    pub(super) fn new(dir: OwnedFd, name: &'static str, bytes_max: u64) -> Self {
        let segment_bytes_max = (bytes_max / SEGMENTS).clamp(1, SEGMENT_BYTES_MAX);
        Self {
            dir,
            name,
            bytes_max,
            segment_bytes_max: segment_bytes_max.max(bytes_max / LARGE_SEGMENTS),
            next: 0,
            lost: 0,
            file: None,
            seen_at: WallTime::from_millis(0),
            times: times::Recorder::default(),
            segments: VecDeque::new(),
            kept: 0,
            index_bytes: 0,
        }
    }

    /// Length of the stream so far.
    pub(super) fn end(&self) -> StreamEnd {
        StreamEnd {
            bytes: self.next,
            lost: self.lost,
            kept: self.kept,
        }
    }

    /// Appends all of `data`, which came at `now`. Bytes that cannot be written are counted and
    /// skipped: the agent never waits for a disk that is full. The next bytes are tried again.
    pub(super) fn append(&mut self, mut data: &[u8], now: WallTime) {
        while !data.is_empty() {
            match self.write_some(data, now) {
                Ok(count) => {
                    data = &data[count..];
                    self.next += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another file may take what this one does not, as where the length of files is limited.
                Err(_) if self.give_up_segment() => {}
                Err(_) => {
                    self.next += data.len() as u64;
                    self.lost += data.len() as u64;
                    return;
                }
            }
        }
    }

    /// Goes on below another folder; nothing of what was written before is there.
    pub(super) fn move_to(&mut self, dir: OwnedFd) {
        self.dir = dir;
        self.settle();
    }

    /// Nothing follows: sees what is left of all that was written.
    pub(super) fn settle(&mut self) {
        self.close_segment();
        self.look_for_damage();
    }

    fn write_some(&mut self, data: &[u8], now: WallTime) -> io::Result<usize> {
        self.check_file(now);
        if self.room() == 0 {
            self.open_segment()?;
        }
        let count = data
            .len()
            .min(usize::try_from(self.room()).unwrap_or(usize::MAX));
        self.make_room(count as u64 + self.entry_bytes_max());
        self.note_time(now);
        let (Some(file), Some(segment)) = (&self.file, self.segments.back_mut()) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let written = file.write_at(&data[..count], segment.length)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        segment.length += written as u64;
        self.kept += written as u64;
        Ok(written)
    }

    /// How many bytes the segment that is being written takes besides the entry of their time.
    fn room(&self) -> u64 {
        match (&self.file, self.segments.back()) {
            (Some(_), Some(segment)) => {
                let taken = segment.bytes() + self.entry_bytes_max();
                self.segment_bytes_max.saturating_sub(taken)
            }
            _ => 0,
        }
    }

    /// What an entry of the index may take.
    fn entry_bytes_max(&self) -> u64 {
        if self.segment_bytes_max < TIMED_SEGMENT_BYTES_MIN {
            return 0;
        }
        times::ENTRY_BYTES_MAX
    }

    /// A file that nobody finds any more takes bytes as well as any other, and they are gone. That
    /// it was removed or cut shows at each write; that it was moved, with its folder perhaps, is
    /// looked for now and then.
    fn check_file(&mut self, now: WallTime) {
        let (Some(file), Some(segment)) = (&self.file, self.segments.back()) else {
            return;
        };
        let Ok(stat) = rustix::fs::fstat(file) else {
            return self.suspect_damage();
        };
        let is_whole = stat.st_nlink > 0 && length_of(&stat) >= segment.length;
        // Either way: the clock may have been set.
        let is_due = now.millis().abs_diff(self.seen_at.millis()) >= PLACE_INTERVAL_MS;
        if !is_whole || (is_due && !self.is_in_place(*segment, &stat)) {
            return self.suspect_damage();
        }
        if is_due {
            self.seen_at = now;
        }
    }

    fn suspect_damage(&mut self) {
        self.close_segment();
        self.look_for_damage();
    }

    /// Whether the segment's name leads to this file. Where that cannot be seen, it does.
    fn is_in_place(&self, segment: Segment, file: &rustix::fs::Stat) -> bool {
        let path = self.path(&segments::name(segment.start));
        match rustix::fs::statat(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino),
            Err(error) => !matches!(error, rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR),
        }
    }

    fn open_segment(&mut self) -> io::Result<()> {
        self.close_segment();
        self.look_for_damage();
        if self.segments.is_empty() {
            match rustix::fs::mkdirat(&self.dir, self.name, Mode::RWXU) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.file = Some(self.create(&segments::name(self.next))?);
        if self.segments.len() >= SEGMENTS_MAX {
            self.drop_oldest();
        }
        self.segments.push_back(Segment {
            start: self.next,
            length: 0,
            index: None,
        });
        Ok(())
    }

    fn close_segment(&mut self) {
        self.file = None;
        self.times.end_segment();
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
        if !self.times.is_due(now) || self.entry_bytes_max() == 0 {
            return;
        }
        if !self.times.has_index()
            && let Some(&Segment { start, .. }) = self.segments.back()
            && let Ok(file) = self.create(&times::name(start))
        {
            self.times.begin_index(file, start);
            if let Some(segment) = self.segments.back_mut() {
                segment.index = Some(0);
            }
        }
        let noted = self.times.note(self.next, now);
        if let Some(bytes) = self.segments.back_mut().and_then(|it| it.index.as_mut()) {
            *bytes += noted;
            self.index_bytes += noted;
        }
    }

    /// Closes the segment that could not be written, and returns whether it holds something. An
    /// empty one goes, or a full disk would gather one for each piece of output.
    fn give_up_segment(&mut self) -> bool {
        let was_open = self.file.is_some();
        self.close_segment();
        if was_open && let Some(empty) = self.segments.pop_back_if(|segment| segment.length == 0) {
            self.remove_segment(empty);
            self.times.dropped_from(empty.start);
            return false;
        }
        was_open
    }

    /// Drops the oldest segments until `count` more bytes fit. The one being written stays.
    fn make_room(&mut self, count: u64) {
        while self.kept + self.index_bytes + count > self.bytes_max && self.segments.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.segments.pop_front() {
            self.remove_segment(oldest);
        }
        let first = self.segments.front().map_or(self.next, |it| it.start);
        self.times.dropped_below(first);
    }

    /// Counts what somebody else removed or cut as lost. All of it can be gone, folder and all.
    fn look_for_damage(&mut self) {
        for segment in std::mem::take(&mut self.segments) {
            let length = self.length_on_disk(segment);
            let gone = segment.length.saturating_sub(length);
            self.lost += gone;
            if gone > 0 || length == 0 {
                // What the last entry stands for may have gone with it.
                self.times.forget();
            }
            if length == 0 {
                self.remove_segment(segment);
            } else {
                self.kept -= gone;
                self.segments.push_back(Segment { length, ..segment });
            }
        }
    }

    fn length_on_disk(&self, segment: Segment) -> u64 {
        let path = self.path(&segments::name(segment.start));
        match rustix::fs::statat(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => segment.length.min(length_of(&stat)),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => 0,
            // It cannot be seen now, which does not say that it is gone.
            Err(_) => segment.length,
        }
    }

    /// Removes the files of a segment that is no longer in the list.
    fn remove_segment(&mut self, segment: Segment) {
        self.remove(&segments::name(segment.start));
        self.kept -= segment.length;
        if let Some(bytes) = segment.index {
            self.remove(&times::name(segment.start));
            self.index_bytes -= bytes;
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

fn length_of(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or(0)
}

#[cfg(test)]
mod tests;
