//! The key that detaches.

use std::io;

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

/// Ctrl-].
const KEY: u8 = 0x1d;

/// Has the terminal send SIGQUIT for Ctrl-] instead of Ctrl-\, and everything else be as it was: lines are edited and
/// shown as ever. Dropping it puts that back.
#[derive(Debug)]
pub(crate) struct DetachKey {
    before: Termios,
}

impl DetachKey {
    /// `None` where standard input is no terminal.
    pub(crate) fn take() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut with_key = before.clone();
        with_key.special_codes[SpecialCodeIndex::VQUIT] = KEY;
        tcsetattr(io::stdin(), OptionalActions::Now, &with_key).ok()?;
        Some(Self { before })
    }
}

impl Drop for DetachKey {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing put back.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
