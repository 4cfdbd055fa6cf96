//! What keys do.

use clap::ValueEnum;
use descartes_client::protocol::AgentId;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::state::{Column, Deed, Direction, Ended, Message, Mode, State};
use crate::table::plain;

/// The keys, for people.
pub(super) const KEYS: [(&str, &str); 14] = [
    ("↑ ↓ PgUp PgDn Home End", "choose an agent"),
    ("Enter, l", "see its output"),
    ("p", "pause it"),
    ("r", "resume it"),
    ("s", "stop it, after a question"),
    ("k", "kill it, after a question"),
    ("/", "show only agents that contain a text"),
    ("Esc", "show all of them again"),
    ("o", "sort by the next column"),
    ("O", "sort the other way round"),
    ("a", "show agents that have ended, or not"),
    ("Ctrl-L", "draw the screen anew"),
    ("Ctrl-Z", "to the shell; `fg` comes back"),
    ("q", "quit"),
];

/// What a key asks of somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Nothing,
    /// To end, by the key for that.
    Quit,
    /// To end: Ctrl-C.
    Interrupt,
    /// Ctrl-Z.
    Suspend,
    /// To draw everything anew.
    Redraw,
    Do(Deed, AgentId),
    OpenLog(AgentId),
}

impl State {
    /// Takes a key.
    pub(super) fn key(&mut self, key: KeyEvent) -> Wish {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('u') if matches!(self.mode, Mode::Filter) => {
                    self.filter.clear();
                    self.arrange();
                    Wish::Nothing
                }
                KeyCode::Char('c') => Wish::Interrupt,
                KeyCode::Char('z') => Wish::Suspend,
                KeyCode::Char('l') => Wish::Redraw,
                _ => Wish::Nothing,
            };
        }
        self.message = None;
        match &mut self.mode {
            Mode::Table => self.table_key(key.code),
            Mode::Filter => {
                self.filter_key(key.code);
                Wish::Nothing
            }
            Mode::Confirm(deed, id) => {
                let answer = Wish::Do(*deed, *id);
                self.mode = Mode::Table;
                if matches!(key.code, KeyCode::Char('y' | 'Y')) {
                    return answer;
                }
                self.message = Some(Message::Done("nothing was done".to_owned()));
                Wish::Nothing
            }
            Mode::Help(first) => {
                match key.code {
                    KeyCode::Up => *first = first.saturating_sub(1),
                    KeyCode::Down => *first = (*first + 1).min(KEYS.len() - 1),
                    _ => self.mode = Mode::Table,
                }
                Wish::Nothing
            }
            Mode::Log(log) => {
                if matches!(
                    key.code,
                    KeyCode::Esc | KeyCode::Enter | KeyCode::Char('q' | 'l')
                ) {
                    self.mode = Mode::Table;
                } else {
                    log.key(key.code);
                }
                Wish::Nothing
            }
        }
    }

    fn table_key(&mut self, code: KeyCode) -> Wish {
        let page = isize::try_from(self.height()).unwrap_or(isize::MAX);
        match code {
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            KeyCode::PageUp => self.move_by(-page),
            KeyCode::PageDown => self.move_by(page),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => {
                self.filter.clear();
                self.arrange();
            }
            KeyCode::Char('o') => self.sort_by_next(),
            KeyCode::Char('O') => {
                self.direction = match self.direction {
                    Direction::Forward => Direction::Reverse,
                    Direction::Reverse => Direction::Forward,
                };
                self.arrange();
            }
            KeyCode::Char('a') => {
                self.ended = match self.ended {
                    Ended::Shown => Ended::Hidden,
                    Ended::Hidden => Ended::Shown,
                };
                self.arrange();
            }
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help(0),
            KeyCode::Char('q') => return Wish::Quit,
            code => return self.agent_key(code),
        }
        Wish::Nothing
    }

    /// Keys that are about the agent that is selected.
    fn agent_key(&mut self, code: KeyCode) -> Wish {
        let Some(row) = self.selected() else {
            return Wish::Nothing;
        };
        let id = row.info.id;
        let deed = match code {
            KeyCode::Enter | KeyCode::Char('l') => return Wish::OpenLog(id),
            KeyCode::Char('p') => Deed::Pause,
            KeyCode::Char('r') => Deed::Resume,
            KeyCode::Char('s') => Deed::Stop,
            KeyCode::Char('k') => Deed::Kill,
            _ => return Wish::Nothing,
        };
        if row.info.status.is_final() {
            let name = plain(&row.info.name);
            self.message = Some(Message::Problem(format!("{name} has ended already")));
            return Wish::Nothing;
        }
        match deed {
            Deed::Pause | Deed::Resume => Wish::Do(deed, id),
            Deed::Stop | Deed::Kill => {
                self.mode = Mode::Confirm(deed, id);
                Wish::Nothing
            }
        }
    }

    fn filter_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Table,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Table;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(char) => self.filter.push(char),
            KeyCode::Up => self.move_by(-1),
            KeyCode::Down => self.move_by(1),
            _ => {}
        }
        self.arrange();
    }

    fn sort_by_next(&mut self) {
        let columns = Column::value_variants();
        let mut after = columns.iter().skip_while(|column| **column != self.column);
        let next = after.nth(1).or(columns.first());
        self.column = next.copied().unwrap_or(self.column);
        if let Some(name) = self.column.to_possible_value() {
            // Its column may not be on the screen.
            self.message = Some(Message::Done(format!("sorted by {}", name.get_name())));
        }
        self.arrange();
    }
}
