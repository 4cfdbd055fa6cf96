//! The output of one agent, by lines.

use std::collections::VecDeque;

use descartes_client::OutputChunk;
use descartes_client::protocol::{AgentId, Stream};
use ratatui::crossterm::event::KeyCode;

use crate::session::render;
use crate::table::plain;

/// Lines that are kept.
const LINES_MAX: usize = 2000;

/// Bytes of a line that are read: an event of an agent is a line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes of the end of a line that are shown where its beginning is not known.
const END_BYTES: usize = 256;

/// Characters of a line that are kept.
const TEXT_CHARS_MAX: usize = 4096;

/// Columns by which the text moves to the side.
const SIDE_STEP: usize = 20;

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Stdout,
    Stderr,
    /// This side.
    Note,
}

/// A line that an agent wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) origin: Origin,
    pub(super) text: String,
}

/// The line of a stream that has not ended.
#[derive(Debug, Default)]
struct Partial {
    text: Vec<u8>,
    begin: Begin,
}

/// Whether it is known where a line begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Begin {
    /// Not before the next newline.
    #[default]
    Unknown,
    Known,
}

/// The end of an agent's output, and which part of it is shown.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) agent: AgentId,
    lines: VecDeque<Line>,
    stdout: Partial,
    stderr: Partial,
    /// Whether there was output before the lines that are kept.
    is_cut: bool,
    /// Lines between the last one on the screen and the last one.
    behind: usize,
    /// Columns that are passed over.
    pub(super) side: usize,
    height: usize,
}

impl Log {
    pub(super) fn new(agent: AgentId) -> Self {
        Self {
            agent,
            lines: VecDeque::new(),
            stdout: Partial::default(),
            stderr: Partial::default(),
            is_cut: false,
            behind: 0,
            side: 0,
            height: 1,
        }
    }

    /// More output came.
    pub(super) fn feed(&mut self, stream: Stream, chunk: &OutputChunk) {
        if chunk.lost_bytes > 0 {
            self.end_line(stream);
            self.push(
                Origin::Note,
                format!("[{} bytes are gone]", chunk.lost_bytes),
            );
        }
        let mut data = &chunk.data[..];
        if self.partial(stream).begin == Begin::Unknown && chunk.offset > 0 {
            self.is_cut = true;
            match data.iter().position(|byte| *byte == b'\n') {
                Some(newline) => data = &data[newline + 1..],
                None if may_end_event(data) => return,
                None => self.extend(stream, "…".as_bytes()),
            }
        }
        self.partial(stream).begin = Begin::Known;
        let mut parts = data.split(|byte| *byte == b'\n');
        if let Some(first) = parts.next() {
            self.extend(stream, first);
        }
        for part in parts {
            self.end_line(stream);
            self.extend(stream, part);
        }
        self.behind = self.behind.min(self.behind_max());
    }

    /// Something that the agent did not write.
    pub(super) fn note(&mut self, text: String) {
        self.end_line(Stream::Stdout);
        self.end_line(Stream::Stderr);
        self.push(Origin::Note, text);
        self.behind = self.behind.min(self.behind_max());
    }

    pub(super) fn key(&mut self, code: KeyCode) {
        let page = self.height.saturating_sub(1).max(1);
        match code {
            KeyCode::Up => self.behind += 1,
            KeyCode::Down => self.behind = self.behind.saturating_sub(1),
            KeyCode::PageUp => self.behind += page,
            KeyCode::PageDown => self.behind = self.behind.saturating_sub(page),
            KeyCode::Home => self.behind = usize::MAX,
            KeyCode::End => self.behind = 0,
            KeyCode::Left => self.side = self.side.saturating_sub(SIDE_STEP),
            KeyCode::Right => self.side = (self.side + SIDE_STEP).min(TEXT_CHARS_MAX),
            _ => {}
        }
        self.behind = self.behind.min(self.behind_max());
    }

    /// How many lines the screen has.
    pub(super) fn resize(&mut self, height: usize) {
        self.height = height;
        self.behind = self.behind.min(self.behind_max());
    }

    /// The lines on the screen.
    pub(super) fn on_screen(&self) -> impl Iterator<Item = Line> {
        let partial = self.unended();
        let end = (self.lines.len() + partial.len()).saturating_sub(self.behind);
        let start = end.saturating_sub(self.height);
        let whole = self.lines.range(start.min(self.lines.len())..).cloned();
        let passed_over = start.saturating_sub(self.lines.len());
        whole
            .chain(partial.into_iter().skip(passed_over))
            .take(end - start)
    }

