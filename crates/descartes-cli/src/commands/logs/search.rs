//! Lines that match an expression, looked for on the server.

use descartes_client::protocol::{AgentId, OutputQueryResponse, Stream, StreamSelection};
use descartes_client::{OutputQuery, ReadFrom, ZmqClient};

use crate::error::Result;
use crate::output;
use crate::progress;
use crate::session::printer::Printer;

/// A search through the output of an agent.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) client: &'a ZmqClient,
    pub(super) agent: AgentId,
    /// The expression.
    pub(super) filter: String,
    /// Only the last so many lines of each stream.
    pub(super) tail: Option<u64>,
}

impl Search<'_> {
    /// Prints the lines of a stream that match. Returns whether these are all that were asked for.
    pub(super) async fn print(&self, stream: Stream, printer: &mut Printer) -> Result<bool> {
        match self.tail {
            Some(0) => Ok(true),
            Some(lines) => self.print_last(stream, lines, printer).await,
            None => self.print_all(stream, printer).await,
        }
    }

    /// No more than one answer holds: while the agent writes, there is no counting on from its end.
    async fn print_last(&self, stream: Stream, lines: u64, printer: &mut Printer) -> Result<bool> {
        let last = OutputQuery {
            tail: true,
            limit: Some(lines),
            ..self.query(stream)
        };
        let found = self.ask(&last).await?;
        let count = found.lines.len();
        let is_all = !found.has_more || count as u64 == lines;
        if !is_all {
            output::note(format_args!(
                "[only the last {count} lines of {stream} that match: no more fit into one answer]"
            ));
        }
        printer.print_lines(stream, &found.lines)?;
        Ok(is_all)
    }

    async fn print_all(&self, stream: Stream, printer: &mut Printer) -> Result<bool> {
        let begin = self.first_offset(stream).await?;
        let mut passed_over = 0;
        loop {
            let next = OutputQuery {
                offset: Some(passed_over),
                ..self.query(stream)
            };
            let found = self.ask(&next).await?;
            // What was passed over was counted from the first byte that is kept.
            if passed_over > 0 && self.first_offset(stream).await? != begin {
                output::note(format_args!(
                    "[the search through {stream} ends here: the agent wrote so much meanwhile that its oldest \
                     output was dropped]"
                ));
                return Ok(false);
            }
            printer.print_lines(stream, &found.lines)?;
            passed_over += found.lines.len() as u64;
            if !found.has_more || found.lines.is_empty() {
                return Ok(true);
            }
        }
    }

    async fn ask(&self, query: &OutputQuery) -> Result<OutputQueryResponse> {
        let asked = self.client.query_output(self.agent, query);
        Ok(progress::during("searching", asked).await?)
    }

    /// The oldest byte of a stream that is kept; `None` where there is none.
    async fn first_offset(&self, stream: Stream) -> Result<Option<u64>> {
        let from_the_first = ReadFrom::Offset(0);
        let reader = self.client.output(self.agent, stream, from_the_first);
        let chunk = reader.at_most(1).next_available().await?;
        Ok(chunk.map(|chunk| chunk.first_offset))
    }

    fn query(&self, stream: Stream) -> OutputQuery {
        OutputQuery {
            stream: match stream {
                Stream::Stdout => StreamSelection::Stdout,
                Stream::Stderr => StreamSelection::Stderr,
            },
            filter: Some(self.filter.clone()),
            count: false,
            ..OutputQuery::default()
        }
    }
}
