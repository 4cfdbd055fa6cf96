//! Tables: columns side by side, as wide as what is in them, as far as the terminal is wide.

use std::fmt::Write as _;

use anstyle::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::error::Result;
use crate::output;

const GAP: &str = "  ";
const HEADER: Style = Style::new().bold();

/// A table with a header.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A text and how it is shown.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    pub(crate) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self {
            text: plain(&text.into()),
            style,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::styled(text, Style::new())
    }
}

impl Table {
    pub(crate) fn new(header: impl Into<Vec<&'static str>>) -> Self {
        Self {
            header: header.into(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        self.rows.push(cells.into());
    }

    /// Prints it; without rows, nothing.
    pub(crate) fn print(&self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for line in self.lines(output::width()) {
            output::line(line)?;
        }
        Ok(())
    }

    /// The lines, cut to a terminal of that width.
    pub(crate) fn lines(&self, width: Option<usize>) -> Vec<String> {
        let widths = self.widths();
        let header = self.header.iter().map(|text| (*text, HEADER));
        let mut lines = vec![line(header, &widths, width)];
        for row in &self.rows {
            let cells = row.iter().map(|cell| (cell.text.as_str(), cell.style));
            lines.push(line(cells, &widths, width));
        }
        lines
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.header.iter().map(|text| text.width()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.text.width());
            }
        }
        widths
    }
}

fn line<'a>(
    cells: impl ExactSizeIterator<Item = (&'a str, Style)>,
    widths: &[usize],
    width: Option<usize>,
) -> String {
    let mut line = String::new();
    let mut left = width.unwrap_or(usize::MAX);
    let last = cells.len().saturating_sub(1);
    for (index, ((text, style), &width)) in cells.zip(widths).enumerate() {
        let text = cut(text, left);
        let _ = write!(line, "{style}{text}{style:#}");
        if index < last {
            let padding = width.saturating_sub(text.width()) + GAP.len();
            line.extend(std::iter::repeat_n(' ', padding.min(left - text.width())));
            left = left.saturating_sub(width + GAP.len());
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// A text in one line and without what a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '\n' | '\r' | '\t' => words.push(' '),
            char if char.is_control() || is_invisible(char) => words.push('\u{fffd}'),
            char => words.push(char),
        }
    }
    words
}

/// Characters that show nothing, or turn around what follows: a name with them looks like another.
fn is_invisible(char: char) -> bool {
    matches!(char, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The beginning of a text, at most that wide.
pub(crate) fn cut(text: &str, max: usize) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    if max == 0 {
        return String::new();
    }
    let mut short = String::new();
    let mut width = 0;
    for char in text.chars() {
        width += char.width().unwrap_or(0);
        if width >= max {
            break;
        }
        short.push(char);
    }
    // A text may be wider than its characters are one by one.
    while short.width() >= max {
        short.pop();
    }
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_the_last_is_cut() {
        let mut table = Table::new(["ID", "TASK"]);
        table.row(["1".into(), "a task that is long".into()]);
        table.row(["12345".into(), "日本語のとても長い仕事".into()]);
        let lines: Vec<String> = table
            .lines(Some(20))
            .iter()
            .map(|line| anstream::adapter::strip_str(line).to_string())
            .collect();
        assert_eq!(
            lines,
            [
                "ID     TASK",
                "1      a task that …",
                "12345  日本語のとて…"
            ]
        );
        for width in 1..30 {
            let lines = table.lines(Some(width));
            let shown = lines
                .iter()
                .map(|line| anstream::adapter::strip_str(line).to_string());
            assert!(
                shown.into_iter().all(|line| line.width() <= width),
                "{width}"
            );
        }
    }

    #[test]
    fn a_text_that_is_wider_than_its_characters_is_cut_to_what_there_is_room_for() {
        // A heart in colour takes two columns, and its characters one.
        let hearts = "\u{2764}\u{fe0f}".repeat(20);
        for width in 1..40 {
            let cut = cut(&hearts, width);
            assert!(cut.width() <= width, "{width}: {}", cut.width());
            assert!(cut.ends_with('…'), "{width}");
        }
    }

    #[test]
    fn what_an_agent_says_cannot_command_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb c");
        assert_eq!(plain("\u{202e}evil"), "\u{fffd}evil");
    }
}
