//! Reads what agents wrote, from the segments that their shims left.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use descartes_protocol::Stream;
use descartes_shim::segments;
use regex::bytes::Regex;

mod read;

pub(crate) use read::{Length, read, read_with_times, since};
pub use read::{OutputChunk, OutputRead};

/// A line longer than this is cut here and goes on as the next line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Which lines to look for.
#[derive(Debug, Clone)]
pub struct LineQuery {
    /// In which streams, in this order.
    pub streams: Vec<Stream>,
    /// Only lines that match.
    pub filter: Option<Regex>,
    /// Skip so many of the matching lines; from the end if `tail`.
    pub offset: u64,
    /// Return at most so many.
    pub limit: u64,
    /// The last lines rather than the first.
    pub tail: bool,
    /// Return at most so many bytes of lines; a first line that is longer is returned all the same.
    pub bytes_max: usize,
    /// Give up then.
    pub deadline: Instant,
}

/// The lines that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines in order, without their newlines; bytes that are no UTF-8 are replaced by U+FFFD.
    pub lines: Vec<String>,
    /// How many lines match altogether.
    pub total: u64,
    /// Whether lines are left out at the end (with `tail`: at the beginning).
    pub has_more: bool,
}

/// The folder of one stream.
pub(crate) fn stream_dir(agent_dir: &Path, stream: Stream) -> PathBuf {
    agent_dir.join(stream.as_str())
}

/// Looks for lines in an agent's output. Memory is bounded by the answer, time by what is kept of
/// the streams; the expression's matching time is linear. Blocks.
pub(crate) fn query(agent_dir: &Path, query: &LineQuery) -> io::Result<Lines> {
    let mut search = Search::new(query);
    for &stream in &query.streams {
        let dir = stream_dir(agent_dir, stream);
        // What is written from now on is not looked at: an agent may write as fast as this reads.
        let end = segments::extent(&dir)?.end;
        let mut offset = 0;
        while offset < end {
            if Instant::now() >= query.deadline {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let mut chunk = segments::read(&dir, offset, CHUNK_BYTES)?;
            let left = end.saturating_sub(chunk.offset);
            chunk
                .data
                .truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if chunk.data.is_empty() {
                break;
            }
            if chunk.offset > offset {
                // Bytes are gone here: what stands before and after is no one line.
                search.end_of_stream();
            }
            offset = chunk.offset + chunk.data.len() as u64;
            search.feed(&chunk.data);
        }
        search.end_of_stream();
    }
    Ok(search.finish())
}

struct Search<'a> {
    query: &'a LineQuery,
    partial: Vec<u8>,
    kept: VecDeque<String>,
    kept_bytes: usize,
    total: u64,
    full: bool,
}

impl<'a> Search<'a> {
    fn new(query: &'a LineQuery) -> Self {
        Self {
            query,
            partial: Vec::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            total: 0,
            full: false,
        }
    }

    fn feed(&mut self, data: &[u8]) {
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', data) {
            self.piece(&data[start..newline]);
            self.end_of_line();
            start = newline + 1;
        }
        self.piece(&data[start..]);
    }

    fn piece(&mut self, mut data: &[u8]) {
        while self.partial.len() + data.len() > LINE_BYTES_MAX {
            let (now, later) = data.split_at(LINE_BYTES_MAX - self.partial.len());
            self.partial.extend_from_slice(now);
            self.end_of_line();
            data = later;
        }
        self.partial.extend_from_slice(data);
    }

    fn end_of_stream(&mut self) {
        if !self.partial.is_empty() {
            self.end_of_line();
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let matches = self
            .query
            .filter
            .as_ref()
            .is_none_or(|filter| filter.is_match(text));
        if matches {
            self.total += 1;
            if self.query.tail {
                self.keep_last(text);
            } else {
                self.keep_first(text);
            }
        }
        self.partial = line;
        self.partial.clear();
    }

    fn keep_first(&mut self, line: &[u8]) {
        let wanted = self.total > self.query.offset && (self.kept.len() as u64) < self.query.limit;
        if wanted && !self.full {
            let line = String::from_utf8_lossy(line).into_owned();
            if self.kept_bytes + line.len() > self.query.bytes_max && !self.kept.is_empty() {
                self.full = true;
                return;
            }
            self.push(line);
        }
    }

    fn keep_last(&mut self, line: &[u8]) {
        let most = self.query.limit.saturating_add(self.query.offset);
        self.push(String::from_utf8_lossy(line).into_owned());
        while self.kept.len() as u64 > most
            || (self.kept_bytes > self.query.bytes_max && self.kept.len() > 1)
        {
            let Some(oldest) = self.kept.pop_front() else {
                break;
            };
            self.kept_bytes -= oldest.len();
        }
    }

    fn push(&mut self, line: String) {
        self.kept_bytes += line.len();
        self.kept.push_back(line);
    }

    fn finish(mut self) -> Lines {
        if self.query.tail {
            let skipped = usize::try_from(self.query.offset).unwrap_or(usize::MAX);
            self.kept.truncate(self.kept.len().saturating_sub(skipped));
        }
        let lines: Vec<String> = self.kept.into();
        let passed = self.query.offset.saturating_add(lines.len() as u64);
        Lines {
            has_more: self.total > passed,
            lines,
            total: self.total,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(stdout: &[u8]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("stdout")).unwrap();
        std::fs::write(dir.path().join("stdout").join(segments::name(0)), stdout).unwrap();
        dir
    }

    fn lines_of(stdout: &[u8], set: impl FnOnce(&mut LineQuery)) -> Lines {
        let mut wanted = LineQuery {
            streams: vec![Stream::Stdout],
            filter: None,
            offset: 0,
            limit: u64::MAX,
            tail: false,
            bytes_max: 8 * 1024 * 1024,
            deadline: Instant::now() + std::time::Duration::from_mins(1),
        };
        set(&mut wanted);
        query(agent(stdout).path(), &wanted).unwrap()
    }

    #[test]
    fn limit_and_offset_count_matching_lines() {
        let found = lines_of(b"a1\nb\na2\nb\na3\na4", |query| {
            query.filter = Some(Regex::new("^a").unwrap());
            query.offset = 1;
            query.limit = 2;
        });
        assert_eq!(found.lines, ["a2", "a3"]);
        assert_eq!((found.total, found.has_more), (4, true));
    }

    #[test]
    fn the_tail_is_the_last_lines_in_order() {
        let found = lines_of(b"1\n2\n3\n4\n", |query| {
            query.tail = true;
            query.limit = 2;
        });
        assert_eq!(found.lines, ["3", "4"]);
        assert!(found.has_more);
    }

    #[test]
    fn bytes_that_are_no_text_and_lines_without_end_are_given_all_the_same() {
        let mut stdout = b"\xff\xfe\r\n".to_vec();
        stdout.extend(vec![b'x'; LINE_BYTES_MAX + 10]);
        let found = lines_of(&stdout, |_| {});
        assert_eq!(found.lines[0], "\u{fffd}\u{fffd}");
        assert_eq!(found.lines[1].len(), LINE_BYTES_MAX);
        assert_eq!(found.lines[2], "x".repeat(10));
        assert_eq!((found.total, found.has_more), (3, false));
    }
}
