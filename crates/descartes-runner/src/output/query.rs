//! Looks for lines in what an agent wrote.
//!
//! The first lines are found without a look at what follows them, and the last ones without a look
//! at what comes before. How many there are altogether is counted afterwards, as long as there is
//! time. Memory is bounded by the answer, a line and a block, however long the output and its lines
//! are; and after each block, and often within a line, the clock is looked at.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use descartes_protocol::Stream;
use descartes_shim::segments;

use super::stream_dir;
use filter::LineFilter;
use lines::Splitter;

mod filter;
mod last;
mod lines;

pub(crate) use filter::FilterError;

/// How output is read.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// A line longer than this is cut here and goes on as the next line.
    line: usize,
    /// Bytes read at a time.
    block: usize,
}

const SIZES: Sizes = Sizes {
    line: 1024 * 1024,
    block: 256 * 1024,
};

/// Which lines to look for.
#[derive(Debug, Clone)]
pub struct LineQuery {
    /// In which streams, in this order.
    pub streams: Vec<Stream>,
    /// Only lines that match this regular expression, whose syntax is that of the crate `regex`.
    pub filter: Option<String>,
    /// Skip so many of the matching lines; from the end if `tail`.
    pub offset: u64,
    /// Return at most so many.
    pub limit: u64,
    /// The last lines rather than the first.
    pub tail: bool,
    /// Return at most so many bytes of lines; a first line that is longer is returned all the same.
    pub bytes_max: usize,
    /// Begin at this offset, where a line begins, or with `tail` go back from there, and tell where
    /// the next search has to begin so that all lines are found once. Only for one stream.
    pub from: Option<u64>,
    /// Give up then, if the lines are not found yet. With `from`, return what was found.
    pub deadline: Instant,
    /// What is done about the lines that are not returned.
    pub rest: Rest,
}

/// What a search does about the matching lines that it does not return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: it is over as soon as the lines are found, and knows only where it has come to the
    /// end by then that there are no more.
    Unseen,
    /// It looks whether there are any.
    Glanced,
    /// It counts them, until then, and no longer than its deadline.
    Counted(Instant),
}

/// The lines that were found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lines {
    /// The lines in order, without their newlines; bytes that are no UTF-8 are replaced by U+FFFD.
    pub lines: Vec<String>,
    /// How many lines match altogether; `None` where they were not all counted.
    pub total: Option<u64>,
    /// Whether lines are left out at the end (with `tail`: at the beginning). Also true where it was
    /// not looked at whether one of the lines that are left matches.
    pub has_more: bool,
    /// How far the search came; `None` without [`LineQuery::from`].
    pub reached: Option<Reached>,
}

/// How far a search came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    /// Where the next one has to begin: before it, or with `tail` after it, all lines were looked at,
    /// and those that match were returned.
    pub offset: u64,
    /// How many bytes are gone between where this one began and the lines that it found; a search
    /// that has found some ends where more are gone.
    pub lost: u64,
}

/// Why no lines were looked for, or found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// The output cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The deadline has passed.
    #[error("the deadline has passed")]
    TimedOut,
    /// The regular expression is refused.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

/// Looks for lines in an agent's output. Blocks.
///
/// # Errors
/// [`QueryError`].
pub(crate) fn query(agent_dir: &Path, query: &LineQuery) -> Result<Lines, QueryError> {
    search(agent_dir, query, SIZES)
}

fn search(agent_dir: &Path, query: &LineQuery, sizes: Sizes) -> Result<Lines, QueryError> {
    let mut search = Search::new(query, sizes)?;
    let mut parts = Vec::new();
    for &stream in &query.streams {
        let dir = stream_dir(agent_dir, stream);
        // What is written from now on is not looked at: an agent may write as fast as this reads.
        let end = segments::extent(&dir)?.end;
        parts.push(Part { dir, end });
    }
    let looked = match (&parts[..], query.from) {
        ([part], Some(from)) if query.tail => search.go_back(part, from.min(part.end)),
        ([part], Some(from)) => search.go_on(part, from),
        _ if query.tail => search.take_last(&parts),
        _ => search.take_first(&parts),
    };
    search.finish(looked)
}

