//! Feeds the agent's stdin from a bounded queue.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::wire::{Outcome, Refusal};

mod writers;

use writers::Writers;

/// The write end of the agent's stdin and what waits to go there.
#[derive(Debug)]
pub(crate) struct StdinQueue {
    end: End,
    queue: VecDeque<u8>,
    queue_bytes_max: usize,
    /// Bytes accepted so far.
    total: u64,
    writers: Writers,
}

/// Where data begins that goes to stdin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position<'a> {
    /// After everything that was accepted so far.
    Next,
    /// After so many bytes of stdin.
    Stdin(u64),
    /// After so many bytes of this writer.
    Writer(&'a str, u64),
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
            writers: Writers::default(),
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

    /// Takes what the pipe and the queue have room for. Bytes that were accepted before are
    /// skipped, as far as `position` tells.
    pub(crate) fn write(&mut self, data: &[u8], position: Position<'_>, close: bool) -> Outcome {
        let skipped = self.known(data, position);
        match &self.end {
            End::Open(_) => {}
            // A repeated write whose bytes are all there already is answered as the first was.
            End::Closing(_) | End::Closed
                if skipped == Ok(data.len()) && position != Position::Next =>
            {
                return self.written(data.len(), data.len());
            }
            End::Closing(_) | End::Closed => return Outcome::Refused(Refusal::StdinClosed),
            End::Null => return Outcome::Refused(Refusal::NoStdin),
        }
        let skipped = match skipped {
            Ok(skipped) => skipped,
            Err(gap) => return Outcome::Refused(gap),
        };
        let rest = self.take(&data[skipped..]);
        let accepted = (data.len() - skipped - rest) as u64;
        self.total += accepted;
        if let Position::Writer(id, _) = position {
            self.writers.accept(id, accepted);
        }
        if rest == 0 && close {
            self.close();
        }
        self.written(data.len() - rest, data.len())
    }

    /// How many of the first bytes of `data` were accepted before.
    fn known(&self, data: &[u8], position: Position<'_>) -> Result<usize, Refusal> {
        let (accepted, offset) = match position {
            Position::Next => return Ok(0),
            Position::Stdin(offset) => (self.total, offset),
            Position::Writer(id, offset) => (self.writers.accepted(id), offset),
        };
        match accepted.checked_sub(offset) {
            Some(known) => Ok(usize::try_from(known).map_or(data.len(), |it| it.min(data.len()))),
            None if matches!(position, Position::Writer(..)) => {
                Err(Refusal::WriterGap { accepted })
            }
            None => Err(Refusal::StdinGap { total: accepted }),
        }
    }

    /// Hands `data` to the pipe and the queue, and returns how many bytes found no room.
    fn take(&mut self, mut data: &[u8]) -> usize {
        self.flush();
        if self.queue.is_empty() {
            data = self.write_through(data);
        }
        let room = self
            .queue_bytes_max
            .saturating_sub(self.queue.len())
            .min(data.len());
        self.queue.extend(&data[..room]);
        data.len() - room
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
            taken(queue.write(&[b'x'; 5000], Position::Next, false)),
            (4106, 4106, false)
        );
        assert_eq!(
            taken(queue.write(b"y", Position::Next, false)),
            (0, 4106, false)
        );
        let mut page = vec![0; 4096];
        reader.read_exact(&mut page).unwrap();
        queue.flush();
        assert_eq!(
            taken(queue.write(b"y", Position::Next, true)),
            (1, 4107, true)
        );
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"xxxxxxxxxxy");
    }

    #[test]
    fn a_repeated_write_is_skipped_and_a_gap_refused() {
        let (mut queue, mut reader) = queue();
        assert_eq!(
            taken(queue.write(b"hello", Position::Stdin(0), false)),
            (5, 5, true)
        );
        assert_eq!(
            taken(queue.write(b"hello you", Position::Stdin(0), true)),
            (9, 9, true)
        );
        assert_eq!(
            taken(queue.write(b"hello you", Position::Stdin(0), true)),
            (9, 9, true)
        );
        assert_eq!(
            queue.write(b"!", Position::Stdin(9), false),
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
            queue.write(b"late", Position::Stdin(3), false),
            Outcome::Refused(Refusal::StdinGap { total: 0 })
        );
    }

    #[test]
    fn an_agent_that_closed_its_stdin_takes_nothing() {
        let (mut queue, reader) = queue();
        drop(reader);
        queue.write(b"first", Position::Next, false);
        assert_eq!(
            queue.write(b"second", Position::Next, false),
            Outcome::Refused(Refusal::StdinClosed)
        );
    }

    #[test]
    fn each_writers_repeats_are_skipped_whatever_the_others_wrote_meanwhile() {
        let (mut queue, mut reader) = queue();
        let one = |offset| Position::Writer("one", offset);
        let two = |offset| Position::Writer("two", offset);
        assert_eq!(taken(queue.write(b"a1 ", one(0), false)), (3, 3, true));
        assert_eq!(taken(queue.write(b"b1 ", two(0), false)), (3, 6, true));
        assert_eq!(taken(queue.write(b"a1 ", one(0), false)), (3, 6, true));
        assert_eq!(taken(queue.write(b"a1 a2 ", one(0), false)), (6, 9, true));
        assert_eq!(taken(queue.write(b"1 b2 ", two(1), false)), (5, 12, true));
        assert_eq!(
            taken(queue.write(b"c ", Position::Next, false)),
            (2, 14, true)
        );
        assert_eq!(taken(queue.write(b"a2 ", one(3), true)), (3, 14, true));
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "a1 b1 a2 b2 c ");
        // Closed by now: a repeat is answered as before, anything new refused.
        assert_eq!(taken(queue.write(b"b2 ", two(3), true)), (3, 14, true));
        let closed = Outcome::Refused(Refusal::StdinClosed);
        assert_eq!(queue.write(b"b2 b3 ", two(3), false), closed);
        assert_eq!(
            queue.write(b"a1 ", Position::Writer("new", 0), false),
            closed
        );
    }

    #[test]
    fn a_writer_that_goes_on_after_bytes_that_never_came_is_told_how_far_it_was() {
        let (mut queue, _reader) = queue();
        let writer = |offset| Position::Writer("one", offset);
        queue.write(b"from another", Position::Next, false);
        queue.write(b"abc", writer(0), false);
        assert_eq!(
            queue.write(b"e", writer(4), false),
            Outcome::Refused(Refusal::WriterGap { accepted: 3 })
        );
        // What did not fit was not accepted from it either.
        assert!(!taken(queue.write(&[b'x'; 5000], writer(3), false)).2);
        let accepted = queue.total() - 12;
        assert_eq!(
            queue.write(b"e", writer(5003), false),
            Outcome::Refused(Refusal::WriterGap { accepted })
        );
    }
}
