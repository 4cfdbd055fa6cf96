//! `descartes logs`.

mod backlog;
mod search;

use clap::Args;
use descartes_client::protocol::{AgentInfo, Stream, Timestamp};
use descartes_client::{OutputReader, ReadFrom, ZmqClient};

use crate::cli::Context;
use crate::describe::size;
use crate::error::Result;
use crate::exit;
use crate::output::Format;
use crate::select;
use crate::session::printer::{Errors, Layout, Printer, Render};
use crate::session::{End, Session};
use crate::time;
use backlog::{Backlog, Bound};
use search::Search;

/// Bytes to look for the last lines in, at first; then twice as many, and so on.
const TAIL_BYTES: u64 = 64 * 1024;

/// Print what an agent has written
///
/// What it wrote to standard output goes to standard output, and what it wrote to standard error to standard
/// error, in the order in which it arrived.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Logs {
    /// An agent: an id, the beginning of one, or a name
    agent: String,

    /// Go on with what it writes, until its end
    #[arg(short, long)]
    follow: bool,

    /// Only what it wrote since then: a time, or how long ago (10m)
    #[arg(long, value_name = "TIME", value_parser = time::parse_time)]
    since: Option<Timestamp>,

    /// Only the last so many lines of each stream
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<u64>,

    /// Only lines that match this regular expression, looked for on the server; of these --tail takes the last
    ///
    /// The syntax is that of the Rust crate regex: (?i) ignores case. It is matched against the bytes that the agent
    /// wrote, also where they are shown as text; a dot matches none that is no UTF-8, which (?s-u:.) does. Lines come
    /// stream by stream, and one above 1 MiB in parts. It ends where the output ended when it began: to filter what
    /// comes with --follow, use grep --line-buffered.
    #[arg(short, long, value_name = "REGEX", allow_hyphen_values = true, conflicts_with_all = ["follow", "since", "timestamps"])]
    grep: Option<String>,

    /// Only what it wrote to standard output
    #[arg(long)]
    stdout: bool,

    /// Only what it wrote to standard error; it is printed to standard output
    #[arg(long, conflicts_with = "stdout")]
    stderr: bool,

    /// Put before each line when it arrived
    #[arg(short, long, conflicts_with = "render")]
    timestamps: bool,

    /// Turn the events of known agents into text
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Render::Auto)]
    render: Render,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = if self.follow {
            context.connect_to_follow().await?
        } else {
            context.connect().await?
        };
        let mut agent = select::one(&client, &self.agent).await?;
        let mut printer = self.printer(&agent, context.format);
        if let Some(filter) = &self.grep {
            return self.search(&client, &agent, filter, printer).await;
        }
        let mut readers = Vec::new();
        for stream in self.streams() {
            look_again(&client, &mut agent, stream).await?;
            let from = self.begin(&client, &agent, stream).await?;
            let reader = client.output(agent.id, stream, from).with_times();
            readers.push((stream, reader));
        }
        let bound = if self.follow {
            Bound::Piece
        } else {
            Bound::End
        };
        let backlog = Backlog::new(readers, &agent, bound);
        let readers = backlog.print(&mut printer).await?;
        if !self.follow {
            printer.finish()?;
            return Ok(exit::DONE);
        }
        follow(&client, agent, readers, printer).await
    }

    async fn search(
        &self,
        client: &ZmqClient,
        agent: &AgentInfo,
        filter: &str,
        mut printer: Printer,
    ) -> Result<u8> {
        let search = Search {
            client,
            agent: agent.id,
            filter: filter.to_owned(),
            tail: self.tail,
        };
        for stream in self.streams() {
            search.print(stream, &mut printer).await?;
        }
        printer.finish()?;
        Ok(exit::DONE)
    }

    fn streams(&self) -> Vec<Stream> {
        match (self.stdout, self.stderr) {
            (true, _) => vec![Stream::Stdout],
            (_, true) => vec![Stream::Stderr],
            (false, false) => vec![Stream::Stdout, Stream::Stderr],
        }
    }

    fn printer(&self, agent: &AgentInfo, format: Format) -> Printer {
        let layout = match (format, self.timestamps) {
            (Format::Json, _) => Layout::Json,
            (Format::Text, true) => Layout::Timestamps,
            (Format::Text, false) => self.render.layout(),
        };
        let errors = if self.stderr {
            Errors::ToStdout
        } else {
            Errors::Apart
        };
        Printer::new(agent.id, layout, errors)
    }

    /// Where to begin to read a stream.
    async fn begin(
        &self,
        client: &ZmqClient,
        agent: &AgentInfo,
        stream: Stream,
    ) -> Result<ReadFrom> {
        let since = match self.since {
            Some(time) => Some(
                client
                    .read(agent.id, stream, ReadFrom::Since(time))
                    .await?
                    .offset,
            ),
            None => None,
        };
        let tail = match self.tail {
            Some(lines) => Some(tail(client, agent, stream, lines).await?),
            None => None,
        };
        Ok(ReadFrom::Offset(since.max(tail).unwrap_or(0)))
    }
}

