//! Signals, and a way out when nobody takes them: the session may be stuck in a pipe that nobody reads.

use std::sync::Arc;
use std::time::Duration;

use ratatui::crossterm::terminal::disable_raw_mode;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::terminal::DetachKey;
use crate::error::{CliError, Result};
use crate::exit;

/// Signals that may wait to be taken; more of them mean that somebody wants out.
const WAITING_MAX: usize = 2;

/// How long a session may take to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(2);

/// SIGCONT: this was stopped, with Ctrl-Z, and goes on.
const CONTINUE: i32 = rustix::process::Signal::CONT.as_raw();

/// What a person or a program wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGQUIT: the key that detaches.
    Detach,
    /// SIGTERM, SIGHUP.
    Terminate,
}

/// What of the terminal is to be put back before the program ends.
#[derive(Debug)]
pub(crate) enum Taken {
    Nothing,
    Key(DetachKey),
    /// All of it, by somebody who puts it back where that can be waited for.
    Screen,
}

impl Taken {
    fn take_again(&self) {
        if let Self::Key(key) = self {
            key.take_again();
        }
    }

    fn put_back(&self) {
        if let Self::Key(key) = self {
            key.put_back();
        }
    }

    /// As far as it goes where nobody reads what is written to the terminal.
    fn put_back_at_last(&self) {
        match self {
            Self::Nothing => {}
            Self::Key(key) => key.put_back(),
            // Where this fails there is no terminal any more.
            Self::Screen => _ = disable_raw_mode(),
        }
    }
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(crate) struct Signals {
    wishes: mpsc::Receiver<Wish>,
    task: JoinHandle<()>,
    taken: Arc<Taken>,
}

impl Signals {
    /// What is taken is put back when this has to end the program, and a key when this is dropped.
    pub(crate) fn listen(taken: Taken) -> Result<Self> {
        let taken = Arc::new(taken);
        let of_the_task = Arc::clone(&taken);
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::new(
                    exit::REFUSED,
                    format!("failed to listen for signals: {error}"),
                )
            })
        };
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut quit = listen(SignalKind::quit())?;
        let mut terminate = listen(SignalKind::terminate())?;
        let mut hangup = listen(SignalKind::hangup())?;
        let mut goes_on = listen(SignalKind::from_raw(CONTINUE))?;
        let (sender, wishes) = mpsc::channel(WAITING_MAX);
        let task = tokio::spawn(async move {
            loop {
                let wish = tokio::select! {
                    _ = interrupt.recv() => Wish::Interrupt,
                    _ = quit.recv() => Wish::Detach,
                    _ = terminate.recv() => Wish::Terminate,
                    _ = hangup.recv() => Wish::Terminate,
                    _ = goes_on.recv() => {
                        of_the_task.take_again();
                        continue;
                    }
                };
                let is_stuck = sender.try_send(wish).is_err();
                if is_stuck || wish == Wish::Terminate {
                    if !is_stuck {
                        tokio::time::sleep(PATIENCE).await;
                    }
                    of_the_task.put_back_at_last();
                    end_program();
                }
            }
        });
        Ok(Self {
            wishes,
            task,
            taken,
        })
    }

    /// The next one.
    pub(crate) async fn next(&mut self) -> Wish {
        match self.wishes.recv().await {
            Some(wish) => wish,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
        // Here and not with the task, whose end nobody waits for.
        self.taken.put_back();
    }
}

#[expect(
    clippy::exit,
    reason = "the main thread does not come to an end: it waits for somebody to read its output"
)]
fn end_program() -> ! {
    std::process::exit(exit::INTERRUPTED.into())
}
