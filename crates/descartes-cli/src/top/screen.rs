//! The terminal: all of it is taken, and given back as it was.

use std::io::{self, Stdout};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{self, Event};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::mpsc;

use super::state::State;
use super::view;

/// Keys that may wait to be taken; the terminal keeps the others.
const INPUTS_MAX: usize = 64;

/// The terminal, until it is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(super) fn take() -> io::Result<Self> {
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        let screen = Self { terminal };
        enter()?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        self.terminal.draw(|frame| view::draw(frame, state))?;
        Ok(())
    }

    /// Has everything be drawn anew, whatever the screen looks like.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // The library's `clear` asks the terminal where its cursor is, and the answer would be taken for keys.
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }

    /// Gives the terminal back and stops, as other programs do on Ctrl-Z. Returns when it goes on.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        leave();
        // Where nobody can let it go on again the system does not stop it.
        kill_process(getpid(), Signal::TSTP)?;
        self.take_again()
    }

    /// Takes the terminal anew: a shell may have set it as it likes it meanwhile.
    pub(super) fn take_again(&mut self) -> io::Result<()> {
        // The library restores what it has saved only where it thinks that something has changed.
        disable_raw_mode()?;
        enter()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, Hide)
}

fn leave() {
    // A terminal that has gone needs nothing put back.
    let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _ = disable_raw_mode();
}

/// Keys and changes of the size, from a thread that waits for them; they end with the terminal.
pub(super) fn inputs() -> mpsc::Receiver<Event> {
    let (sender, inputs) = mpsc::channel(INPUTS_MAX);
    std::thread::spawn(move || {
        while let Ok(input) = event::read() {
            if sender.blocking_send(input).is_err() {
                return;
            }
        }
    });
    inputs
}
