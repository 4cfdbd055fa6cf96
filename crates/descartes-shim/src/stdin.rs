//! Feeds the agent's stdin from a bounded queue.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::wire::{Outcome, Refusal};

/// The write end of the agent's stdin and what waits to go there.
#[derive(Debug)]
pub(crate) struct StdinQueue {
    end: End,
    queue: VecDeque<u8>,
    queue_bytes_max: usize,
    /// Bytes accepted so far.
    total: u64,
}

#[derive(Debug)]
enum End {
    /// The agent reads `/dev/null`.
    Null,
    Open(OwnedFd),
    /// Closes as soon as the queue is empty.
    Closing(OwnedFd),
    Closed,
}

impl StdinQueue {
    /// `pipe` is `None` where the agent reads `/dev/null`. `first` does not count against the
    /// queue's limit.
    pub(crate) fn new(pipe: Option<OwnedFd>, first: &str, close: bool, bytes_max: u64) -> Self {
        let end = match (pipe, close) {
            (None, _) => End::Null,
            (Some(pipe), false) => End::Open(pipe),
            (Some(pipe), true) => End::Closing(pipe),
        };
        let mut queue = Self {
            end,
            queue: first.as_bytes().iter().copied().collect(),
            queue_bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            total: first.len() as u64,
        };
        queue.flush();
        queue
    }

    /// Bytes accepted so far.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// The descriptor to wait on, while something waits to be written.
    pub(crate) fn waits_for(&self) -> Option<BorrowedFd<'_>> {
        match &self.end {
            End::Open(pipe) | End::Closing(pipe) if !self.queue.is_empty() => Some(pipe.as_fd()),
            _ => None,
        }
    }

    /// Takes what the pipe and the queue have room for. With `offset`, bytes that were accepted
    /// before are skipped.
    pub(crate) fn write(&mut self, data: &[u8], offset: Option<u64>, close: bool) -> Outcome {
        match &self.end {
            End::Open(_) => {}
            // A repeated write whose bytes are all there already is answered as the first was.
            End::Closing(_) | End::Closed if self.is_repeat(data, offset) => {
                return self.written(data.len(), data.len());
            }
            End::Closing(_) | End::Closed => return Outcome::Refused(Refusal::StdinClosed),
            End::Null => return Outcome::Refused(Refusal::NoStdin),
        }
        let skipped = match offset {
            Some(offset) if offset > self.total => {
                return Outcome::Refused(Refusal::StdinGap { total: self.total });
            }
            Some(offset) => usize::try_from(self.total - offset)
                .map_or(data.len(), |known| known.min(data.len())),
            None => 0,
        };
        let mut rest = &data[skipped..];
        self.flush();
        if self.queue.is_empty() {
            rest = self.write_through(rest);
        }
        let room = self
            .queue_bytes_max
            .saturating_sub(self.queue.len())
            .min(rest.len());
        self.queue.extend(&rest[..room]);
        rest = &rest[room..];
        self.total += (data.len() - skipped - rest.len()) as u64;
        if rest.is_empty() && close {
            self.close();
        }
        self.written(data.len() - rest.len(), data.len())
    }

    fn is_repeat(&self, data: &[u8], offset: Option<u64>) -> bool {
        offset.is_some_and(|offset| offset.saturating_add(data.len() as u64) <= self.total)
    }

    fn written(&self, taken: usize, of: usize) -> Outcome {
        Outcome::Written {
            taken: taken as u64,
            total: self.total,
            complete: taken == of,
        }
    }

    /// Writes what waits, as far as the pipe takes it now.
    pub(crate) fn flush(&mut self) {
        while !self.queue.is_empty() {
            let (first, _) = self.queue.as_slices();
            match self.write_to_pipe(first) {
                Some(0) => return,
                Some(count) => drop(self.queue.drain(..count)),
                None => {
                    self.queue.clear();
                    self.end = End::Closed;
                }
            }
        }
        // A queue that was full once must not hold its memory for an agent's whole life.
        self.queue = VecDeque::new();
        if matches!(self.end, End::Closing(_)) {
            self.end = End::Closed;
        }
    }

    /// Writes `data` past the empty queue and returns what the pipe did not take.
    fn write_through<'a>(&mut self, mut data: &'a [u8]) -> &'a [u8] {
        while !data.is_empty() {
            match self.write_to_pipe(data) {
                Some(0) => break,
                Some(count) => data = &data[count..],
                None => {
                    self.end = End::Closed;
                    // Taken, and lost as everything is that an agent leaves in its pipe.
                    return &[];
                }
            }
        }
        data
    }

    /// How much the pipe took: nothing while it is full, `None` if the agent closed its end.
    fn write_to_pipe(&self, data: &[u8]) -> Option<usize> {
        let (End::Open(pipe) | End::Closing(pipe)) = &self.end else {
            return None;
        };
        loop {
            match rustix::io::write(pipe, data) {
                Ok(count) => return Some(count),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return Some(0),
                Err(_) => return None,
            }
        }
    }

    fn close(&mut self) {
        if let End::Open(pipe) = std::mem::replace(&mut self.end, End::Closed) {
            self.end = End::Closing(pipe);
        }
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A queue of 10 bytes before a pipe of one page.
    fn queue() -> (StdinQueue, std::fs::File) {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        rustix::pipe::fcntl_setpipe_size(&write, 4096).unwrap();
        (StdinQueue::new(Some(write), "", false, 10), read.into())
    }

    fn taken(outcome: Outcome) -> (u64, u64, bool) {
        match outcome {
            Outcome::Written {
                taken,
                total,
                complete,
            } => (taken, total, complete),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_pipe_and_queue_cannot_hold_is_not_taken() {
        let (mut queue, mut reader) = queue();
        assert_eq!(
            taken(queue.write(&[b'x'; 5000], None, false)),
            (4106, 4106, false)
        );
        assert_eq!(taken(queue.write(b"y", None, false)), (0, 4106, false));
        let mut page = vec![0; 4096];
        reader.read_exact(&mut page).unwrap();
        queue.flush();
        assert_eq!(taken(queue.write(b"y", None, true)), (1, 4107, true));
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"xxxxxxxxxxy");
    }

    #[test]
    fn a_repeated_write_is_skipped_and_a_gap_refused() {
        let (mut queue, mut reader) = queue();
        assert_eq!(taken(queue.write(b"hello", Some(0), false)), (5, 5, true));
        assert_eq!(
            taken(queue.write(b"hello you", Some(0), true)),
            (9, 9, true)
        );
        assert_eq!(
            taken(queue.write(b"hello you", Some(0), true)),
            (9, 9, true)
        );
        assert_eq!(
            queue.write(b"!", Some(9), false),
            Outcome::Refused(Refusal::StdinClosed)
        );
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "hello you");
    }

    #[test]
    fn an_offset_beyond_what_was_accepted_is_a_gap() {
        let (mut queue, _reader) = queue();
        assert_eq!(
            queue.write(b"late", Some(3), false),
            Outcome::Refused(Refusal::StdinGap { total: 0 })
        );
    }

    #[test]
    fn an_agent_that_closed_its_stdin_takes_nothing() {
        let (mut queue, reader) = queue();
        drop(reader);
        queue.write(b"first", None, false);
        assert_eq!(
            queue.write(b"second", None, false),
            Outcome::Refused(Refusal::StdinClosed)
        );
    }
}
