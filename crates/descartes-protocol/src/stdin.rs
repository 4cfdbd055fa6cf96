//! Where input for an agent begins, and who sends it.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::codec::{Decode, Encode, Fault, Problem, Reader, Writer};
use crate::limits::MAX_WRITER_ID_BYTES;

/// Where the bytes of a [`write_stdin`](crate::Command::WriteStdin) begin. With all but the first, the
/// write can be sent again: what was accepted before is skipped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum StdinPosition {
    /// After everything that was accepted so far, whoever sent it.
    #[default]
    Next,
    /// After so many bytes of the agent's stdin. For an agent that has a single writer.
    Offset(u64),
    /// After so many bytes of this writer. For an agent that has several.
    Writer {
        /// Who writes.
        id: WriterId,
        /// How many bytes this writer has sent to this agent before.
        offset: u64,
    },
}

/// The name that one of an agent's writers chose for itself: 1 to 64 bytes, and different from those of all
/// others. A UUID is a good choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct WriterId(String);

/// A text that is no [`WriterId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a writer's id has 1 to {MAX_WRITER_ID_BYTES} bytes, not {bytes}")]
pub struct WriterIdError {
    /// How many the text has.
    pub bytes: usize,
}

impl WriterId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Uuid> for WriterId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string())
    }
}

impl FromStr for WriterId {
    type Err = WriterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            1..=MAX_WRITER_ID_BYTES => Ok(Self(text.to_owned())),
            bytes => Err(WriterIdError { bytes }),
        }
    }
}

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Encode for WriterId {
    fn write_to(&self, writer: &mut Writer) {
        writer.str(&self.0);
    }
}

impl Decode for WriterId {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let id = reader.str()?.parse();
        id.map_err(|error: WriterIdError| Problem::WriterId(error).into())
    }
}
