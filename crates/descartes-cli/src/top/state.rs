//! What is shown: no terminal and no connection.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use clap::builder::PossibleValue;
use descartes_client::protocol::{AgentId, AgentInfo, Stream, Timestamp};

use super::log::Log;
use crate::describe::status_words;
use crate::sort::{Sort, written};

/// A rate is that of so long a time, at least.
const RATE_TIME: Duration = Duration::from_secs(1);

/// After so long without a list what is shown is told to be old.
const SILENCE: Duration = Duration::from_secs(5);

/// What the agents are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    By(Sort),
    /// How fast they write.
    Rate,
}

impl ValueEnum for Column {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: &[Column] = &[
            Column::By(Sort::Started),
            Column::By(Sort::Name),
            Column::By(Sort::Status),
            Column::By(Sort::Backend),
            Column::By(Sort::Runtime),
            Column::By(Sort::Output),
            Column::Rate,
        ];
        ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::By(sort) => sort.to_possible_value(),
            Self::Rate => Some(PossibleValue::new("rate").help("The fastest writer first")),
        }
    }
}

/// Which way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Forward,
    Reverse,
}

/// Whether agents that have ended are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Shown,
    Hidden,
}

/// What is done to an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deed {
    Pause,
    Resume,
    Stop,
    Kill,
}

impl Deed {
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Stop => "stop",
            Self::Kill => "kill",
        }
    }
}

/// What keys are for now.
#[derive(Debug)]
pub(super) enum Mode {
    /// The list of agents.
    Table,
    /// Typing a filter.
    Filter,
    /// A question.
    Confirm(Deed, AgentId),
    /// The list of keys, from this one on.
    Help(usize),
    /// The output of one agent.
    Log(Log),
}

/// What is told at the bottom, until the next key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    Done(String),
    Problem(String),
}

/// An agent, and what its list does not say.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) info: AgentInfo,
    /// Bytes of output a second.
    pub(super) rate: u64,
    pub(super) last_line: String,
    /// The stream that grew last.
    pub(super) last_stream: Stream,
    /// Bytes written at a time, for the rate.
    mark: (u64, Instant),
}

impl Row {
    fn new(info: AgentInfo, now: Instant) -> Self {
        let last_stream = if info.output.stdout_bytes == 0 && info.output.stderr_bytes > 0 {
            Stream::Stderr
        } else {
            Stream::Stdout
        };
        Self {
            mark: (written(&info), now),
            rate: 0,
            last_line: String::new(),
            last_stream,
            info,
        }
    }

    fn becomes(&mut self, info: AgentInfo, now: Instant) {
        let (before, after) = (&self.info.output, &info.output);
        if after.stdout_bytes > before.stdout_bytes {
            self.last_stream = Stream::Stdout;
        } else if after.stderr_bytes > before.stderr_bytes {
            self.last_stream = Stream::Stderr;
        }
        let bytes = written(&info);
        let time = now.saturating_duration_since(self.mark.1);
        if time >= RATE_TIME {
            let grown = u128::from(bytes.saturating_sub(self.mark.0));
            let rate = grown * 1000 / time.as_millis();
            self.rate = u64::try_from(rate).unwrap_or(u64::MAX);
            self.mark = (bytes, now);
        }
        if info.status.is_final() {
            self.rate = 0;
        }
        self.info = info;
    }

    /// Whether some text of it contains this one, which is in lower case.
    fn contains(&self, text: &str) -> bool {
        let labels = self.info.labels.iter();
        let labels = labels.flat_map(|labels| labels.iter());
        let labels = labels.map(|(key, value)| format!("{key}={value}"));
        let own = [
            self.info.id.to_string(),
            self.info.name.clone(),
            status_words(&self.info),
            self.info.model_backend.clone(),
            self.info.task.clone(),
        ];
        own.into_iter()
            .chain(labels)
            .any(|own| own.to_lowercase().contains(text))
    }
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) server: String,
    pub(super) column: Column,
    pub(super) direction: Direction,
    pub(super) ended: Ended,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) message: Option<Message>,
    /// Why there is no connection.
    pub(super) lost: Option<String>,
    /// When the last list came.
    listed_at: Option<Instant>,
    rows: Vec<Row>,
    /// The rows that are shown, in order.
    order: Vec<usize>,
    selected: Option<AgentId>,
    /// Where the one that is selected stood last.
    place: usize,
    /// The first row on the screen.
    first: usize,
    /// Rows on the screen.
    height: usize,
}