/// The part of a stream in which lines are looked for.
struct Part {
    dir: PathBuf,
    end: u64,
}

/// A search under way.
struct Search<'a> {
    query: &'a LineQuery,
    sizes: Sizes,
    filter: Option<LineFilter>,
    /// When to end what is being done: the deadline, or when counting ends.
    until: Instant,
    /// Matching lines so far.
    matching: u64,
    /// Those to return, in the order in which they were found.
    kept: Vec<String>,
    kept_bytes: usize,
    /// Whether a line was found that matches and does not belong to those to return, which are
    /// complete then.
    has_more: bool,
    /// Where it began.
    began: u64,
    /// Bytes that are gone between that and what was read last.
    lost: u64,
    /// How far it came without leaving out a line that matches.
    reached: Reached,
    /// Whether it ended where bytes are gone.
    is_cut: bool,
}

impl<'a> Search<'a> {
    fn new(query: &'a LineQuery, sizes: Sizes) -> Result<Self, QueryError> {
        Ok(Self {
            query,
            sizes,
            filter: query.filter.as_deref().map(LineFilter::new).transpose()?,
            until: query.deadline,
            matching: 0,
            kept: Vec::new(),
            kept_bytes: 0,
            has_more: false,
            began: 0,
            lost: 0,
            reached: Reached { offset: 0, lost: 0 },
            is_cut: false,
        })
    }

    /// Takes the lines of a stream from an offset on.
    fn go_on(&mut self, part: &Part, from: u64) -> Result<(), QueryError> {
        self.begin(from);
        self.take_forward(part, from, part.end)
    }

    /// Takes the lines of a stream before an offset, the last one first.
    fn go_back(&mut self, part: &Part, from: u64) -> Result<(), QueryError> {
        self.begin(from);
        match self.take_back(&part.dir, from)? {
            Some(seen) => self.take_forward(part, 0, seen),
            None => Ok(()),
        }
    }

    fn begin(&mut self, offset: u64) {
        self.began = offset;
        self.reach(offset);
    }

    fn take_first(&mut self, parts: &[Part]) -> Result<(), QueryError> {
        for part in parts {
            self.take_forward(part, 0, part.end)?;
        }
        Ok(())
    }

    fn take_last(&mut self, parts: &[Part]) -> Result<(), QueryError> {
        for (index, part) in parts.iter().enumerate().rev() {
            if let Some(seen) = self.take_back(&part.dir, part.end)? {
                // What is left is only counted, for which the direction does not matter.
                self.take_first(&parts[..index])?;
                return self.take_forward(part, 0, seen);
            }
        }
        Ok(())
    }

    /// Takes the lines of a stream between two offsets.
    fn take_forward(&mut self, part: &Part, from: u64, end: u64) -> Result<(), QueryError> {
        let mut splitter = Splitter::new(self.sizes.line);
        let mut offset = from;
        while offset < end {
            self.check()?;
            let mut block = segments::read(&part.dir, offset, self.sizes.block)?;
            let left = end.saturating_sub(block.offset);
            block
                .data
                .truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if block.data.is_empty() {
                break;
            }
            if block.offset > offset {
                // Bytes are gone here: what stands before and after is no one line.
                splitter.end(|line, end| self.take_line_before(end, line))?;
                if self.ends_at_hole(block.offset - offset) {
                    return Ok(());
                }
            }
            offset = block.offset + block.data.len() as u64;
            if self.has_more && self.filter.is_none() {
                self.matching += splitter.count(&block.data);
            } else {
                splitter.feed(block.offset, &block.data, |line, end| {
                    self.take_line_before(end, line)
                })?;
            }
        }
        splitter.end(|line, end| self.take_line_before(end, line))?;
        // What is left up to the end is gone.
        if !self.ends_at_hole(end.saturating_sub(offset)) {
            self.reach(offset.max(end));
        }
        Ok(())
    }

