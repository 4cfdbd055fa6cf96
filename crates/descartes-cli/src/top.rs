//! `descartes top`: all agents on one screen, and keys to handle them.
//!
//! [`state`] is what is shown and what keys do to it, [`view`] draws it, [`screen`] has the terminal, [`sources`] ask
//! the server. The loop here brings them together: it is the only one to change the state, so that nothing is locked.

mod keys;
mod log;
mod screen;
mod sources;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod view;

use std::time::Duration;

use descartes_client::protocol::AgentId;
use descartes_client::{Connectivity, ZmqClient};
use ratatui::crossterm::event::{Event as Input, KeyEventKind};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use crate::error::{CliError, Result};
use crate::exit;
use crate::session::feed::{Feed, Piece};
use crate::session::signals::{Signals, Taken};
use keys::Wish;
use log::Log;
use screen::Screen;
use sources::{News, Sources};
use state::{Deed, Message, Mode, State};

pub(crate) use state::{Column, Ended};

/// Runtimes are drawn anew this often.
const TICK: Duration = Duration::from_secs(1);

/// The least time between two drawings that no key asked for.
const FRAME: Duration = Duration::from_millis(50);

/// SIGCONT: this was stopped and goes on.
const CONTINUE: i32 = rustix::process::Signal::CONT.as_raw();

/// What is shown at first.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) server: String,
    pub(crate) column: Column,
    pub(crate) ended: Ended,
    pub(crate) filter: String,
}

/// The screen, and all that changes it.
struct Top {
    state: State,
    screen: Screen,
    sources: Sources,
    news: mpsc::Receiver<News>,
    inputs: mpsc::Receiver<Input>,
    connection: watch::Receiver<Connectivity>,
    /// The output that is shown.
    log: Option<Feed>,
    signals: Signals,
    goes_on: Signal,
    tick: Interval,
    /// When to draw, if something has changed.
    draw_at: Option<Instant>,
}

enum Event {
    Input(Option<Input>),
    News(News),
    Piece(Option<std::result::Result<Piece, descartes_client::ClientError>>),
    Connection,
    GoesOn,
    Terminate,
    Tick,
    Draw,
}

/// Shows agents until somebody has enough. Returns the exit code.
pub(crate) async fn run(client: &ZmqClient, beginning: Beginning) -> Result<u8> {
    let goes_on = signal(SignalKind::from_raw(CONTINUE));
    let goes_on = goes_on.map_err(|error| failed("listen for signals", &error))?;
    let (sources, news) = Sources::start(client);
    let Beginning {
        server,
        column,
        ended,
        filter,
    } = beginning;
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let top = Top {
        state: State::new(server, column, ended, filter),
        screen: Screen::take().map_err(undrawn)?,
        sources,
        news,
        inputs: screen::inputs(),
        connection: client.connectivity(),
        log: None,
        signals: Signals::listen(Taken::Screen)?,
        goes_on,
        tick,
        draw_at: Some(Instant::now()),
    };
    top.run().await
}

impl Top {
    async fn run(mut self) -> Result<u8> {
        loop {
            let event = self.event().await;
            if let Some(code) = self.handle(event)? {
                return Ok(code);
            }
        }
    }

    /// Returns the exit code, if that was the end.
    fn handle(&mut self, event: Event) -> Result<Option<u8>> {
        match event {
            Event::Input(Some(input)) => return self.input(&input).map_err(undrawn),
            // The terminal has gone.
            Event::Input(None) | Event::Terminate => return Ok(Some(exit::INTERRUPTED)),
            Event::GoesOn => {
                self.screen.take_again().map_err(undrawn)?;
                self.draw_now();
            }
            Event::Draw => {
                self.draw_at = None;
                self.screen.draw(&mut self.state).map_err(undrawn)?;
                self.want_lines();
            }
            Event::News(news) => self.take(news)?,
            Event::Piece(piece) => self.piece(piece),
            Event::Connection => {
                self.state.lost = match &*self.connection.borrow_and_update() {
                    Connectivity::Lost { reason } => Some(reason.clone()),
                    Connectivity::Connected | Connectivity::Idle => None,
                };
                self.changed();
            }
            Event::Tick => self.changed(),
        }
        Ok(None)
    }

