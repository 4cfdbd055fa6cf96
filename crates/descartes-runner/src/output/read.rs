//! Reads a stream piece by piece.

use std::io;
use std::path::Path;
use std::time::Duration;

use descartes_protocol::limits::MAX_TIMES_IN_REPLY;
use descartes_protocol::{OutputTime, Stream, Timestamp};
use descartes_shim::record::WallTime;
use descartes_shim::{segments, times};

use crate::agent::timestamp;

/// Some output of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputChunk {
    /// Offset of the first byte of `data`; above the one asked for where bytes are gone.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// The offset to go on from.
    pub next_offset: u64,
    /// Offset of the oldest byte that is kept.
    pub first_offset: u64,
    /// Whether nothing will follow.
    pub eof: bool,
    /// When the bytes arrived, if that was asked for: the first entry is that of the first byte.
    /// When bytes before the first entry arrived is not known.
    pub times: Vec<OutputTime>,
}

/// What to read of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputRead {
    /// Which one.
    pub stream: Stream,
    /// The first byte; `None`: at the stream's cursor, which moves.
    pub offset: Option<u64>,
    /// Begin where the output begins that arrived at this time or later, if that is behind
    /// `offset`. Without `offset` the cursor is neither used nor moved.
    pub since: Option<Timestamp>,
    /// At most so many bytes.
    pub max: u64,
    /// How long to wait if there is nothing yet.
    pub wait: Duration,
    /// Whether to tell when the bytes arrived.
    pub times: bool,
}

impl OutputRead {
    /// All of a stream that is kept and one read brings, without waiting.
    #[must_use]
    pub fn all(stream: Stream) -> Self {
        Self {
            stream,
            offset: Some(0),
            since: None,
            max: u64::MAX,
            wait: Duration::ZERO,
            times: false,
        }
    }
}

/// How long a stream is, by its shim's word from before it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    /// It has ended, and is no longer.
    Ended(u64),
    /// It may be longer by now.
    SoFar(u64),
}

/// Reads a chunk of a stream. Blocks.
pub(crate) fn read(dir: &Path, offset: u64, max: usize, length: Length) -> io::Result<OutputChunk> {
    let chunk = segments::read(dir, offset, max)?;
    let mut found = OutputChunk {
        next_offset: chunk.offset + chunk.data.len() as u64,
        offset: chunk.offset,
        data: chunk.data,
        first_offset: chunk.first_offset,
        ..OutputChunk::default()
    };
    let (Length::Ended(told) | Length::SoFar(told)) = length;
    if found.data.is_empty()
        && found.offset < told
        && max > 0
        && segments::extent(dir)?.end <= found.offset
    {
        // The last bytes could not be written: they are stepped over like any other gap.
        found.offset = told;
        found.next_offset = told;
    }
    found.eof = matches!(length, Length::Ended(end) if found.next_offset >= end);
    Ok(found)
}

/// Reads as [`read`] does, and when the bytes arrived. The chunk ends before what has no place in
/// the list of times. Blocks.
pub(crate) fn read_with_times(
    dir: &Path,
    offset: u64,
    max: usize,
    length: Length,
) -> io::Result<OutputChunk> {
    let mut found = read(dir, offset, max, length)?;
    let up_to = found.offset + found.data.len() as u64;
    let arrivals = times::between(dir, found.offset, up_to, MAX_TIMES_IN_REPLY)?;
    if arrivals.end < up_to {
        let kept = usize::try_from(arrivals.end - found.offset).unwrap_or(usize::MAX);
        found.data.truncate(kept);
        found.next_offset = arrivals.end;
        found.eof = false;
    }
    let known = arrivals.known.into_iter().map(|arrival| OutputTime {
        offset: arrival.offset,
        time: timestamp(arrival.time),
    });
    found.times = known.collect();
    Ok(found)
}

/// Where the output begins that arrived at `time` or later. Blocks.
pub(crate) fn since(dir: &Path, time: Timestamp) -> io::Result<u64> {
    let time = WallTime {
        secs: time.secs_since_epoch,
        nanos: time.nanos_since_epoch,
    };
    times::since(dir, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_with_times_ends_before_the_first_byte_whose_time_has_no_place() {
        let dir = tempfile::tempdir().unwrap();
        let stream = dir.path();
        std::fs::write(stream.join(segments::name(0)), [b'x'; 5000]).unwrap();
        // A second after 1970, and then another byte each 20 ms.
        let mut index = vec![1, 0, 0xd0, 0x0f];
        index.extend([1, 40].repeat(4999));
        std::fs::write(stream.join(times::name(0)), index).unwrap();
        let first = read_with_times(stream, 100, 8192, Length::Ended(5000)).unwrap();
        assert_eq!((first.data.len(), first.next_offset), (4096, 4196));
        assert_eq!((first.times.len(), first.eof), (4096, false));
        let time = Timestamp {
            secs_since_epoch: 3,
            nanos_since_epoch: 0,
        };
        assert_eq!(first.times[0], OutputTime { offset: 100, time });
        let rest = read_with_times(stream, 4196, 8192, Length::Ended(5000)).unwrap();
        assert_eq!((rest.times.len(), rest.eof), (804, true));
        assert_eq!(since(stream, time).unwrap(), 100);
    }

    #[test]
    fn lost_bytes_at_the_end_are_stepped_over() {
        let dir = tempfile::tempdir().unwrap();
        let stream = dir.path();
        std::fs::write(stream.join(segments::name(0)), b"kept").unwrap();
        let first = read(stream, 0, 100, Length::Ended(9)).unwrap();
        assert_eq!((first.next_offset, first.eof), (4, false));
        let last = read(stream, 4, 100, Length::Ended(9)).unwrap();
        assert_eq!((last.offset, last.next_offset, last.eof), (9, 9, true));
    }
}
