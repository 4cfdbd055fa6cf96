//! What is there already of several streams, in the order in which it arrived.

use std::collections::VecDeque;

use descartes_client::protocol::{AgentInfo, OutputTime, Stream, Timestamp};
use descartes_client::{OutputChunk, OutputReader};

use crate::describe::size;
use crate::error::Result;
use crate::session::printer::{Printer, time_at};

/// Where a backlog ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Where the streams ended when the agent was looked at.
    End,
    /// With the last piece that has some of that.
    Piece,
}

/// Streams that are merged by the times at which their bytes arrived.
#[derive(Debug)]
pub(crate) struct Backlog {
    sources: Vec<Source>,
}

#[derive(Debug)]
struct Source {
    stream: Stream,
    reader: OutputReader,
    /// How much is there: what comes after that is not waited for.
    end: u64,
    bound: Bound,
    pieces: VecDeque<(Option<Timestamp>, OutputChunk)>,
    is_dry: bool,
}

impl Backlog {
    /// `bound` says whether what came after the agent was looked at belongs to it.
    pub(crate) fn new(
        readers: Vec<(Stream, OutputReader)>,
        agent: &AgentInfo,
        bound: Bound,
    ) -> Self {
        let sources = readers.into_iter().map(|(stream, reader)| Source {
            stream,
            reader,
            end: size(agent, stream),
            pieces: VecDeque::new(),
            bound,
            is_dry: false,
        });
        Self {
            sources: sources.collect(),
        }
    }

    /// Prints all of it, and hands on the readers, which stand where it ends.
    pub(crate) async fn print(
        mut self,
        printer: &mut Printer,
    ) -> Result<Vec<(Stream, OutputReader)>> {
        loop {
            for source in &mut self.sources {
                source.fill().await?;
            }
            let ready = self
                .sources
                .iter_mut()
                .filter(|source| !source.pieces.is_empty());
            // What is of unknown time is older than what has one: times were noted from some version on.
            let Some(oldest) = ready.min_by_key(|source| source.pieces[0].0) else {
                break;
            };
            if let Some((_, chunk)) = oldest.pieces.pop_front() {
                printer.print(oldest.stream, &chunk)?;
            }
        }
        let readers = self.sources.into_iter();
        Ok(readers
            .map(|source| (source.stream, source.reader))
            .collect())
    }
}

impl Source {
    async fn fill(&mut self) -> Result<()> {
        if self.is_dry || !self.pieces.is_empty() {
            return Ok(());
        }
        match self.reader.next_available().await? {
            Some(mut chunk) => {
                self.is_dry = chunk.next_offset() >= self.end;
                if self.bound == Bound::End {
                    let wanted = self.end.saturating_sub(chunk.offset);
                    chunk
                        .data
                        .truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
                }
                if !chunk.data.is_empty() || chunk.lost_bytes > 0 {
                    self.pieces = split(&chunk);
                }
            }
            None => self.is_dry = true,
        }
        Ok(())
    }
}

/// A chunk in pieces that each arrived at one time.
fn split(chunk: &OutputChunk) -> VecDeque<(Option<Timestamp>, OutputChunk)> {
    let starts = chunk.times.iter().map(|known| known.offset);
    let mut starts: Vec<u64> = starts.filter(|offset| *offset > chunk.offset).collect();
    starts.insert(0, chunk.offset);
    let ends = starts.iter().skip(1).copied().chain([chunk.next_offset()]);
    let pieces = starts.iter().zip(ends).map(|(&start, end)| {
        let within = |offset: u64| {
            let length = chunk.data.len();
            usize::try_from(offset - chunk.offset).map_or(length, |offset| offset.min(length))
        };
        let time = time_at(&chunk.times, start);
        let piece = OutputChunk {
            times: time
                .map(|time| OutputTime {
                    offset: start,
                    time,
                })
                .into_iter()
                .collect(),
            offset: start,
            data: chunk.data.slice(within(start)..within(end)),
            lost_bytes: if start == chunk.offset {
                chunk.lost_bytes
            } else {
                0
            },
            first_offset: chunk.first_offset,
            eof: chunk.eof,
        };
        (time, piece)
    });
    pieces.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp {
            secs_since_epoch: secs,
            nanos_since_epoch: 0,
        }
    }

    fn known(offset: u64, secs: u64) -> OutputTime {
        OutputTime {
            offset,
            time: at(secs),
        }
    }

    #[test]
    fn a_chunk_is_split_where_its_times_change_and_nothing_of_it_is_lost() {
        let chunk = OutputChunk {
            offset: 10,
            data: b"abcdef".to_vec().into(),
            lost_bytes: 3,
            times: vec![known(10, 1), known(12, 2), known(15, 3)],
            ..OutputChunk::default()
        };
        let pieces: Vec<_> = split(&chunk)
            .into_iter()
            .map(|(time, piece)| (time, piece.offset, piece.data.to_vec(), piece.lost_bytes))
            .collect();
        assert_eq!(
            pieces,
            [
                (Some(at(1)), 10, b"ab".to_vec(), 3),
                (Some(at(2)), 12, b"cde".to_vec(), 0),
                (Some(at(3)), 15, b"f".to_vec(), 0),
            ]
        );
        let untimed = OutputChunk {
            times: Vec::new(),
            ..chunk
        };
        assert_eq!(split(&untimed).len(), 1);
    }
}
