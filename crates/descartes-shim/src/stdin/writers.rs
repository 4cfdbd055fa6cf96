//! How much was accepted from whom.

use std::collections::VecDeque;

/// Writers that are remembered. Beyond that the one that was silent longest is forgotten.
const WRITERS_MAX: usize = 256;

/// The writers of one stdin, by the ids that they chose.
#[derive(Debug, Default)]
pub(super) struct Writers {
    /// Who wrote last is at the end.
    accepted: VecDeque<(String, u64)>,
}

impl Writers {
    /// Bytes accepted from a writer so far.
    pub(super) fn accepted(&self, id: &str) -> u64 {
        let mut writers = self.accepted.iter();
        writers.find(|(known, _)| known == id).map_or(0, |it| it.1)
    }

    /// Counts bytes that were accepted from a writer.
    pub(super) fn accept(&mut self, id: &str, bytes: u64) {
        let known = self.accepted.iter().position(|(known, _)| known == id);
        let known = known.and_then(|index| self.accepted.remove(index));
        let (id, before) = match known {
            Some(writer) => writer,
            // Nothing to remember, so nobody is to be forgotten for it.
            None if bytes == 0 => return,
            None => (id.to_owned(), 0),
        };
        if self.accepted.len() == WRITERS_MAX {
            self.accepted.pop_front();
        }
        self.accepted.push_back((id, before + bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_limit_the_writer_that_was_silent_longest_is_forgotten() {
        let mut writers = Writers::default();
        for number in 0..WRITERS_MAX {
            writers.accept(&number.to_string(), 5);
        }
        writers.accept("0", 1);
        writers.accept("a question", 0);
        assert_eq!(writers.accepted("1"), 5);
        writers.accept("one more", 2);
        assert_eq!(writers.accepted("1"), 0);
        let others = ["0", "2", "one more"].map(|id| writers.accepted(id));
        assert_eq!(others, [6, 5, 2]);
    }
}
