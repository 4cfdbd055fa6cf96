//! Lines that match an expression, looked for on the server.

use descartes_client::protocol::{
    AgentId, ErrorCode, OutputQueryResponse, Stream, StreamSelection,
};
use descartes_client::{ClientError, OutputQuery, ZmqClient};

use crate::error::{CliError, Result};
use crate::exit;
use crate::progress;
use crate::session::printer::{self, Printer};

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
    /// Prints the lines of a stream that match, up to where it ends now; some that come after may be among them.
    pub(super) async fn print(&self, stream: Stream, printer: &mut Printer) -> Result<()> {
        match self.tail {
            Some(lines) => self.print_last(stream, lines, printer).await,
            None => self.print_all(stream, printer).await,
        }
    }

    async fn print_all(&self, stream: Stream, printer: &mut Printer) -> Result<()> {
        let end = self.end(stream).await?;
        let mut from = 0;
        loop {
            let next = OutputQuery {
                from_offset: Some(from),
                ..self.query(stream)
            };
            let page = self.ask(&next).await?;
            page.print(stream, printer)?;
            from = page.next_offset;
            if !page.has_more || from >= end {
                return Ok(());
            }
        }
    }

    /// Looks from the end backwards, and so has to hold all that is to be printed.
    async fn print_last(&self, stream: Stream, lines: u64, printer: &mut Printer) -> Result<()> {
        let mut from = u64::MAX;
        let mut left = lines;
        let mut pages = Vec::new();
        let outcome = loop {
            if left == 0 {
                break Ok(());
            }
            let next = OutputQuery {
                tail: true,
                limit: Some(left),
                from_offset: Some(from),
                ..self.query(stream)
            };
            match self.ask(&next).await {
                Ok(page) => {
                    from = page.next_offset;
                    left = left.saturating_sub(page.lines.len() as u64);
                    let has_more = page.has_more;
                    pages.push(page);
                    if !has_more {
                        break Ok(());
                    }
                }
                Err(error) => break Err(error),
            }
        };
        for page in pages.iter().rev() {
            printer.print_lines(stream, &page.lines)?;
            // It is what is gone after these lines.
            page.note_lost(stream);
        }
        outcome
    }

    /// Where a stream ends. What is known of the agent may be a second old.
    async fn end(&self, stream: Stream) -> Result<u64> {
        let nothing = OutputQuery {
            filter: None,
            tail: true,
            limit: Some(0),
            from_offset: Some(u64::MAX),
            ..self.query(stream)
        };
        Ok(self.ask(&nothing).await?.next_offset)
    }

    async fn ask(&self, query: &OutputQuery) -> Result<Page> {
        let asked = self.client.query_output(self.agent, query);
        let answer = progress::during("searching", asked).await;
        let answer = answer.map_err(|error| self.failed(error))?;
        Page::of(answer)
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
                CliError {
                    message,
                    exit: exit::USAGE,
                    ..error
                }
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

/// Some of the lines.
struct Page {
    lines: Vec<String>,
    /// Bytes that are gone between where it began and the lines.
    lost: u64,
    next_offset: u64,
    has_more: bool,
}

impl Page {
    fn of(answer: OutputQueryResponse) -> Result<Self> {
        let next_offset = answer.next_offset.ok_or_else(|| {
            CliError::new(exit::REFUSED, "the server is too old for --grep")
                .hint("pipe `descartes logs` into grep")
        })?;
        Ok(Self {
            lines: answer.lines,
            lost: answer.lost_bytes.unwrap_or(0),
            next_offset,
            has_more: answer.has_more,
        })
    }

    fn print(&self, stream: Stream, printer: &mut Printer) -> Result<()> {
        self.note_lost(stream);
        printer.print_lines(stream, &self.lines)
    }

    fn note_lost(&self, stream: Stream) {
        if self.lost > 0 {
            printer::note_gone(stream, self.lost);
        }
    }
}