    async fn event(&mut self) -> Event {
        let (log, draw_at) = (&mut self.log, self.draw_at);
        tokio::select! {
            // Keys first: a screen that is busy still does what it is told.
            biased;
            // Ctrl-C is a key here: whoever sends a signal wants this to end.
            _ = self.signals.next() => Event::Terminate,
            input = self.inputs.recv() => Event::Input(input),
            _ = self.goes_on.recv() => Event::GoesOn,
            () = async { sleep_until(draw_at.unwrap_or_else(Instant::now)).await }, if draw_at.is_some() => Event::Draw,
            Ok(()) = self.connection.changed() => Event::Connection,
            Some(news) = self.news.recv() => Event::News(news),
            piece = async { match log { Some(log) => log.next().await, None => None } }, if log.is_some() => {
                Event::Piece(piece)
            }
            _ = self.tick.tick() => Event::Tick,
        }
    }

    /// Something has changed that is to be seen soon.
    fn changed(&mut self) {
        self.draw_at.get_or_insert_with(|| Instant::now() + FRAME);
    }

    fn draw_now(&mut self) {
        self.draw_at = Some(Instant::now());
    }

    /// Takes what was typed. Returns the exit code, if that was the end.
    fn input(&mut self, input: &Input) -> std::io::Result<Option<u8>> {
        self.draw_now();
        let Input::Key(key) = input else {
            // The size has changed, or something that nobody asked for.
            return Ok(None);
        };
        if key.kind == KeyEventKind::Release {
            return Ok(None);
        }
        match self.state.key(*key) {
            Wish::Nothing => {}
            Wish::Quit => return Ok(Some(exit::DONE)),
            Wish::Interrupt => return Ok(Some(exit::INTERRUPTED)),
            Wish::Suspend => self.screen.suspend()?,
            Wish::Redraw => self.screen.clear()?,
            Wish::Do(deed, id) => self.act(deed, id),
            Wish::OpenLog(id) => self.open_log(id),
        }
        if !matches!(self.state.mode, Mode::Log(_)) {
            self.log = None;
        }
        Ok(None)
    }

    /// Does something to an agent. Without a connection it is refused: half a minute later nobody may want it any more.
    fn act(&mut self, deed: Deed, id: AgentId) {
        let Some(row) = self.state.row(id) else {
            return;
        };
        let what = format!("{} {}", deed.verb(), row.info.name);
        self.state.message = Some(if self.state.lost.is_some() {
            Message::Problem(format!(
                "cannot {what}: there is no connection to the server"
            ))
        } else {
            self.sources.act(deed, &row.info);
            Message::Done(format!("{what} …"))
        });
    }

    fn open_log(&mut self, id: AgentId) {
        if let Some(row) = self.state.row(id) {
            self.log = Some(self.sources.log(&row.info));
            self.state.mode = Mode::Log(Log::new(id));
        }
    }

    fn take(&mut self, news: News) -> Result<()> {
        match news {
            News::Listed(agents) => {
                self.state.listed(agents, std::time::Instant::now());
                self.sources.listed(self.state.all());
            }
            News::LastLine(id, written, line) => {
                if let Some(line) = self.sources.line_came(id, written, line) {
                    self.state.last_line(id, line);
                } else {
                    return Ok(());
                }
            }
            News::Done(text) => self.state.message = Some(Message::Done(text)),
            News::Problem(text) => self.state.message = Some(Message::Problem(text)),
            News::Failed(error) => return Err(error.into()),
        }
        self.changed();
        Ok(())
    }

    fn piece(&mut self, piece: Option<std::result::Result<Piece, descartes_client::ClientError>>) {
        if !matches!(piece, Some(Ok(_))) {
            self.log = None;
        }
        let Mode::Log(log) = &mut self.state.mode else {
            return;
        };
        match piece {
            Some(Ok((stream, chunk))) => log.feed(stream, &chunk),
            Some(Err(error)) => log.note(format!("[{error}]")),
            None => log.note("[the agent has ended]".to_owned()),
        }
        self.changed();
    }

    /// Asks for the last lines of the agents on the screen.
    fn want_lines(&mut self) {
        let (rows, _) = self.state.on_screen();
        self.sources.want_lines(rows);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` wants")]
fn undrawn(error: std::io::Error) -> CliError {
    failed("draw on this terminal", &error)
}

fn failed(what: &str, error: &std::io::Error) -> CliError {
    CliError::new(exit::REFUSED, format!("failed to {what}: {error}"))
}
