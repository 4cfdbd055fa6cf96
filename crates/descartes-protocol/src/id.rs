//! The identity of an agent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::codec::{Decode, Element, Encode, Fault, Head, Problem, Reader, Writer, excerpt};
use crate::limits::MAX_BATCH;

/// The identity of an agent: a UUID.
///
/// Written as a hyphenated string in lower case; read as a string with or without hyphens, and on the
/// wire also as 16 bytes. Ids made by [`generate`](Self::generate) sort by age.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct AgentId(Uuid);

/// A text that is no [`AgentId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an agent's id is a UUID of 32 hexadecimal digits, with or without hyphens")]
pub struct ParseAgentIdError;

impl AgentId {
    /// A new id, a UUID of version 7: above every id that this process made before.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id with these bytes, most significant first.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// The id's bytes, most significant first.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = Uuid::encode_buffer();
        f.pad(self.0.hyphenated().encode_lower(&mut buffer))
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentId({self})")
    }
}

impl FromStr for AgentId {
    type Err = ParseAgentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // The parser also knows URNs and braces, which are longer.
        if text.len() > uuid::fmt::Hyphenated::LENGTH {
            return Err(ParseAgentIdError);
        }
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| ParseAgentIdError)
    }
}

impl TryFrom<String> for AgentId {
    type Error = ParseAgentIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> Self {
        id.to_string()
    }
}

impl Encode for AgentId {
    fn write_to(&self, writer: &mut Writer) {
        let mut buffer = Uuid::encode_buffer();
        writer.str(self.0.hyphenated().encode_lower(&mut buffer));
    }
}

impl Decode for AgentId {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.head()? {
            Head::Str(len) => {
                let text = reader.str_body(len)?;
                text.parse()
                    .map_err(|_| unknown(format!("\"{}\"", excerpt(text))))
            }
            Head::Bin(len) => {
                let bytes = reader.shared(len)?;
                let bytes = <[u8; 16]>::try_from(bytes.as_ref());
                bytes
                    .map(Self::from_bytes)
                    .map_err(|_| unknown(format!("{len} bytes")))
            }
            other => Err(other.instead_of("a UUID")),
        }
    }
}

impl Element for AgentId {
    const MAX: usize = MAX_BATCH;
}

fn unknown(found: String) -> Fault {
    let expected = "a UUID";
    Problem::OutOfRange { expected, found }.into()
}
