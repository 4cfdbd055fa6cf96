//! Where an output stream lies on disk: an append-only sequence of bytes, cut into files.
//!
//! A stream's folder holds *segments*. A segment's name is the offset of its first byte in the
//! stream, in twenty decimal digits, so that names sort as offsets do. The shim appends to the
//! last one and removes the first ones when the stream outgrows its limit. Where a segment begins
//! above the end of the one before it, the bytes between could not be written and are gone.
//!
//! Reading needs no word from the shim, and works after it has gone.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How often a read starts over because the segment that it wanted was removed meanwhile.
const ATTEMPTS: usize = 16;

/// Digits of a segment's name: as many as the largest offset has.
const NAME_DIGITS: usize = 20;

/// Above every segment, and so low that no offset in a file that begins there overflows.
const START_MAX: u64 = 1 << 62;

/// Some bytes of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// Offset of the first byte of `data`; above the one asked for where bytes are gone.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// Offset of the oldest byte that is kept.
    pub first_offset: u64,
}

/// The part of a stream that is on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extent {
    /// Offset of the oldest byte that is kept.
    pub first: u64,
    /// Offset after the newest one.
    pub end: u64,
    /// Bytes on disk: less than `end - first` where some could not be written.
    pub bytes: u64,
}

/// The name of the segment that begins at `offset`.
#[must_use]
pub fn name(offset: u64) -> String {
    format!("{offset:0NAME_DIGITS$}")
}

/// Offsets at which the segments in `dir` begin, in order. A folder that does not exist has none, nor has what is no folder.
///
/// # Errors
/// Whatever reading the folder says.
pub fn starts(dir: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        // Somebody may have put a file in its place.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut starts = Vec::new();
    for entry in entries {
        if let Some(start) = entry?.file_name().to_str().and_then(start) {
            starts.push(start);
        }
    }
    starts.sort_unstable();
    Ok(starts)
}

/// The offset at which a segment begins; `None` for the name of any other file.
fn start(name: &str) -> Option<u64> {
    let is_one = name.len() == NAME_DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    let start = name.parse().ok().filter(|_| is_one)?;
    (start <= START_MAX).then_some(start)
}

/// Which part of the stream in `dir` is on disk.
///
/// # Errors
/// Whatever reading the folder says.
pub fn extent(dir: &Path) -> io::Result<Extent> {
    let mut extent = Extent::default();
    for (index, start) in starts(dir)?.into_iter().enumerate() {
        // A segment that was removed since the folder was read counts as empty.
        let length = fs::metadata(dir.join(name(start))).map_or(0, |metadata| metadata.len());
        if index == 0 {
            extent.first = start;
        }
        extent.end = start + length;
        extent.bytes += length;
    }
    Ok(extent)
}

/// Reads at most `max` bytes from `offset` on. Empty at the end of what is there.
///
/// # Errors
/// Whatever opening and reading the files says.
pub fn read(dir: &Path, offset: u64, max: usize) -> io::Result<Chunk> {
    for _ in 0..ATTEMPTS {
        match read_once(dir, offset, max) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
    }
    // The writer outran every attempt: what was asked for is gone, and the reader asks again.
    let first_offset = extent(dir)?.first;
    Ok(Chunk {
        offset: offset.max(first_offset),
        data: Vec::new(),
        first_offset,
    })
}

/// Reads at most `max` bytes that end at `end`, or where there are no more just below `end`, at the
/// last one below it. Empty where nothing below `end` is kept.
///
/// # Errors
/// Whatever opening and reading the files says.
pub fn read_back(dir: &Path, end: u64, max: usize) -> io::Result<Chunk> {
    for _ in 0..ATTEMPTS {
        let kept = kept_below(dir, end, max as u64)?;
        let wanted = usize::try_from(kept.end - kept.start).unwrap_or(usize::MAX);
        let mut chunk = read(dir, kept.start, wanted)?;
        let left = kept.end.saturating_sub(chunk.offset);
        chunk
            .data
            .truncate(usize::try_from(left).unwrap_or(usize::MAX));
        if kept.is_empty() || chunk.offset + (chunk.data.len() as u64) == kept.end {
            return Ok(chunk);
        }
        // The writer has removed some of it meanwhile: what is kept begins further on by now.
    }
    Ok(Chunk {
        offset: end,
        data: Vec::new(),
        first_offset: extent(dir)?.first,
    })
}

/// The last bytes below `end` that are kept and stand together, `max` at most.
fn kept_below(dir: &Path, end: u64, max: u64) -> io::Result<Range<u64>> {
    let mut kept: Option<Range<u64>> = None;
    for start in starts(dir)?.into_iter().rev() {
        if start >= end {
            continue;
        }
        // A segment that was removed since the folder was read counts as empty.
        let length = fs::metadata(dir.join(name(start))).map_or(0, |metadata| metadata.len());
        let segment = start..end.min(start + length);
        kept = match kept {
            None if segment.is_empty() => None,
            None => Some(segment),
            Some(later) if segment.end >= later.start => Some(segment.start..later.end),
            Some(_) => break,
        };
        if kept
            .as_ref()
            .is_some_and(|kept| kept.end - kept.start >= max)
        {
            break;
        }
    }
    let kept = kept.unwrap_or(end..end);
    Ok(kept.start.max(kept.end.saturating_sub(max))..kept.end)
}

