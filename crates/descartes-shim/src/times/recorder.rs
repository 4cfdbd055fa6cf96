//! Writes the indexes of one stream.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{Entry, FORMAT, interval_ms};
use crate::record::WallTime;

/// Writes down when the bytes of one stream come.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// The last entry, as long as it is kept.
    last: Option<Entry>,
    /// The index of the segment that is being written, if it has one.
    index: Option<Index>,
}

#[derive(Debug)]
struct Index {
    file: File,
    /// The last entry in it.
    last: Entry,
    bytes: u64,
}

impl Recorder {
    /// Whether the byte that comes now needs an entry, for the last one does not stand for it.
    pub(crate) fn is_due(&self, now: WallTime) -> bool {
        self.last.is_none_or(|last| {
            let stands = last.ms..last.ms.saturating_add(last.interval_ms);
            !stands.contains(&now.millis())
        })
    }

    /// Whether the segment that is being written has an index.
    pub(crate) fn has_index(&self) -> bool {
        self.index.is_some()
    }

    /// Begins the index of the segment that is being written.
    pub(crate) fn begin_index(&mut self, file: File, start: u64) {
        self.index = Some(Index {
            file,
            last: Entry::before(start),
            bytes: 0,
        });
    }

    /// Notes that the byte at `offset` comes now, and returns how many bytes that took. What the
    /// disk refuses is tried again with the next byte.
    pub(crate) fn note(&mut self, offset: u64, now: WallTime) -> u64 {
        let Some(index) = &mut self.index else {
            return 0;
        };
        let before = index.bytes;
        match index.append(offset, now.millis()) {
            Ok(Some(entry)) => self.last = Some(entry),
            Ok(None) => {}
            // Half an entry is stuck at its end: nothing can follow.
            Err(_) => {
                self.index = None;
                return 0;
            }
        }
        index.bytes - before
    }

    /// The next byte begins another segment.
    pub(crate) fn end_segment(&mut self) {
        self.index = None;
    }

    /// Entries below `offset` are gone.
    pub(crate) fn dropped_below(&mut self, offset: u64) {
        self.last = self.last.filter(|last| last.offset >= offset);
    }

    /// Any entry may be gone.
    pub(crate) fn forget(&mut self) {
        self.last = None;
    }

    /// Entries at `offset` and above are gone.
    pub(crate) fn dropped_from(&mut self, offset: u64) {
        self.last = self.last.filter(|last| last.offset < offset);
    }
}

impl Index {
    /// Appends an entry, unless the disk refuses it.
    fn append(&mut self, offset: u64, ms: u64) -> io::Result<Option<Entry>> {
        let mut out = Vec::with_capacity(16);
        if self.bytes == 0 {
            out.push(FORMAT);
        }
        push_number(&mut out, offset.wrapping_sub(self.last.offset));
        push_number(
            &mut out,
            zigzag(ms.wrapping_sub(self.last.ms).cast_signed()),
        );
        if self.file.write_all_at(&out, self.bytes).is_err() {
            self.file.set_len(self.bytes)?;
            return Ok(None);
        }
        self.bytes += out.len() as u64;
        self.last = Entry {
            offset,
            ms,
            interval_ms: interval_ms(self.bytes),
        };
        Ok(Some(self.last))
    }
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Numbers that are near 0 become small ones.
fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63).cast_unsigned()
}
