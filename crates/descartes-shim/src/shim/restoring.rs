//! Putting back what somebody took from the agent's folder.

use std::io;

use super::Shim;
use crate::folder::Look;
use crate::wire::{Outcome, Refusal};

impl Shim {
    /// Answers a server that misses records.
    pub(super) fn restore_by_request(&mut self) -> Outcome {
        let restored = match self.folder.look() {
            // Damaged ones are there all the same.
            Look::Whole | Look::Incomplete => self.folder.complete(&self.spec, &self.state),
            Look::Removed | Look::Unfindable => self.make_folder_anew(),
        };
        self.note_folder();
        match restored {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Refused(Refusal::NotRestored {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            }),
        }
    }

    /// Sees to it that a server finds this agent, with all its records.
    pub(super) fn look_after_folder(&mut self) {
        // What fails is tried again.
        let _ = match self.folder.look() {
            Look::Whole | Look::Unfindable => Ok(()),
            Look::Incomplete => self.folder.complete(&self.spec, &self.state),
            Look::Removed => self.make_folder_anew(),
        };
        self.note_folder();
    }

    fn note_folder(&mut self) {
        let look = self.folder.look();
        let now = self.now();
        self.timers.folder_looked_at(look, now);
    }

    fn make_folder_anew(&mut self) -> io::Result<()> {
        let writers = self.folder.make_anew(&self.spec, &self.state)?;
        self.recorder = writers.recorder;
        self.stdout.move_to(writers.stdout);
        self.stderr.move_to(writers.stderr);
        Ok(())
    }
}
