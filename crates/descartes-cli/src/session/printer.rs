//! How output is printed: as it is, as a person would read it, by lines with times, or as JSON.

use clap::ValueEnum;
use descartes_client::OutputChunk;
use descartes_client::protocol::{AgentId, OutputTime, Stream, Timestamp};
use serde_json::json;

use crate::error::Result;
use crate::output;
use crate::session::render::{self, Entry};
use crate::time;

/// A line longer than this is printed in pieces, each as a line of its own.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The bytes as they are.
    Raw,
    /// The events of known agents as text; everything else as it is.
    Rendered,
    /// Lines, each after the time at which it began to arrive.
    Timestamps,
    /// An object for each line.
    Json,
}

/// Whether the events of known agents are turned into text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Render {
    /// On a terminal
    Auto,
    Always,
    Never,
}

impl Render {
    /// The layout for a person.
    pub(crate) fn layout(self) -> Layout {
        match self {
            Self::Always => Layout::Rendered,
            Self::Auto if output::stdout_is_terminal() => Layout::Rendered,
            Self::Auto | Self::Never => Layout::Raw,
        }
    }
}

/// Where an agent's stderr goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errors {
    /// To this side's stderr.
    Apart,
    /// To stdout, as nothing else is printed.
    ToStdout,
}

/// Prints the output of one agent.
#[derive(Debug)]
pub(crate) struct Printer {
    agent: AgentId,
    layout: Layout,
    errors: Errors,
    stdout: Line,
    stderr: Line,
    /// Whether a text that comes in pieces has not come to its end.
    is_in_text: bool,
}

/// The line that a stream is in the middle of.
#[derive(Debug, Default)]
struct Line {
    text: Vec<u8>,
    /// Whether it is no event, and its beginning printed already.
    is_plain: bool,
    offset: u64,
    time: Option<Timestamp>,
}

impl Printer {
    pub(crate) fn new(agent: AgentId, layout: Layout, errors: Errors) -> Self {
        Self {
            agent,
            layout,
            errors,
            stdout: Line::default(),
            stderr: Line::default(),
            is_in_text: false,
        }
    }

    /// Prints what is there of whole lines; raw, everything.
    pub(crate) fn print(&mut self, stream: Stream, chunk: &OutputChunk) -> Result<()> {
        if chunk.lost_bytes > 0 {
            self.flush(stream)?;
            note_gone(stream, chunk.lost_bytes);
        }
        if self.layout == Layout::Raw {
            return self.write(stream, &chunk.data);
        }
        let mut offset = chunk.offset;
        for part in chunk.data.split_inclusive(|&byte| byte == b'\n') {
            if self.is_plain(stream, part) {
                self.end_text()?;
                self.write(stream, part)?;
                self.line(stream).is_plain = !part.ends_with(b"\n");
                offset += part.len() as u64;
                continue;
            }
            let line = self.line(stream);
            if line.text.is_empty() {
                line.offset = offset;
                line.time = time_at(&chunk.times, offset);
            }
            line.text.extend_from_slice(part);
            offset += part.len() as u64;
            if part.ends_with(b"\n") || line.text.len() >= LINE_BYTES_MAX {
                self.flush(stream)?;
            }
        }
        Ok(())
    }

    /// Whether a part of a line can be printed as it comes: an event begins with a brace.
    fn is_plain(&mut self, stream: Stream, part: &[u8]) -> bool {
        let may_render = self.layout == Layout::Rendered && stream == Stream::Stdout;
        let line = self.line(stream);
        let begins_plain = line.text.is_empty() && !(may_render && part.starts_with(b"{"));
        self.layout == Layout::Rendered && (self.line(stream).is_plain || begins_plain)
    }

    /// Prints whole lines that were picked from a stream: it is not known where they stand, nor when they came.
    pub(crate) fn print_lines(&mut self, stream: Stream, lines: &[String]) -> Result<()> {
        match self.layout {
            Layout::Json => lines
                .iter()
                .try_for_each(|line| self.object(stream, None, None, line)),
            Layout::Rendered => lines.iter().try_for_each(|line| {
                self.render(stream, format!("{line}\n").as_bytes())?;
                // What the next one says need not go on from there.
                self.end_text()
            }),
            Layout::Raw | Layout::Timestamps => {
                let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
                self.write(stream, text.as_bytes())
            }
        }
    }

    /// Prints lines that were never ended.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.flush(Stream::Stdout)?;
        self.flush(Stream::Stderr)?;
        self.end_text()
    }

    fn flush(&mut self, stream: Stream) -> Result<()> {
        let Line {
            mut text,
            offset,
            time,
            ..
        } = std::mem::take(self.line(stream));
        if text.is_empty() {
            return Ok(());
        }
        if self.layout == Layout::Json {
            let line = text.strip_suffix(b"\n").unwrap_or(&text);
            return self.object(stream, Some(offset), time, &String::from_utf8_lossy(line));
        }
        if self.layout == Layout::Rendered {
            return self.render(stream, &text);
        }
        if !text.ends_with(b"\n") {
            text.push(b'\n');
        }
        let stamp = time
            .and_then(time::rfc3339)
            .unwrap_or_else(|| "-".to_owned());
        let stamped = [stamp.as_bytes(), b" ", &text].concat();
        self.write(stream, &stamped)
    }

    fn object(
        &self,
        stream: Stream,
        offset: Option<u64>,
        time: Option<Timestamp>,
        text: &str,
    ) -> Result<()> {
        output::json(&json!({
            "agent_id": self.agent.to_string(),
            "stream": stream.as_str(),
            "offset": offset,
            "time": time.and_then(time::rfc3339),
            "text": text,
        }))
    }

    fn render(&mut self, stream: Stream, line: &[u8]) -> Result<()> {
        let Some(entries) = render::entries(line).filter(|_| stream == Stream::Stdout) else {
            self.end_text()?;
            return self.write(stream, line);
        };
        for entry in entries {
            let is_piece = matches!(entry, Entry::Piece(_));
            if !is_piece {
                self.end_text()?;
            }
            output::styled(entry.lines())?;
            self.is_in_text = is_piece;
        }
        Ok(())
    }

    fn end_text(&mut self) -> Result<()> {
        if std::mem::take(&mut self.is_in_text) {
            output::line("")?;
        }
        Ok(())
    }

    fn write(&self, stream: Stream, data: &[u8]) -> Result<()> {
        match (stream, self.errors) {
            (Stream::Stderr, Errors::Apart) => output::error_bytes(data),
            _ => output::bytes(data),
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Line {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// Tells a person that bytes are gone.
pub(crate) fn note_gone(stream: Stream, bytes: u64) {
    output::note(format_args!("[{bytes} bytes of {stream} are gone]"));
}

/// The time at which the byte at an offset arrived.
pub(crate) fn time_at(times: &[OutputTime], offset: u64) -> Option<Timestamp> {
    let after = times.partition_point(|known| known.offset <= offset);
    times[..after].last().map(|known| known.time)
}