fn read_once(dir: &Path, offset: u64, max: usize) -> io::Result<Chunk> {
    let starts = starts(dir)?;
    let first_offset = starts.first().copied().unwrap_or(0);
    let mut chunk = Chunk {
        offset: offset.max(first_offset),
        data: Vec::new(),
        first_offset,
    };
    let from = starts
        .partition_point(|&start| start <= chunk.offset)
        .saturating_sub(1);
    for &start in &starts[from.min(starts.len())..] {
        if chunk.data.len() >= max {
            break;
        }
        let position = chunk.offset + chunk.data.len() as u64;
        if start > position {
            if !chunk.data.is_empty() {
                break;
            }
            chunk.offset = start;
        }
        let position = chunk.offset + chunk.data.len() as u64;
        let file = match File::open(dir.join(name(start))) {
            // Removed under the reader: what is in hand is still good.
            Err(_) if !chunk.data.is_empty() => break,
            result => result?,
        };
        append(&file, position - start, max, &mut chunk.data)?;
    }
    Ok(chunk)
}

/// Appends the file's bytes from `position` on, until `data` holds `max` bytes.
fn append(file: &File, mut position: u64, max: usize, data: &mut Vec<u8>) -> io::Result<()> {
    let left = file.metadata()?.len().saturating_sub(position);
    let wanted = usize::try_from(left)
        .unwrap_or(usize::MAX)
        .min(max - data.len());
    let mut filled = data.len();
    data.resize(filled + wanted, 0);
    while filled < data.len() {
        match file.read_at(&mut data[filled..], position) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                position += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    data.truncate(filled);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(dir: &Path, start: u64, data: &[u8]) {
        fs::write(dir.join(name(start)), data).unwrap();
    }

    #[test]
    fn a_read_crosses_segments_and_stops_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 0, b"hello ");
        segment(dir.path(), 6, b"world");
        let chunk = read(dir.path(), 2, 100).unwrap();
        assert_eq!(
            (chunk.offset, chunk.data.as_slice()),
            (2, &b"llo world"[..])
        );
        assert_eq!(read(dir.path(), 11, 100).unwrap().data, b"");
        assert_eq!(read(dir.path(), 4, 4).unwrap().data, b"o wo");
    }

    #[test]
    fn a_read_before_the_first_kept_byte_starts_at_it() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 100, b"abc");
        let chunk = read(dir.path(), 7, 2).unwrap();
        assert_eq!((chunk.offset, chunk.first_offset), (100, 100));
        assert_eq!(chunk.data, b"ab");
    }

    #[test]
    fn a_gap_is_stepped_over_by_a_chunk_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 0, b"abc");
        segment(dir.path(), 10, b"xyz");
        let before = read(dir.path(), 0, 100).unwrap();
        assert_eq!((before.offset, before.data.as_slice()), (0, &b"abc"[..]));
        let after = read(dir.path(), 3, 100).unwrap();
        assert_eq!((after.offset, after.data.as_slice()), (10, &b"xyz"[..]));
        assert_eq!(
            extent(dir.path()).unwrap(),
            Extent {
                first: 0,
                end: 13,
                bytes: 6
            }
        );
    }

    #[test]
    fn a_read_backwards_crosses_segments_and_stops_at_a_gap() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 2, b"abc");
        segment(dir.path(), 5, b"def");
        segment(dir.path(), 1000, b"xyz");
        segment(dir.path(), 1003, b"");
        let back = |end, max| {
            let chunk = read_back(dir.path(), end, max).unwrap();
            (chunk.offset, String::from_utf8(chunk.data).unwrap())
        };
        assert_eq!(back(1003, 100), (1000, "xyz".to_owned()));
        assert_eq!(back(5000, 2), (1001, "yz".to_owned()));
        assert_eq!(back(1000, 4), (4, "cdef".to_owned()));
        assert_eq!(back(7, 3), (4, "cde".to_owned()));
        assert_eq!(back(4, 100), (2, "ab".to_owned()));
        assert_eq!(back(2, 100).1, "");
    }

    #[test]
    fn where_no_folder_is_there_is_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "0").unwrap();
        for nowhere in [file, dir.path().join("missing")] {
            assert_eq!(extent(&nowhere).unwrap(), Extent::default());
            let chunk = read(&nowhere, 7, 100).unwrap();
            assert_eq!((chunk.offset, chunk.data.as_slice()), (7, &b""[..]));
        }
    }

    #[test]
    fn files_that_are_no_segments_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        segment(dir.path(), 0, b"abc");
        let names = ["3", "+0000000000000000003", "00000000000000000003.times"];
        for other in names {
            fs::write(dir.path().join(other), b"other").unwrap();
        }
        segment(dir.path(), u64::MAX, b"beyond all offsets");
        assert_eq!(read(dir.path(), 0, 100).unwrap().data, b"abc");
        assert_eq!(extent(dir.path()).unwrap().end, 3);
    }

    #[test]
    fn a_stream_without_output_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("stdout");
        assert_eq!(
            read(&missing, 5, 10).unwrap(),
            Chunk {
                offset: 5,
                ..Chunk::default()
            }
        );
        assert_eq!(extent(&missing).unwrap(), Extent::default());
    }
}
