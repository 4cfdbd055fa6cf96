//! What an agent's standard output says about it: session, model, usage, outcome.
//!
//! A parser only watches. The bytes themselves are kept elsewhere, and a line that it does not
//! understand is output like any other. Its whole state follows from the bytes fed to it, so after a
//! restart of the server it is rebuilt by feeding the output again from offset 0.

mod aider;
mod claude;
mod codex;
mod copilot;
mod gemini;
mod jsonl;
mod lines;
mod opencode;
mod sink;
#[cfg(test)]
mod tests;

use serde_json::Value;

use lines::Lines;
use sink::Sink;

/// The longest line that is looked at, in bytes; a longer one is skipped.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// The longest text of a result, in bytes; a longer one is cut at a character.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;

/// Whose output it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParserKind {
    /// Claude Code's and Qwen Code's `stream-json`.
    Claude,
    /// `codex exec --json`.
    Codex,
    /// `opencode run --format json`.
    Opencode,
    /// Gemini CLI's `stream-json`.
    Gemini,
    /// Copilot CLI's `--output-format json`.
    Copilot,
    /// Aider's plain text: the model, and errors of the model's API.
    Aider,
    /// Any program's JSON lines. Of an object are read `session_id` and `model` (strings), and by
    /// `type`: `thinking`; `running`; `result` with `is_error` (default false), `result` (the text),
    /// `usage {input_tokens, output_tokens, cache_read_tokens}` and `total_cost_usd`.
    Jsonl,
    /// Nothing is read out of it.
    Text,
}

/// Something new that the output says.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// The session's id, with which the program can resume it.
    Session(String),
    /// The model that answers.
    Model(String),
    /// The model has begun to think: a thinking or reasoning item came.
    Thinking,
    /// It thinks no more: it says or does something, or its turn is over.
    Working,
    /// Totals of the run so far, as the program counts them.
    Usage(Usage),
    /// A turn has ended. The last one that came is the outcome.
    Result {
        /// Whether the program itself reports a failure.
        is_error: bool,
        /// The answer, or what went wrong; at most [`RESULT_BYTES_MAX`].
        text: String,
    },
}

/// Tokens and cost. Whether `input_tokens` includes those read from a cache is the program's
/// choice: codex and gemini include them, claude and opencode do not.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Tokens that the model read.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Tokens that came from the provider's cache.
    pub cache_read_tokens: u64,
    /// In US dollars, where the program says so.
    pub cost_usd: Option<f64>,
}

/// Reads one agent's standard output. Holds at most one unfinished line and one result's text.
#[derive(Debug)]
pub struct Parser {
    lines: Lines,
    format: Format,
    sink: Sink,
}

#[derive(Debug)]
enum Format {
    Claude(claude::Claude),
    Codex(codex::Codex),
    Opencode(opencode::Opencode),
    Gemini(gemini::Gemini),
    Copilot(copilot::Copilot),
    Aider(aider::Aider),
    Jsonl,
    Text,
}

impl ParserKind {
    /// Whether a run that ends well always ends with a result. Where it does, a program that exits
    /// with 0 and without one was interrupted.
    #[must_use]
    pub fn expects_result(self) -> bool {
        match self {
            Self::Claude | Self::Codex | Self::Gemini | Self::Copilot => true,
            Self::Opencode | Self::Aider | Self::Jsonl | Self::Text => false,
        }
    }
}

impl Parser {
    /// A parser at the beginning of the output.
    #[must_use]
    pub fn new(kind: ParserKind) -> Self {
        let format = match kind {
            ParserKind::Claude => Format::Claude(claude::Claude::default()),
            ParserKind::Codex => Format::Codex(codex::Codex::default()),
            ParserKind::Opencode => Format::Opencode(opencode::Opencode::default()),
            ParserKind::Gemini => Format::Gemini(gemini::Gemini::default()),
            ParserKind::Copilot => Format::Copilot(copilot::Copilot::default()),
            ParserKind::Aider => Format::Aider(aider::Aider::default()),
            ParserKind::Jsonl => Format::Jsonl,
            ParserKind::Text => Format::Text,
        };
        Self {
            lines: Lines::default(),
            format,
            sink: Sink::default(),
        }
    }

    /// Reads the next bytes, however they are cut, and returns what is new in them.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Observation> {
        let Self {
            lines,
            format,
            sink,
        } = self;
        if !matches!(format, Format::Text) {
            lines.feed(bytes, |line| format.line(line, sink));
        }
        sink.take()
    }

    /// Bytes are gone here: what came before and what comes next is no one line.
    pub fn gap(&mut self) -> Vec<Observation> {
        self.feed(b"\n")
    }

    /// Reads a last line that has no newline. Call it once, when the output has ended.
    pub fn finish(&mut self) -> Vec<Observation> {
        let Self {
            lines,
            format,
            sink,
        } = self;
        lines.finish(|line| format.line(line, sink));
        sink.take()
    }

    /// Whether the last turn that began has ended with a result.
    #[must_use]
    pub fn saw_result(&self) -> bool {
        self.sink.saw_result()
    }
}

impl Format {
    fn line(&mut self, line: &[u8], sink: &mut Sink) {
        if let Self::Aider(aider) = self {
            return aider.line(line, sink);
        }
        // Most lines that are no events do not even begin like one.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return;
        }
        let Ok(event) = serde_json::from_slice::<Value>(line) else {
            return;
        };
        match self {
            Self::Claude(claude) => claude.event(&event, sink),
            Self::Codex(codex) => codex.event(&event, sink),
            Self::Opencode(opencode) => opencode.event(&event, sink),
            Self::Gemini(gemini) => gemini.event(&event, sink),
            Self::Copilot(copilot) => copilot.event(&event, sink),
            Self::Jsonl => jsonl::event(&event, sink),
            Self::Aider(_) | Self::Text => {}
        }
    }
}

/// The string at a JSON pointer.
fn text<'a>(event: &'a Value, pointer: &str) -> Option<&'a str> {
    event.pointer(pointer)?.as_str()
}

/// The event's type; empty where it has none.
fn kind(event: &Value) -> &str {
    text(event, "/type").unwrap_or_default()
}

/// The number of tokens at a JSON pointer; 0 where there is none.
fn tokens(event: &Value, pointer: &str) -> u64 {
    event.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// Counts tokens up: a program can claim any number, so the sum stays at the largest.
fn add(total: &mut u64, tokens: u64) {
    *total = total.saturating_add(tokens);
}

/// The cost at a JSON pointer.
fn cost(event: &Value, pointer: &str) -> Option<f64> {
    event.pointer(pointer)?.as_f64()
}
