//! What is wrong with a body, and where in it.

use std::fmt;

use crate::limits::{MAX_MESSAGE_SIZE, MAX_REQUEST_ID_BYTES};
use crate::{ErrorCode, UnknownName, WriterIdError};

/// A problem and the path of the field that has it.
///
/// Boxed, because every step of the decoder can return one and next to none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault(Box<Inner>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inner {
    /// `config.environment`, `agent_ids[3]`; empty for the message itself.
    path: String,
    problem: Problem,
}

/// What can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Problem {
    #[error("the message is empty")]
    Empty,
    #[error("the message has {0} bytes, more than the {MAX_MESSAGE_SIZE} allowed")]
    TooLarge(usize),
    #[error("the message ends early")]
    Truncated,
    #[error("0xc1 begins no MessagePack value")]
    Reserved,
    #[error("a string is not UTF-8")]
    NotUtf8,
    #[error("maps and arrays nest too deep")]
    TooDeep,
    #[error("{0} bytes follow the end of the message")]
    Trailing(usize),
    #[error("unsupported message type \"{0}\"")]
    UnsupportedType(String),
    #[error("unsupported command \"{0}\"")]
    UnsupportedCommand(String),
    #[error("unsupported signal \"{0}\"")]
    UnsupportedSignal(String),
    #[error("missing")]
    Missing,
    #[error("given twice")]
    GivenTwice,
    #[error("the key \"{0}\" is given twice")]
    KeyGivenTwice(String),
    #[error("expected {expected}, found {found}")]
    WrongType {
        expected: &'static str,
        found: &'static str,
    },
    #[error("expected {expected}, found {found}")]
    OutOfRange {
        expected: &'static str,
        found: String,
    },
    #[error("longer than {MAX_REQUEST_ID_BYTES} bytes")]
    IdTooLong,
    #[error("{count} entries, more than the {max} allowed")]
    TooManyEntries { count: usize, max: usize },
    #[error(transparent)]
    UnknownName(#[from] UnknownName),
    #[error("not valid base64")]
    NotBase64,
    #[error(transparent)]
    WriterId(#[from] WriterIdError),
    #[error("not together with {0}")]
    NotWith(&'static str),
}

impl Problem {
    fn code(&self) -> ErrorCode {
        match self {
            Self::TooLarge(_) => ErrorCode::MessageTooLarge,
            Self::UnsupportedType(_) => ErrorCode::UnsupportedMessage,
            Self::UnsupportedCommand(_) | Self::UnsupportedSignal(_) => {
                ErrorCode::UnsupportedCommand
            }
            _ => ErrorCode::MalformedMessage,
        }
    }
}

impl Fault {
    /// The code that a client is told.
    pub(crate) fn code(&self) -> ErrorCode {
        self.0.problem.code()
    }

    /// Says that the fault is inside the field `name`.
    pub(crate) fn at(mut self, name: &str) -> Self {
        let path = &mut self.0.path;
        let separator = match path.as_bytes().first() {
            None | Some(b'[') => "",
            Some(_) => ".",
        };
        path.insert_str(0, separator);
        path.insert_str(0, name);
        self
    }

    /// Says that the fault is inside the list entry `index`, counted from 0.
    pub(crate) fn at_index(self, index: usize) -> Self {
        self.at(&format!("[{index}]"))
    }
}

impl From<Problem> for Fault {
    fn from(problem: Problem) -> Self {
        let path = String::new();
        Self(Box::new(Inner { path, problem }))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.path.is_empty() {
            write!(f, "{}: ", self.0.path)?;
        }
        self.0.problem.fmt(f)
    }
}

/// As much of a text from outside as an error message should repeat.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 64;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
