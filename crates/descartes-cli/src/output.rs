//! All that is printed goes through here: results to stdout, everything else to stderr.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use descartes_client::protocol::ErrorCode;
use serde_json::{Value, json};

use crate::error::{CliError, Result};
use crate::table::plain;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const NOTE: Style = Style::new().dimmed();

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// Prints a line to stdout, styled where that is a terminal.
pub(crate) fn line(text: impl Display) -> Result<()> {
    written(writeln!(anstream::stdout().lock(), "{text}"))
}

/// Prints to stdout without a newline, styled where that is a terminal, at once.
pub(crate) fn styled(text: impl Display) -> Result<()> {
    let mut stdout = anstream::stdout().lock();
    written(write!(stdout, "{text}").and_then(|()| stdout.flush()))
}

/// Prints one object as one line to stdout.
pub(crate) fn json(value: &Value) -> Result<()> {
    written(writeln!(io::stdout().lock(), "{value}"))
}

/// Prints bytes to stdout as they are, at once.
pub(crate) fn bytes(data: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    written(stdout.write_all(data).and_then(|()| stdout.flush()))
}

/// Prints bytes to stderr as they are.
pub(crate) fn error_bytes(data: &[u8]) -> Result<()> {
    written(io::stderr().lock().write_all(data))
}

/// Tells a person something beside the results.
pub(crate) fn note(text: impl Display) {
    // A closed stderr must not become a failure.
    let text = plain(&text.to_string());
    let _ = writeln!(anstream::stderr().lock(), "{NOTE}{text}{NOTE:#}");
}

/// Prints to stderr without a newline, for a question.
pub(crate) fn prompt(text: impl Display) {
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
}

/// Says what went wrong.
pub(crate) fn complain(error: &CliError, format: Format) {
    if error.message.is_empty() {
        return;
    }
    let mut stderr = anstream::stderr().lock();
    let written = match format {
        Format::Json => writeln!(
            stderr,
            "{}",
            json!({
                "error": error.message,
                "error_code": error.code.map(ErrorCode::as_str),
                "hint": error.hint,
            })
        ),
        Format::Text => writeln!(stderr, "{ERROR}error:{ERROR:#} {}", plain(&error.message))
            .and_then(|()| match &error.hint {
                Some(hint) => writeln!(stderr, "{HINT}hint:{HINT:#} {hint}"),
                None => Ok(()),
            }),
    };
    // Nobody is left to tell.
    let _ = written;
}

/// Whether a person can be asked something.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Whether a person reads what is said beside the results.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Whether a person reads the results.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal that stdout is; `None` where it is none.
pub(crate) fn width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col.into())
}

/// Lines of the terminal that stdout is; `None` where it is none.
pub(crate) fn height() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_row > 0).then_some(size.ws_row.into())
}

fn written(result: io::Result<()>) -> Result<()> {
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => CliError::broken_pipe(),
        _ => CliError::new(crate::exit::REFUSED, format!("failed to print: {error}")),
    })
}
