//! Putting back what somebody took from the agent's folder.

use std::io;

use super::Shim;
use super::timers::FolderLook;
use crate::record;
use crate::recorder::Recorder;
use crate::wire::{Outcome, Refusal};

impl Shim {
    /// Answers a server that misses records.
    pub(super) fn restore_by_request(&mut self) -> Outcome {
        let restored = self.restore();
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
        if self.look_at_folder() != FolderLook::Whole {
            // Tried again soon.
            let _ = self.restore();
        }
        self.note_folder();
    }

    fn note_folder(&mut self) {
        let now = self.now();
        let look = self.look_at_folder();
        self.timers.folder_looked_at(look, now);
    }

    fn look_at_folder(&self) -> FolderLook {
        if !self.folder.can_be_found() {
            FolderLook::Gone
        } else if self.furnished == self.folder.made_anew() && self.folder.has_records() {
            FolderLook::Whole
        } else {
            FolderLook::Incomplete
        }
    }

    /// Goes as far as it can, and on from there the next time.
    fn restore(&mut self) -> io::Result<()> {
        self.folder.restore()?;
        if self.furnished != self.folder.made_anew() {
            let again = || self.folder.dir().try_clone_to_owned();
            let (for_stdout, for_stderr, for_exit) = (again()?, again()?, again()?);
            // What needs no room comes first: output goes on, and the end is recorded if it can be.
            self.stdout.move_to(for_stdout);
            self.stderr.move_to(for_stderr);
            self.recorder = Recorder::unreserved(for_exit);
            self.recorder.reserve()?;
        }
        record::write(self.folder.dir(), record::SPEC, &self.spec)?;
        record::write(self.folder.dir(), record::STATE, &self.state)?;
        self.furnished = self.folder.made_anew();
        Ok(())
    }
}
