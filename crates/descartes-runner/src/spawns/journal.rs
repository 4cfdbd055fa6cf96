//! The file that remembers which requests started the agents that were removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use descartes_protocol::AgentId;
use serde::{Deserialize, Serialize};

use crate::store::SpawnKey;

/// One line of the journal.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Line {
    #[serde(flatten)]
    pub(super) key: SpawnKey,
    pub(super) agent_id: AgentId,
    pub(super) spawned_at: u64,
}

/// The file, and how many lines it has.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    lines: usize,
}

impl Journal {
    /// Takes the file at `path`; returns it with what it says, and with what is damaged in it, in
    /// words. A last line that a crash cut short is none: its agent had not been removed yet.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Vec<Line>, Option<String>)> {
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut lines = Vec::new();
        let mut damaged = Vec::new();
        for (number, line) in (1..).zip(text.split_inclusive(|&byte| byte == b'\n')) {
            match serde_json::from_slice::<Line>(line) {
                Ok(line) => lines.push(line),
                Err(error) if line.ends_with(b"\n") && line != b"\n" => {
                    damaged.push((number, error));
                }
                Err(_) => {}
            }
        }
        let damage = damaged.first().map(|(number, error)| {
            let count = damaged.len();
            format!("{count} lines cannot be understood, the first of them line {number}: {error}")
        });
        let journal = Self {
            path,
            lines: lines.len(),
        };
        Ok((journal, lines, damage))
    }

    /// How many lines it has.
    pub(super) fn len(&self) -> usize {
        self.lines
    }

    /// Adds lines. They are on the disk when this returns.
    pub(super) fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(&self.path)?;
        let mut bytes = Vec::new();
        // A line that was cut short would swallow the next one.
        if !ends_with_newline(&file)? {
            bytes.push(b'\n');
        }
        bytes.extend(encode(lines)?);
        let end = file.metadata()?.len();
        if let Err(error) = file.write_all(&bytes) {
            // Half a line would pass for damage.
            let _ = file.set_len(end);
            return Err(error);
        }
        file.sync_data()?;
        self.lines += lines.len();
        Ok(())
    }

    /// Has these lines instead of those that it has. If that fails, it stays as it is.
    pub(super) fn rewrite(&mut self, lines: &[Line]) -> io::Result<()> {
        let temporary = self.path.with_extension("new");
        let written = write_private(&temporary, &encode(lines)?)
            .and_then(|()| fs::rename(&temporary, &self.path));
        match &written {
            Ok(()) => self.lines = lines.len(),
            Err(_) => {
                let _ = fs::remove_file(&temporary);
            }
        }
        written
    }
}

fn ends_with_newline(file: &File) -> io::Result<bool> {
    let Some(last) = file.metadata()?.len().checked_sub(1) else {
        return Ok(true);
    };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte == *b"\n")
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_data()
}

fn encode(lines: &[Line]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut bytes, line)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}
