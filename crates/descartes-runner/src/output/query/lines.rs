//! Cuts a stream into lines.

use std::ops::Range;

/// Cuts bytes that come piece by piece, in order, into lines without their newlines. A line that is
/// longer than may be is cut, and goes on as the next one. Each comes with the offset of the first
/// byte that is no part of it, nor of its newline: from there on the next lines are found.
#[derive(Debug)]
pub(super) struct Splitter {
    bytes_max: usize,
    /// Where in the stream the bytes end that have come.
    end: u64,
    /// How long the line is that has not ended yet.
    length: usize,
    /// Its bytes, unless lines are only counted.
    partial: Vec<u8>,
}

impl Splitter {
    /// `bytes_max`: bytes of the longest line.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            end: 0,
            length: 0,
            partial: Vec::new(),
        }
    }

    /// Gives each line that ends in `data` to `each`, in order. `data` begins at `offset`, where the
    /// bytes end that came before unless [`Self::end`] was called since. Not to be called after
    /// [`Self::count`].
    ///
    /// # Errors
    /// The first one of `each`.
    pub(super) fn feed<E>(
        &mut self,
        offset: u64,
        data: &[u8],
        mut each: impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.end = offset;
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', data) {
            let rest = &data[start..newline];
            start = newline + 1;
            if self.length == 0 && rest.len() <= self.bytes_max {
                self.end = offset + start as u64;
                each(rest, self.end)?;
            } else {
                self.go_on(rest, &mut each)?;
                self.end = offset + start as u64;
                self.end_line(&mut each)?;
            }
        }
        self.go_on(&data[start..], &mut each)
    }

    /// How many lines end in `data`, without a copy of them.
    pub(super) fn count(&mut self, data: &[u8]) -> u64 {
        self.partial.clear();
        if self.length + data.len() <= self.bytes_max {
            // None of these lines is cut.
            let rest = memchr::memrchr(b'\n', data).map(|newline| data.len() - newline - 1);
            self.length = rest.unwrap_or(self.length + data.len());
            return memchr::memchr_iter(b'\n', data).count() as u64;
        }
        let mut lines = 0;
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', data) {
            lines += self.count_on(newline - start) + 1;
            self.length = 0;
            start = newline + 1;
        }
        lines + self.count_on(data.len() - start)
    }

    /// Ends the line that has not ended yet, if there is one: what follows is no part of it.
    ///
    /// # Errors
    /// The one of `each`.
    pub(super) fn end<E>(
        &mut self,
        each: impl FnOnce(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.length == 0 {
            return Ok(());
        }
        self.end_line(each)
    }

    fn end_line<E>(&mut self, each: impl FnOnce(&[u8], u64) -> Result<(), E>) -> Result<(), E> {
        each(&self.partial, self.end)?;
        self.partial.clear();
        self.length = 0;
        Ok(())
    }

    fn go_on<E>(
        &mut self,
        mut data: &[u8],
        each: &mut impl FnMut(&[u8], u64) -> Result<(), E>,
    ) -> Result<(), E> {
        while self.length + data.len() > self.bytes_max {
            let (now, later) = data.split_at(self.bytes_max - self.length);
            self.partial.extend_from_slice(now);
            self.end += now.len() as u64;
            self.end_line(&mut *each)?;
            data = later;
        }
        self.partial.extend_from_slice(data);
        self.end += data.len() as u64;
        self.length = self.partial.len();
        Ok(())
    }

    /// How many lines are cut off where the line goes on with so many bytes.
    fn count_on(&mut self, bytes: usize) -> u64 {
        let length = self.length + bytes;
        let cuts = length.saturating_sub(1) / self.bytes_max;
        self.length = length - cuts * self.bytes_max;
        cuts as u64
    }
}

/// Where the pieces of a line begin and end that is cut as [`Splitter`] does it, the last one first.
pub(super) fn pieces_back(line: Range<u64>, bytes_max: usize) -> impl Iterator<Item = Range<u64>> {
    let bytes_max = bytes_max as u64;
    let last = (line.end - line.start).saturating_sub(1) / bytes_max;
    (0..=last).rev().map(move |index| {
        let start = line.start + index * bytes_max;
        start..line.end.min(start + bytes_max)
    })
}
