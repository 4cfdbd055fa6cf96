//! Draws what is shown.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::keys::KEYS;
use super::log::{Log, Origin};
use super::state::{Message, Mode, State};
use super::table;
use crate::describe::{bytes, status_words};
use crate::table::plain;
use crate::time;

pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const DIM: Style = Style::new().add_modifier(Modifier::DIM);

/// Draws everything, and tells the state how much has room.
pub(super) fn draw(frame: &mut Frame, state: &mut State) {
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(cut_line(heading(state), head.width), head);
    let rows = usize::from(body.height);
    // One is the table's header.
    state.resize(rows.saturating_sub(1));
    if let Mode::Log(log) = &mut state.mode {
        log.resize(rows.saturating_sub(1));
    }
    match &state.mode {
        Mode::Log(log) => draw_log(frame, body, state, log),
        _ => table::draw(frame, body, state),
    }
    if let Mode::Help(first) = &mut state.mode {
        draw_help(frame, body, first);
    }
    let foot_line = cut_line(footing(state), foot.width);
    frame.render_widget(foot_line, foot);
}

/// The server, how many agents are how, and what all of them write.
fn heading(state: &State) -> Line<'static> {
    let mut spans = vec![Span::styled(plain(&state.server), BOLD)];
    if let Some(reason) = &state.lost {
        let reason = plain(reason);
        spans.push(Span::styled(
            format!("  no connection, and trying to get it back: {reason}"),
            Color::Red,
        ));
        return Line::from(spans);
    }
    if let Some(silence) = state.silence(Instant::now()) {
        let silence = time::short(silence);
        spans.push(Span::styled(
            format!("  no answer for {silence}: this is how things were then"),
            Color::Red,
        ));
        return Line::from(spans);
    }
    let count = |name: &str| {
        let mut rows = state.all().iter().map(|row| row.info.status.as_str());
        let counted = rows.by_ref().filter(|status| *status == name).count();
        (counted > 0).then(|| format!("{counted} {name}"))
    };
    let statuses = [
        "running",
        "thinking",
        "paused",
        "completed",
        "failed",
        "terminated",
    ];
    let counts: Vec<String> = statuses.into_iter().filter_map(count).collect();
    let rate = bytes(state.all().iter().map(|row| row.rate).sum());
    let counts = counts.join(", ");
    spans.push(Span::raw(match state.all().len() {
        0 => "  no agents".to_owned(),
        1 => format!("  1 agent, {rate}/s: {counts}"),
        total => format!("  {total} agents, {rate}/s: {counts}"),
    }));
    Line::from(spans)
}

fn draw_log(frame: &mut Frame, area: Rect, state: &State, log: &Log) {
    let row = state.row(log.agent);
    let title = match row {
        Some(row) => format!("{}  {}", plain(&row.info.name), status_words(&row.info)),
        None => log.agent.to_string(),
    };
    let mut place = match log.behind() {
        0 => String::new(),
        lines => format!("  ({lines} lines further on)"),
    };
    if log.has_more_before() {
        place.push_str("  (`descartes logs` has what was before)");
    }
    let title = Line::from(vec![Span::styled(title, BOLD), Span::styled(place, DIM)]);
    let lines = log.on_screen().map(|line| {
        let style = match line.origin {
            Origin::Stdout => Style::new(),
            Origin::Stderr => Style::new().fg(Color::Red),
            Origin::Note => DIM,
        };
        let text: String = line.text.chars().skip(log.side).collect();
        Line::styled(text, style)
    });
    let text: Vec<Line> = std::iter::once(title).chain(lines).collect();
    frame.render_widget(Paragraph::new(text), area);
}

fn draw_help(frame: &mut Frame, area: Rect, first: &mut usize) {
    let width = KEYS.iter().map(|(keys, _)| keys.chars().count()).max();
    let width = width.unwrap_or_default();
    let lines: Vec<Line> = KEYS
        .iter()
        .map(|(keys, what)| {
            let gap = width - keys.chars().count() + 2;
            let keys = Span::styled(*keys, BOLD);
            Line::from(vec![keys, Span::raw(" ".repeat(gap)), Span::raw(*what)])
        })
        .collect();
    let wanted = lines.iter().map(Line::width).max().unwrap_or_default() + 4;
    let height = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    let width = u16::try_from(wanted).unwrap_or(u16::MAX);
    let size = (width.min(area.width), height.min(area.height));
    let place = Rect::new(
        area.x + (area.width - size.0) / 2,
        area.y + (area.height - size.1) / 2,
        size.0,
        size.1,
    );
    // Two rows are the frame's.
    let hidden = KEYS
        .len()
        .saturating_sub(usize::from(size.1.saturating_sub(2)));
    *first = (*first).min(hidden);
    let mut block = Block::bordered().title(" keys ");
    if hidden > 0 {
        block = block.title_bottom(" ↑↓ more ");
    }
    let scroll = (u16::try_from(*first).unwrap_or(u16::MAX), 0);
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines).block(block).scroll(scroll);
    frame.render_widget(text, place);
}

/// A question, a message, the filter, or the most important keys.
fn footing(state: &State) -> Line<'static> {
    match &state.mode {
        Mode::Confirm(deed, id) => {
            let name = state.row(*id).map(|row| plain(&row.info.name));
            let name = name.unwrap_or_else(|| id.to_string());
            let verb = deed.verb();
            return Line::styled(format!("{verb} {name}? [y/n]"), BOLD.fg(Color::Yellow));
        }
        Mode::Filter => {
            let filter = plain(&state.filter);
            return Line::from(vec![
                Span::styled(format!("/{filter}█"), BOLD),
                Span::styled("  Enter keeps it, Esc clears it", DIM),
            ]);
        }
        Mode::Table | Mode::Help(_) | Mode::Log(_) => {}
    }
    match &state.message {
        Some(Message::Done(text)) => return Line::raw(plain(text)),
        Some(Message::Problem(text)) => return Line::styled(plain(text), Color::Red),
        None => {}
    }
    if matches!(state.mode, Mode::Log(_)) {
        let keys = "q back  ↑↓ PgUp PgDn Home scroll  End follow  ←→ sideways";
        return Line::styled(keys, DIM);
    }
    let mut spans = Vec::new();
    if !state.filter.is_empty() {
        spans.push(Span::styled(format!("/{}  ", plain(&state.filter)), BOLD));
    }
    let keys = "q quit  l log  p pause  r resume  s stop  k kill  / filter  o sort  ? all keys";
    spans.push(Span::styled(keys, DIM));
    Line::from(spans)
}

/// The beginning of a line, with a sign where it goes on.
fn cut_line(line: Line<'static>, width: u16) -> Line<'static> {
    let mut left = usize::from(width);
    let spans = line.spans.into_iter().map(|span| {
        let span = table::cut_span(&span, left);
        left -= span.width();
        span
    });
    let spans: Vec<Span> = spans.collect();
    Line::from(spans).style(line.style)
}
