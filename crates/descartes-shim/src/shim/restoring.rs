//! Putting back what somebody took from the agent's folder.

use std::io;

use super::Shim;
use crate::home::Restored;
use crate::record;
use crate::recorder::Recorder;
use crate::wire::{Outcome, Refusal};

impl Shim {
    /// Answers a server that misses records.
    pub(super) fn restore_by_request(&mut self) -> Outcome {
        let restored = self.restore();
        let now = self.now();
        self.timers.home_seen(restored.is_ok(), now);
        match restored {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Refused(Refusal::NotRestored {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            }),
        }
    }

    /// Sees to it that a server finds this agent.
    pub(super) fn look_after_home(&mut self) {
        let there = self.home.is_there() || self.restore().is_ok();
        let now = self.now();
        self.timers.home_seen(there, now);
    }

    fn restore(&mut self) -> io::Result<()> {
        if self.home.restore()? == Restored::NewFolder {
            let again = || self.home.dir().try_clone_to_owned();
            let (for_exit, for_stdout, for_stderr) = (again()?, again()?, again()?);
            self.recorder = Recorder::reserve(for_exit)?;
            self.stdout.move_to(for_stdout);
            self.stderr.move_to(for_stderr);
        }
        record::write(self.home.dir(), record::SPEC, &self.spec)?;
        record::write(self.home.dir(), record::STATE, &self.state)
    }
}
