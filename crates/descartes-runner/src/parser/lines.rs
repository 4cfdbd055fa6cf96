//! Cuts a stream of bytes into lines, with bounded memory.

use super::LINE_BYTES_MAX;

/// The unfinished line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    partial: Vec<u8>,
    /// The current line is too long and is being skipped.
    skipping: bool,
}

impl Lines {
    /// Gives every line that ends in `bytes` to `line`, without its newline.
    pub(super) fn feed(&mut self, bytes: &[u8], mut line: impl FnMut(&[u8])) {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.end_line(&bytes[start..end], &mut line);
            start = end + 1;
        }
        self.keep(&bytes[start..]);
    }

    /// Gives the last line to `line`, if it has no newline.
    pub(super) fn finish(&mut self, mut line: impl FnMut(&[u8])) {
        if !self.partial.is_empty() {
            self.end_line(&[], &mut line);
        }
    }

    fn end_line(&mut self, rest: &[u8], line: &mut impl FnMut(&[u8])) {
        if self.partial.is_empty() && !self.skipping {
            if rest.len() <= LINE_BYTES_MAX {
                line(rest);
            }
            return;
        }
        self.keep(rest);
        if !self.skipping {
            line(&self.partial);
        }
        // A new buffer, so that one long line does not hold its memory for the agent's lifetime.
        self.partial = Vec::new();
        self.skipping = false;
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.partial.len() + bytes.len() > LINE_BYTES_MAX {
            self.partial = Vec::new();
            self.skipping = true;
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for chunk in chunks {
            lines.feed(chunk, |line| seen.push(line.to_vec()));
        }
        lines.finish(|line| seen.push(line.to_vec()));
        seen
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_are_cut() {
        let whole = b"one\n\ntwo\nlast";
        let expected = vec![
            b"one".to_vec(),
            b"".to_vec(),
            b"two".to_vec(),
            b"last".to_vec(),
        ];
        for cut in 0..whole.len() {
            let (left, right) = whole.split_at(cut);
            assert_eq!(lines(&[left, right]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let longest = vec![b'y'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&long, b"\nnext\n"]), [b"next"]);
        assert_eq!(lines(&[&[&long[..], b"\nnext\n"].concat()]), [b"next"]);
        assert_eq!(lines(&[&long[..9], &long, b"tail\nnext"]), [b"next"]);
        assert_eq!(lines(&[&longest, b"\n"]), [longest]);
    }

    #[test]
    fn a_skipped_line_holds_no_memory() {
        let mut splitter = Lines::default();
        let chunk = vec![b'x'; 64 * 1024];
        for _ in 0..64 {
            splitter.feed(&chunk, |_| {});
        }
        assert_eq!(splitter.partial.capacity(), 0);
    }
}