    /// What there is of lines that have not ended.
    fn unended(&self) -> Vec<Line> {
        let partial = [
            (Stream::Stdout, &self.stdout),
            (Stream::Stderr, &self.stderr),
        ];
        let begun = partial.into_iter().filter(|(_, it)| !it.text.is_empty());
        begun
            .flat_map(|(stream, it)| lines(stream, &it.text))
            .collect()
    }

    /// How many lines come after those on the screen.
    pub(super) fn behind(&self) -> usize {
        self.behind
    }

    /// Whether the first line that is kept is on the screen, and there was output before it.
    pub(super) fn has_more_before(&self) -> bool {
        self.is_cut && self.behind == self.behind_max()
    }

    fn behind_max(&self) -> usize {
        (self.lines.len() + self.unended().len()).saturating_sub(self.height)
    }

    fn extend(&mut self, stream: Stream, mut text: &[u8]) {
        let line = &mut self.partial(stream).text;
        // What a line went back over is not seen any more.
        let back = text.iter().rposition(|byte| *byte == b'\r');
        if let Some(back) = back.filter(|back| back + 1 < text.len()) {
            text = &text[back + 1..];
            line.clear();
        } else if line.ends_with(b"\r") && text.iter().any(|byte| *byte != b'\r') {
            line.clear();
        }
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        line.extend_from_slice(&text[..text.len().min(room)]);
    }

    fn end_line(&mut self, stream: Stream) {
        let text = std::mem::take(&mut self.partial(stream).text);
        for line in lines(stream, &text) {
            self.push(line.origin, line.text);
        }
    }

    fn push(&mut self, origin: Origin, text: String) {
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
            self.is_cut = true;
        }
        self.lines.push_back(Line { origin, text });
        // Who looks at older lines goes on seeing those.
        self.behind += usize::from(self.behind > 0);
    }

    fn partial(&mut self, stream: Stream) -> &mut Partial {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

/// A line as it is shown: the event of a known agent as text, and of others what a terminal would show in the end.
fn lines(stream: Stream, line: &[u8]) -> Vec<Line> {
    let mut overwritten = line.rsplit(|byte| *byte == b'\r');
    let line = overwritten
        .find(|text| !text.is_empty())
        .unwrap_or_default();
    let origin = match stream {
        Stream::Stdout => Origin::Stdout,
        Stream::Stderr => Origin::Stderr,
    };
    let texts = if let Some(entries) = render::entries(line).filter(|_| stream == Stream::Stdout) {
        let text: String = entries.iter().map(render::Entry::lines).collect();
        let text = anstream::adapter::strip_str(&text).to_string();
        text.lines().map(str::to_owned).collect()
    } else {
        let text = String::from_utf8_lossy(line);
        vec![anstream::adapter::strip_str(&text).to_string()]
    };
    let texts = texts.into_iter().map(|text| {
        let text: String = text.chars().take(TEXT_CHARS_MAX).collect();
        plain(&text)
    });
    texts.map(|text| Line { origin, text }).collect()
}

/// The last line in some output that says something; empty where that is not known.
pub(super) fn last_line(stream: Stream, chunk: &OutputChunk) -> String {
    let mut text = &chunk.data[..];
    if chunk.offset > 0 {
        // Of the first line the beginning is missing.
        match text.iter().position(|byte| *byte == b'\n') {
            Some(newline) => text = &text[newline + 1..],
            None if may_end_event(text) => return String::new(),
            None => return end_of_line(stream, text),
        }
    }
    let unended = text.rsplit(|byte| *byte == b'\n').next();
    if unended.is_some_and(|line| line.starts_with(b"{") && !may_end_event(line)) {
        // Half of an event, most likely.
        text = &text[..text.len() - unended.map_or(0, <[u8]>::len)];
    }
    text.split(|byte| *byte == b'\n')
        .rev()
        .flat_map(|line| lines(stream, line).into_iter().rev())
        .map(|line| line.text.trim().to_owned())
        .find(|text| !text.is_empty())
        .unwrap_or_default()
}

/// The end of a line, of which the beginning is not known.
fn end_of_line(stream: Stream, text: &[u8]) -> String {
    let end = &text[text.len().saturating_sub(END_BYTES)..];
    let shown = lines(stream, end).pop().map(|line| line.text);
    let shown = shown.unwrap_or_default();
    format!("…{}", shown.trim_start_matches('\u{fffd}').trim_end())
}

/// Whether this may be the end of an agent's event, which says nothing without its beginning.
fn may_end_event(text: &[u8]) -> bool {
    text.trim_ascii_end().ends_with(b"}")
}
