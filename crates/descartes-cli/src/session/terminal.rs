//! The key that detaches.

use std::io::{self, IsTerminal};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Ctrl-].
const KEY: u8 = 0x1d;

/// Has the terminal send SIGQUIT for Ctrl-] instead of Ctrl-\, and everything else be as it was: lines are edited and
/// shown as ever.
#[derive(Debug)]
pub(crate) struct DetachKey {
    before: Termios,
}

/// Whether standard input is a terminal that has gone. Its end is then nobody's Ctrl-D.
pub(crate) fn has_hung_up() -> bool {
    let stdin = io::stdin();
    let mut poll = [PollFd::new(&stdin, PollFlags::IN)];
    let now = Timespec::default();
    let polled = rustix::event::poll(&mut poll, Some(&now));
    stdin.is_terminal() && polled.is_ok() && poll[0].revents().contains(PollFlags::HUP)
        || rustix::termios::tcgetpgrp(&stdin) == Err(rustix::io::Errno::IO)
}

impl DetachKey {
    /// `None` where standard input is no terminal.
    pub(crate) fn take() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let key = Self { before };
        key.set().ok()?;
        Some(key)
    }

    /// Has the key again after this was stopped: a shell may have set the terminal as it likes it meanwhile.
    pub(crate) fn take_again(&self) {
        // A terminal that has gone has no keys.
        let _ = self.set();
    }

    /// Puts the terminal back as it was.
    pub(crate) fn put_back(&self) {
        // A terminal that has gone needs nothing put back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }

    fn set(&self) -> rustix::io::Result<()> {
        let mut with_key = self.before.clone();
        with_key.special_codes[SpecialCodeIndex::VQUIT] = KEY;
        tcsetattr(io::stdin(), OptionalActions::Now, &with_key)
    }
}
