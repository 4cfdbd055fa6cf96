//! The list of agents.

use anstyle::{AnsiColor, Color as Ansi};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use ratatui::widgets::{Row as TableRow, Table};

use super::state::{Column, Direction, Row, State};
use super::view::{BOLD, DIM};
use crate::describe::{bytes, status_style, status_words};
use crate::ids;
use crate::sort::{Sort, written};
use crate::table::{cut, plain};
use crate::time;

/// From so many columns on all fields are shown.
const WIDE: u16 = 110;

/// Columns that an id gets at most. To tell apart agents that started in one moment takes more, and names do it as well.
const ID_WIDTH_MAX: usize = 13;

/// Columns between two fields.
const SPACING: u16 = 1;

const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// What a column says of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    Name,
    /// With the reason of an end.
    Status,
    /// In one word.
    ShortStatus,
    Backend,
    Time,
    Output,
    Rate,
    LastLine,
}

/// Fields, and how wide they are. The id is as wide as it has to be, the last line as there is room.
const ALL_FIELDS: &[(Field, u16)] = &[
    (Field::Id, 8),
    (Field::Name, 28),
    (Field::Status, 24),
    (Field::Backend, 10),
    (Field::Time, 7),
    (Field::Output, 7),
    (Field::Rate, 9),
    (Field::LastLine, 0),
];

const FIELDS: &[(Field, u16)] = &[
    (Field::Id, 8),
    (Field::Name, 14),
    (Field::ShortStatus, 10),
    (Field::Time, 7),
    (Field::Rate, 9),
    (Field::LastLine, 0),
];

pub(super) fn draw(frame: &mut Frame, area: Rect, state: &State) {
    let fields = if area.width >= WIDE {
        ALL_FIELDS
    } else {
        FIELDS
    };
    let id_width = ids::length(state.all().iter().map(|row| row.info.id)).min(ID_WIDTH_MAX);
    let (shown, selected) = state.on_screen();
    let widths = widths(fields, area.width, id_width);
    let rows = shown.enumerate().map(|(index, row)| {
        let cells = fields.iter().zip(&widths).map(|((field, _), width)| {
            let cell = field.cell(row, id_width);
            cut_span(&cell, (*width).into())
        });
        let style = if index == selected {
            REVERSED
        } else {
            Style::new()
        };
        TableRow::new(cells).style(style)
    });
    let header = fields.iter().map(|(field, _)| title(*field, state));
    let table = Table::new(rows, widths.iter().copied())
        .header(TableRow::new(header).style(BOLD))
        .column_spacing(SPACING);
    frame.render_widget(table, area);
    if state.shown().next().is_none() && area.height > 1 {
        let below = Rect {
            y: area.y + 1,
            height: 1,
            ..area
        };
        frame.render_widget(Span::styled(nothing(state), DIM), below);
    }
}

/// How wide the columns are on a screen of that width.
fn widths(fields: &[(Field, u16)], screen: u16, id_width: usize) -> Vec<u16> {
    let mut left = screen;
    let widths = fields.iter().map(|(field, width)| {
        let width = match field {
            Field::Id => u16::try_from(id_width).unwrap_or(u16::MAX),
            Field::LastLine => left,
            _ => *width,
        };
        left = left.saturating_sub(width).saturating_sub(SPACING);
        width
    });
    widths.collect()
}

/// What is said in the place of an empty list.
fn nothing(state: &State) -> &'static str {
    if state.all().is_empty() {
        "there are no agents; `descartes spawn` starts one"
    } else if state.filter.is_empty() {
        "no agent runs; `a` shows those that have ended"
    } else {
        "no agent contains that; Esc shows all"
    }
}

/// The title of a column; a sign shows that the list is sorted by it.
fn title(field: Field, state: &State) -> String {
    let (title, column) = match field {
        Field::Id => ("ID", Some(Column::By(Sort::Started))),
        Field::Name => ("NAME", Some(Column::By(Sort::Name))),
        Field::Status | Field::ShortStatus => ("STATUS", Some(Column::By(Sort::Status))),
        Field::Backend => ("BACKEND", Some(Column::By(Sort::Backend))),
        Field::Time => ("TIME", Some(Column::By(Sort::Runtime))),
        Field::Output => ("OUTPUT", Some(Column::By(Sort::Output))),
        Field::Rate => ("RATE", Some(Column::Rate)),
        Field::LastLine => ("LAST LINE", None),
    };
    let sign = match state.direction {
        _ if column != Some(state.column) => "",
        Direction::Forward => "▾",
        Direction::Reverse => "▴",
    };
    format!("{title}{sign}")
}

impl Field {
    fn cell(self, row: &Row, id_width: usize) -> Span<'static> {
        let info = &row.info;
        let text = match self {
            Self::Id => ids::cut(info.id, id_width),
            Self::Name => plain(&info.name),
            Self::Status => return Span::styled(status_words(info), color(row)),
            Self::ShortStatus => return Span::styled(info.status.to_string(), color(row)),
            Self::Backend => plain(&info.model_backend),
            Self::Time => time::short(time::between(info.started_at, info.finished_at)),
            Self::Output => bytes(written(info)),
            Self::Rate if row.rate == 0 => String::new(),
            Self::Rate => format!("{}/s", bytes(row.rate)),
            Self::LastLine => row.last_line.clone(),
        };
        Span::raw(text)
    }
}

/// The beginning of a text, with a sign where it goes on.
pub(super) fn cut_span(span: &Span, width: usize) -> Span<'static> {
    Span::styled(cut(&span.content, width), span.style)
}

fn color(row: &Row) -> Style {
    let color = match status_style(row.info.status).get_fg_color() {
        Some(Ansi::Ansi(AnsiColor::Green)) => Color::Green,
        Some(Ansi::Ansi(AnsiColor::Yellow)) => Color::Yellow,
        Some(Ansi::Ansi(AnsiColor::Red)) => Color::Red,
        Some(Ansi::Ansi(AnsiColor::Magenta)) => Color::Magenta,
        _ => return Style::new(),
    };
    Style::new().fg(color)
}