/// Has a stream of an agent that runs end where it ends now: what is listed of it may be a second old.
async fn look_again(client: &ZmqClient, agent: &mut AgentInfo, stream: Stream) -> Result<()> {
    if agent.status.is_final() {
        return Ok(());
    }
    let known = ReadFrom::Offset(size(agent, stream));
    let end = client.read(agent.id, stream, known).await?.next_offset();
    match stream {
        Stream::Stdout => agent.output.stdout_bytes = end,
        Stream::Stderr => agent.output.stderr_bytes = end,
    }
    Ok(())
}

/// Goes on until the agent's end, or Ctrl-C.
async fn follow(
    client: &ZmqClient,
    agent: AgentInfo,
    readers: Vec<(Stream, OutputReader)>,
    printer: Printer,
) -> Result<u8> {
    let session = Session::watch(client, agent, readers, printer)?;
    match session.run().await? {
        End::Ended(_) | End::Left => Ok(exit::DONE),
        End::Interrupted => Ok(exit::INTERRUPTED),
    }
}

/// Where the last lines of a stream begin.
async fn tail(client: &ZmqClient, agent: &AgentInfo, stream: Stream, lines: u64) -> Result<u64> {
    let end = size(agent, stream);
    if lines == 0 {
        return Ok(end);
    }
    let mut bytes = TAIL_BYTES;
    loop {
        let start = end.saturating_sub(bytes);
        let window = read(client, agent, stream, start, end).await?;
        if let Some(found) = window.last_lines(lines) {
            return Ok(found);
        }
        if start <= window.first_offset {
            return Ok(window.parts.first().map_or(end, |part| part.offset));
        }
        bytes = bytes.saturating_mul(2);
    }
}

/// A stretch of a stream.
#[derive(Default)]
struct Window {
    /// Where the stream begins, of which the beginning may be gone.
    first_offset: u64,
    /// What is there, in order. Something is gone before each part but the first.
    parts: Vec<Part>,
}

struct Part {
    offset: u64,
    text: Vec<u8>,
}

impl Window {
    /// Where its last lines begin; `None` where it has fewer. No line goes on across what is gone.
    fn last_lines(&self, lines: u64) -> Option<u64> {
        let mut wanted = lines;
        for (index, part) in self.parts.iter().enumerate().rev() {
            if let Some(found) = last_lines(&part.text, wanted) {
                return Some(part.offset + found as u64);
            }
            let held = part.text.split_inclusive(|byte| *byte == b'\n').count();
            wanted -= held as u64;
            if wanted == 0 && index > 0 {
                return Some(part.offset);
            }
        }
        None
    }
}

/// What is there between two offsets.
async fn read(
    client: &ZmqClient,
    agent: &AgentInfo,
    stream: Stream,
    start: u64,
    end: u64,
) -> Result<Window> {
    let mut reader = client.output(agent.id, stream, ReadFrom::Offset(start));
    let mut window = Window::default();
    while let Some(chunk) = reader.next_available().await? {
        window.first_offset = chunk.first_offset;
        let wanted = usize::try_from(end.saturating_sub(chunk.offset)).unwrap_or(usize::MAX);
        let data = &chunk.data[..wanted.min(chunk.data.len())];
        match window.parts.last_mut() {
            Some(part) if chunk.lost_bytes == 0 => part.text.extend_from_slice(data),
            _ => window.parts.push(Part {
                offset: chunk.offset,
                text: data.to_vec(),
            }),
        }
        if chunk.next_offset() >= end {
            break;
        }
    }
    Ok(window)
}

/// Where in a text its last lines begin; `None` where it has fewer.
fn last_lines(text: &[u8], lines: u64) -> Option<usize> {
    let Some(before_last) = usize::try_from(lines).ok()?.checked_sub(1) else {
        return Some(text.len());
    };
    // A newline at the very end ends a line, and begins none.
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let newlines = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n');
    newlines.map(|(index, _)| index + 1).nth(before_last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_found_on_both_sides_of_what_is_gone() {
        let part = |offset, text: &str| Part {
            offset,
            text: text.into(),
        };
        let last_lines = |parts, lines| {
            let first_offset = 0;
            let window = Window {
                first_offset,
                parts,
            };
            window.last_lines(lines)
        };
        let gone_at_the_end = || vec![part(10, "a\nb\nc"), part(90, "")];
        assert_eq!(last_lines(gone_at_the_end(), 1), Some(14));
        assert_eq!(last_lines(gone_at_the_end(), 2), Some(12));
        assert_eq!(last_lines(gone_at_the_end(), 3), None);
        let gone_between = || vec![part(10, "a\nb"), part(50, "c\nd\n")];
        assert_eq!(last_lines(gone_between(), 1), Some(52));
        assert_eq!(last_lines(gone_between(), 2), Some(50));
        assert_eq!(last_lines(gone_between(), 3), Some(12));
        assert_eq!(last_lines(gone_between(), 4), None);
        assert_eq!(last_lines(vec![], 1), None);
    }

    #[test]
    fn the_last_lines_are_found_with_and_without_a_newline_at_the_end() {
        assert_eq!(last_lines(b"a\nb\nc\n", 1), Some(4));
        assert_eq!(last_lines(b"a\nb\nc", 2), Some(2));
        assert_eq!(last_lines(b"a\nb\nc\n", 3), None);
        assert_eq!(last_lines(b"a\n", 0), Some(2));
        assert_eq!(last_lines(b"\n\n\n", 2), Some(1));
    }
}