impl State {
    pub(super) fn new(server: String, column: Column, ended: Ended, filter: String) -> Self {
        Self {
            server,
            column,
            direction: Direction::Forward,
            ended,
            filter,
            mode: Mode::Table,
            message: None,
            lost: None,
            listed_at: None,
            rows: Vec::new(),
            order: Vec::new(),
            selected: None,
            place: 0,
            first: 0,
            height: 1,
        }
    }

    /// All agents, as they are now.
    pub(super) fn listed(&mut self, agents: Vec<AgentInfo>, now: Instant) {
        let before = std::mem::take(&mut self.rows);
        let mut before: HashMap<AgentId, Row> =
            before.into_iter().map(|row| (row.info.id, row)).collect();
        let rows = agents
            .into_iter()
            .map(|info| match before.remove(&info.id) {
                Some(mut row) => {
                    row.becomes(info, now);
                    row
                }
                None => Row::new(info, now),
            });
        self.rows = rows.collect();
        self.listed_at = Some(now);
        self.arrange();
    }

    /// How old what is shown is, where the server has not answered for some time.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        let silence = now.saturating_duration_since(self.listed_at?);
        (silence >= SILENCE).then_some(silence)
    }

    /// Sorts and filters anew. The agent that is selected stays so while it is shown, else the one in its place is.
    pub(super) fn arrange(&mut self) {
        let filter = self.filter.to_lowercase();
        let is_shown = |row: &Row| {
            (self.ended == Ended::Shown || !row.info.status.is_final())
                && (filter.is_empty() || row.contains(&filter))
        };
        let shown = (0..self.rows.len()).filter(|index| is_shown(&self.rows[*index]));
        let mut order: Vec<usize> = shown.collect();
        let now = Timestamp::now();
        order.sort_by(|one, other| self.compare(&self.rows[*one], &self.rows[*other], now));
        if self.direction == Direction::Reverse {
            order.reverse();
        }
        self.order = order;
        let place = self.selected.and_then(|id| self.place_of(id));
        self.select(place.unwrap_or(self.place));
    }

    fn compare(&self, one: &Row, other: &Row, now: Timestamp) -> Ordering {
        match self.column {
            Column::By(sort) => sort.compare(&one.info, &other.info, now),
            Column::Rate => other.rate.cmp(&one.rate),
        }
    }

    fn place_of(&self, id: AgentId) -> Option<usize> {
        let mut order = self.order.iter();
        order.position(|index| self.rows[*index].info.id == id)
    }

    /// Selects the agent in that place, or the last one, and brings it onto the screen.
    pub(super) fn select(&mut self, place: usize) {
        self.place = place.min(self.order.len().saturating_sub(1));
        let selected = self.shown().nth(self.place).map(|row| row.info.id);
        self.selected = selected;
        let last_first = self.order.len().saturating_sub(self.height);
        self.first = self
            .first
            .clamp((self.place + 1).saturating_sub(self.height), self.place)
            .min(last_first);
    }

    /// Moves the selection by so many rows.
    pub(super) fn move_by(&mut self, rows: isize) {
        self.select(self.place.saturating_add_signed(rows));
    }

    /// How many rows the screen has.
    pub(super) fn resize(&mut self, height: usize) {
        self.height = height.max(1);
        self.select(self.place);
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// The agent that is selected.
    pub(super) fn selected(&self) -> Option<&Row> {
        self.selected.and_then(|id| self.row(id))
    }

    pub(super) fn row(&self, id: AgentId) -> Option<&Row> {
        self.rows.iter().find(|row| row.info.id == id)
    }

    /// The agents that are shown, of which most may not be on the screen, in order.
    pub(super) fn shown(&self) -> impl Iterator<Item = &Row> {
        self.order.iter().map(|index| &self.rows[*index])
    }

    /// Those on the screen, and which of them is selected.
    pub(super) fn on_screen(&self) -> (impl Iterator<Item = &Row>, usize) {
        let rows = self.shown().skip(self.first).take(self.height);
        (rows, self.place - self.first)
    }

    /// All agents, shown or not.
    pub(super) fn all(&self) -> &[Row] {
        &self.rows
    }

    /// The last line of an agent's output came.
    pub(super) fn last_line(&mut self, id: AgentId, line: String) {
        let mut rows = self.rows.iter_mut();
        // What is not known now is better told by the one before.
        if let Some(row) = rows.find(|row| row.info.id == id)
            && !line.is_empty()
        {
            row.last_line = line;
        }
    }
}
