//! Lines that match an expression, looked for on the server.

use descartes_client::protocol::{
    AgentInfo, ErrorCode, OutputQueryResponse, Stream, StreamSelection,
};
use descartes_client::{ClientError, OutputQuery, ZmqClient};

use crate::describe::size;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output;
use crate::progress;
use crate::session::printer::{self, Printer};

/// A search through the output of an agent.
#[derive(Debug)]
pub(super) struct Search<'a> {
    pub(super) client: &'a ZmqClient,
    pub(super) agent: &'a AgentInfo,
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
            None => {
                self.print_all(stream, printer).await?;
                Ok(true)
            }
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
                "[only the last {count} lines of {stream} that match, as one answer holds no more; there may be others]"
            ));
        }
        printer.print_lines(stream, &found.lines)?;
        Ok(is_all)
    }

    /// Up to where the stream ended when the agent was looked at, and the page that this is on.
    async fn print_all(&self, stream: Stream, printer: &mut Printer) -> Result<()> {
        let end = size(self.agent, stream);
        let mut from = 0;
        loop {
            let next = OutputQuery {
                from_offset: Some(from),
                ..self.query(stream)
            };
            let found = self.ask(&next).await?;
            if let Some(lost @ 1..) = found.lost_bytes {
                printer::note_gone(stream, lost);
            }
            printer.print_lines(stream, &found.lines)?;
            from = found.next_offset.ok_or_else(too_old)?;
            if !found.has_more || from >= end {
                return Ok(());
            }
        }
    }

    async fn ask(&self, query: &OutputQuery) -> Result<OutputQueryResponse> {
        let asked = self.client.query_output(self.agent.id, query);
        let answer = progress::during("searching", asked).await;
        answer.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: ClientError) -> CliError {
        let told = error.to_string();
        let code = error.code();
        let error = CliError::from(error);
        match code {
            Some(ErrorCode::MalformedMessage) => {
                // A fault in the syntax comes with a drawing, which needs lines of its own.
                let problem = told.rsplit("error: ").next().unwrap_or(&told);
                let problem = problem.strip_prefix("filter: ").unwrap_or(problem);
                let message = format!("--grep {:?}: {problem}", self.filter);
                CliError { message, ..error }
            }
            Some(ErrorCode::Timeout) => error.hint("make the expression simpler"),
            _ => error,
        }
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

fn too_old() -> CliError {
    CliError::new(exit::REFUSED, "the server is too old for --grep")
        .hint("pipe `descartes logs` into grep")
}
