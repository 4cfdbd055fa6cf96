//! Reads a stream's lines from its end backwards.
//!
//! The lines are those that reading forwards finds. They are taken from blocks of the stream: what
//! stands in a block after its first newline are whole lines. A block within one long line has
//! none; then the line's beginning is looked for further back, since that is where its pieces are
//! counted from, and the pieces are read one by one.

use std::ops::Range;
use std::path::Path;

use descartes_shim::segments::{self, Chunk};

use super::lines::pieces_back;
use super::{QueryError, Search};

impl Search<'_> {
    /// Takes the lines of a stream below `end`, the last one first, until it is known that there
    /// are more than are asked for. Returns where the lines end that were not looked at; `None`
    /// where all were.
    pub(super) fn take_back(
        &mut self,
        dir: &Path,
        mut end: u64,
    ) -> Result<Option<u64>, QueryError> {
        loop {
            let block = segments::read_back(dir, end, self.sizes.block)?;
            if block.data.is_empty() {
                if !self.ends_at_hole(end) {
                    self.reach(0);
                }
                return Ok(None);
            }
            if self.is_complete() && self.filter.is_none() && self.matching >= self.query.offset {
                // There is at least one line more, and how it begins is of no interest.
                self.begin_counting();
                return Ok(Some(end_of(&block)));
            }
            self.check()?;
            if self.ends_at_hole(end.saturating_sub(end_of(&block))) {
                return Ok(None);
            }
            let text = block.data.strip_suffix(b"\n").unwrap_or(&block.data);
            let (start, seen) = if let Some(newline) = memchr::memchr(b'\n', text) {
                let whole = newline + 1;
                let start = block.offset + whole as u64;
                (start, self.take_lines_back(&text[whole..], start)?)
            } else {
                let start = self.line_start(dir, block.offset)?;
                let line = start..block.offset + text.len() as u64;
                self.take_line_back(dir, line)?
            };
            if seen.is_some() {
                return Ok(seen);
            }
            end = start;
        }
    }

    /// Takes the lines of a text that begins at the offset `start`.
    fn take_lines_back(&mut self, text: &[u8], start: u64) -> Result<Option<u64>, QueryError> {
        let mut end = text.len();
        let newlines = memchr::memrchr_iter(b'\n', text).map(Some);
        for newline in newlines.chain([None]) {
            let line_start = newline.map_or(0, |newline| newline + 1);
            for piece in pieces_back(line_start as u64..end as u64, self.sizes.line) {
                self.take_line(&text[within(&piece)])?;
                self.reach(start + piece.start);
                if self.has_more {
                    return Ok(Some(start + piece.start));
                }
            }
            end = newline.unwrap_or(0);
        }
        Ok(None)
    }

    /// Takes a line that is on disk, without its newline. Returns where what was taken of it begins,
    /// as its beginning may be removed meanwhile, and what [`Self::take_back`] does.
    pub(super) fn take_line_back(
        &mut self,
        dir: &Path,
        line: Range<u64>,
    ) -> Result<(u64, Option<u64>), QueryError> {
        let start = line.start;
        if line.is_empty() {
            self.take_line(&[])?;
            self.reach(start);
            return Ok((start, self.has_more.then_some(start)));
        }
        for piece in pieces_back(line, self.sizes.line) {
            self.check()?;
            let wanted = within(&(0..piece.end - piece.start)).end;
            let chunk = segments::read_back(dir, piece.end, wanted)?;
            if chunk.data.is_empty() || end_of(&chunk) < piece.end {
                return Ok((piece.end, None));
            }
            self.take_line(&chunk.data)?;
            self.reach(chunk.offset);
            if self.has_more {
                return Ok((chunk.offset, Some(chunk.offset)));
            }
            if chunk.offset > piece.start {
                return Ok((chunk.offset, None));
            }
        }
        Ok((start, None))
    }

    /// Where the line begins that the byte at `offset` belongs to, of which nothing before `offset`
    /// is known. Keeps a block at a time.
    fn line_start(&self, dir: &Path, mut offset: u64) -> Result<u64, QueryError> {
        loop {
            let block = segments::read_back(dir, offset, self.sizes.block)?;
            if block.data.is_empty() || end_of(&block) < offset {
                return Ok(offset);
            }
            if let Some(newline) = memchr::memrchr(b'\n', &block.data) {
                return Ok(block.offset + newline as u64 + 1);
            }
            self.check()?;
            offset = block.offset;
        }
    }
}

fn end_of(chunk: &Chunk) -> u64 {
    chunk.offset + chunk.data.len() as u64
}

/// Offsets within what is in memory.
fn within(range: &Range<u64>) -> Range<usize> {
    let index = |offset| usize::try_from(offset).unwrap_or(usize::MAX);
    index(range.start)..index(range.end)
}
