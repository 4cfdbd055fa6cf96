//! What cannot be understood: it is kept, out of the way, with the reason beside it.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use descartes_protocol::AgentId;

use super::{Damage, JOURNAL, Store, private_dir, private_file};

const DAMAGED: &str = "damaged";

/// Damaged journals that are kept.
const KEPT_JOURNALS_MAX: u32 = 100;

impl Store {
    /// Moves a folder that cannot be understood out of the way, with the reason beside it.
    pub(crate) fn set_aside(&self, name: &str, reason: &str) -> io::Result<PathBuf> {
        self.move_to_damaged(&self.root.join("agents").join(name), name, reason)
    }

    /// Moves a record that cannot be understood out of the way, with the reason beside it.
    pub(crate) fn set_record_aside(&self, id: AgentId, damage: &Damage) -> io::Result<PathBuf> {
        let name = format!("{id}.{}", damage.record);
        self.move_to_damaged(
            &self.agent_dir(id).join(damage.record),
            &name,
            &damage.reason,
        )
    }

    /// Keeps the journal of spawns as it is now, with the reason beside it; it can be replaced then.
    pub(crate) fn keep_damaged_journal(&self, reason: &str) -> io::Result<PathBuf> {
        // Earlier ones are the operator's to clear.
        let numbered = (2..=KEPT_JOURNALS_MAX).map(|number| format!("{JOURNAL}.{number}"));
        let mut names = std::iter::once(JOURNAL.to_owned()).chain(numbered);
        let is_unused = |name: &String| !self.root.join(DAMAGED).join(name).exists();
        let name = names.find(is_unused).ok_or(io::ErrorKind::AlreadyExists)?;
        self.to_damaged(&name, reason, |target| {
            fs::hard_link(self.journal_path(), target)
        })
    }

    fn move_to_damaged(&self, path: &Path, name: &str, reason: &str) -> io::Result<PathBuf> {
        self.to_damaged(name, reason, |target| {
            let _ = fs::remove_dir_all(target);
            fs::rename(path, target)
        })
    }

    fn to_damaged(
        &self,
        name: &str,
        reason: &str,
        put: impl FnOnce(&Path) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let damaged = self.root.join(DAMAGED);
        private_dir(&damaged)?;
        let target = damaged.join(name);
        put(&target)?;
        let mut file = private_file(&damaged.join(format!("{name}.reason")))?;
        file.set_len(0)?;
        file.write_all(reason.as_bytes())?;
        Ok(target)
    }
}