    /// Counts bytes that are gone, unless the search ends there.
    fn ends_at_hole(&mut self, bytes: u64) -> bool {
        let is_followed = self.query.from.is_some() && !self.has_more;
        self.is_cut = bytes > 0 && is_followed && !self.kept.is_empty();
        if !self.is_cut {
            self.lost += bytes;
        }
        self.is_cut
    }

    /// Takes a line before which all lines were looked at, and which goes on to the offset `end`.
    fn take_line_before(&mut self, end: u64, line: &[u8]) -> Result<(), QueryError> {
        self.take_line(line)?;
        self.reach(end);
        Ok(())
    }

    /// All lines up to an offset were looked at. Those beyond one that is left out count as not looked at.
    fn reach(&mut self, offset: u64) {
        if !self.has_more {
            let lost = self.lost;
            self.reached = Reached { offset, lost };
        }
    }

    fn take_line(&mut self, line: &[u8]) -> Result<(), QueryError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(filter) = &mut self.filter
            && !filter.is_match(line, self.until)?
        {
            return Ok(());
        }
        self.matching += 1;
        if self.matching <= self.query.offset || self.has_more {
            return Ok(());
        }
        let has_place = (self.kept.len() as u64) < self.query.limit;
        let line = has_place.then(|| String::from_utf8_lossy(line).into_owned());
        match line {
            Some(line) if self.kept.is_empty() || self.fits(&line) => {
                self.kept_bytes += line.len();
                self.kept.push(line);
                if self.is_complete() {
                    // What is left is only whether there are more, and how many.
                    self.until = match self.query.rest {
                        Rest::Unseen => Instant::now(),
                        Rest::Glanced => self.query.deadline,
                        Rest::Counted(until) => until.min(self.query.deadline),
                    };
                }
            }
            _ => self.begin_counting(),
        }
        Ok(())
    }

    fn fits(&self, line: &str) -> bool {
        self.kept_bytes + line.len() <= self.query.bytes_max
    }

    fn begin_counting(&mut self) {
        self.has_more = true;
        self.until = match self.query.rest {
            Rest::Unseen | Rest::Glanced => Instant::now(),
            Rest::Counted(until) => until.min(self.query.deadline),
        };
    }

    fn check(&self) -> Result<(), QueryError> {
        check(self.until)
    }

    /// Whether all lines to return were found.
    fn is_complete(&self) -> bool {
        self.has_more || self.kept.len() as u64 >= self.query.limit
    }

    /// The answer, where looking at everything went so.
    fn finish(mut self, looked: Result<(), QueryError>) -> Result<Lines, QueryError> {
        let total = match looked {
            Ok(()) if self.is_cut => None,
            Ok(()) => Some(self.matching),
            // It could not be counted to the end, and perhaps not be seen whether there are more.
            Err(QueryError::TimedOut | QueryError::Filter(_)) if self.is_complete() => None,
            // The next search goes on from there.
            Err(QueryError::TimedOut) if self.has_come_further() => None,
            Err(error) => return Err(error),
        };
        if self.query.tail {
            self.kept.reverse();
        }
        Ok(Lines {
            lines: self.kept,
            total,
            has_more: self.has_more || total.is_none(),
            reached: self.query.from.map(|_| self.reached),
        })
    }

    /// Whether the next search can begin elsewhere than this one did.
    fn has_come_further(&self) -> bool {
        self.query.from.is_some() && self.reached.offset != self.began
    }
}

fn check(deadline: Instant) -> Result<(), QueryError> {
    if Instant::now() < deadline {
        Ok(())
    } else {
        Err(QueryError::TimedOut)
    }
}

#[cfg(test)]
mod tests;
