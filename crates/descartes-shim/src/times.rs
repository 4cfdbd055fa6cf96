//! When output arrived: an index beside a segment.
//!
//! The index of the segment `<start>` is `<start>.times`: a byte that says its format, then
//! entries. An entry is two numbers, the offset of a byte in the stream and the time in
//! milliseconds when it came, as differences to the entry before; for the first, to the segment's
//! start and to 1970. Offsets ascend; times need not, for clocks are set. A number is seven bits a
//! byte, the lowest first, the eighth bit on all but its last byte; a difference of times has its
//! sign in the lowest bit.
//!
//! An entry stands for its byte and all that follow up to the next entry, be it in this segment or
//! a later one: these came within 10 ms after it, or within 20 ms where the entry ends in the
//! second 64 KiB of its index, 40 ms in the third, and so on. So a segment that was filled within
//! that time has no index. An entry is written before its bytes are, so who finds bytes finds when
//! they came; it may be left without bytes.
//!
//! Times are only as good as could be had. What came before the first entry that is kept has none;
//! the shims of earlier versions wrote none at all. After a crash of the host the last ones can be
//! missing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::record::WallTime;
use crate::segments;

mod recorder;

pub(crate) use recorder::Recorder;

/// What the first byte of an index says.
const FORMAT: u8 = 1;

/// Least time between two entries.
const INTERVAL_MS: u64 = 10;

/// After so many bytes of an index the interval doubles, so that one who writes a byte now and then
/// for days does not leave more index than output.
const INTERVAL_BYTES: u64 = 64 * 1024;

/// Most doublings: the interval is three hours then.
const DOUBLINGS_MAX: u64 = 20;

/// Most bytes that an entry adds to an index: the format, and two numbers of ten bytes.
pub(crate) const ENTRY_BYTES_MAX: u64 = 21;

/// More than an index can have.
const INDEX_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// When some byte of a stream came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    /// Offset of the byte.
    pub offset: u64,
    /// When it came, to the millisecond. Those that follow, up to the next arrival, came at most
    /// 10 ms later, or longer where output came in drops for a long time.
    pub time: WallTime,
}

/// When the bytes of a part of a stream came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Arrivals {
    /// What is known, in the order of offsets. When bytes before the first one came is not known.
    pub known: Vec<Arrival>,
    /// Up to which offset that holds; below the end of the part where there are more arrivals
    /// than were asked for.
    pub end: u64,
}

/// The name of the index of the segment that begins at `start`.
#[must_use]
pub fn name(start: u64) -> String {
    format!("{}.times", segments::name(start))
}

/// When the bytes from `from` up to `to` came: at most `most` arrivals, the first one of them at
/// `from` if that is known.
///
/// # Errors
/// Whatever reading the folder says. An index that cannot be read counts as missing.
pub fn between(dir: &Path, from: u64, to: u64, most: usize) -> io::Result<Arrivals> {
    let mut found = Arrivals {
        known: Vec::new(),
        end: to,
    };
    if from >= to {
        return Ok(found);
    }
    let starts = segments::starts(dir)?;
    let behind = starts.partition_point(|&start| start <= from);
    let stands_for_from = |index: &usize| {
        let first = entries(dir, starts[*index]).next();
        first.is_some_and(|entry| entry.offset <= from)
    };
    let first = (0..behind).rev().find(stands_for_from);
    let first = first.unwrap_or(behind.saturating_sub(1));
    for &start in starts[first..].iter().take_while(|&&start| start < to) {
        for entry in entries(dir, start).take_while(|entry| entry.offset < to) {
            let arrival = Arrival {
                offset: entry.offset.max(from),
                time: WallTime::from_millis(entry.ms),
            };
            if entry.offset <= from {
                // Of those before `from` the last one stands for it.
                found.known.clear();
            }
            if found.known.len() == most {
                found.end = arrival.offset;
                return Ok(found);
            }
            found.known.push(arrival);
        }
    }
    Ok(found)
}

/// Where the output begins that came at `time` or later: behind the last byte that is known to have
/// come before. So bytes of unknown time count as new unless later ones are known to be old.
///
/// # Errors
/// Whatever reading the folder says. An index that cannot be read counts as missing.
pub fn since(dir: &Path, time: WallTime) -> io::Result<u64> {
    let time = time.millis();
    let is_old = |entry: Entry| entry.ms.saturating_add(entry.interval_ms) <= time;
    // Before any index is read: they have the times of all bytes that are there by now.
    let mut new_from = segments::extent(dir)?.end;
    for start in segments::starts(dir)?.into_iter().rev() {
        let mut entries = entries(dir, start).peekable();
        let first = entries.peek().map(|first| first.offset);
        let mut begins = None;
        while let Some(entry) = entries.next() {
            if is_old(entry) {
                let next = entries.peek().map(|next| next.offset);
                begins = Some(next.unwrap_or(new_from.max(entry.offset)));
            }
        }
        if let Some(offset) = begins {
            return Ok(offset);
        }
        new_from = first.unwrap_or(new_from);
    }
    Ok(0)
}

/// An entry of an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    offset: u64,
    ms: u64,
    /// Bytes that it stands for came before so much time was over.
    interval_ms: u64,
}

impl Entry {
    /// What the first entry of a segment's index is the difference to.
    fn before(start: u64) -> Self {
        Self {
            offset: start,
            ms: 0,
            interval_ms: 0,
        }
    }
}

/// Least time between the entry that ends after so many bytes of an index and the next one.
fn interval_ms(bytes: u64) -> u64 {
    INTERVAL_MS << (bytes / INTERVAL_BYTES).min(DOUBLINGS_MAX)
}

/// The entries of the index of the segment that begins at `start`, as far as it can be read.
fn entries(dir: &Path, start: u64) -> Entries<impl BufRead> {
    let file = File::open(dir.join(name(start))).ok();
    let file = file.map(|file| BufReader::new(file.take(INDEX_BYTES_MAX)));
    Entries::new(file, start)
}

/// Reads the entries of an index. Whatever is no entry is the end.
struct Entries<R> {
    input: Option<R>,
    last: Entry,
    bytes: u64,
}

impl<R: BufRead> Entries<R> {
    fn new(input: Option<R>, start: u64) -> Self {
        let mut entries = Self {
            input,
            last: Entry::before(start),
            bytes: 0,
        };
        if entries.byte() != Some(FORMAT) {
            entries.input = None;
        }
        entries
    }

    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.input.as_mut()?.read_exact(&mut byte).ok()?;
        self.bytes += 1;
        Some(byte[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits > u64::MAX >> shift {
                return None;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn entry(&mut self) -> Option<Entry> {
        let is_first = self.bytes == 1;
        let step = self.number().filter(|&step| step > 0 || is_first)?;
        let offset = self.last.offset.checked_add(step)?;
        let ms = self.last.ms.checked_add_signed(unzigzag(self.number()?))?;
        Some(Entry {
            offset,
            ms,
            interval_ms: interval_ms(self.bytes),
        })
    }
}

impl<R: BufRead> Iterator for Entries<R> {
    type Item = Entry;

    fn next(&mut self) -> Option<Entry> {
        let entry = self.entry();
        match entry {
            Some(entry) => self.last = entry,
            None => self.input = None,
        }
        entry
    }
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

#[cfg(test)]
mod tests;
