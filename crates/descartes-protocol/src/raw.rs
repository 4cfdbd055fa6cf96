//! Values that a message carries undecoded.

mod map_writer;

use std::fmt;

use bytes::Bytes;

pub use map_writer::MapWriter;

use crate::codec::{Decode, Encode, Fault, Head, Reader, Writer, check, to_bytes};
use crate::limits::{MAX_DEPTH, MAX_REPLY_DEPTH};
use crate::{AgentInfo, DecodeError, OutputTime};

/// One well-formed `MessagePack` value that has not been decoded.
///
/// Every string in it is UTF-8. One that was read from a message is a slice of that message's body
/// and keeps all of it in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Raw(Bytes);

impl Raw {
    /// The value nil.
    #[must_use]
    pub const fn nil() -> Self {
        Self(Bytes::from_static(&[0xc0]))
    }

    /// Takes bytes that are one `MessagePack` value.
    ///
    /// # Errors
    ///
    /// If they are none, or more than one, are above
    /// [`MAX_MESSAGE_SIZE`](crate::limits::MAX_MESSAGE_SIZE), nest deeper than [`MAX_DEPTH`], or hold a string
    /// that is not UTF-8.
    pub fn from_encoded(bytes: Bytes) -> Result<Self, DecodeError> {
        check(&bytes, MAX_DEPTH).map_err(|fault| DecodeError::new(fault, None))?;
        Ok(Self(bytes))
    }

    /// The value as `MessagePack`.
    #[must_use]
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The value of an entry, if this is a map with that key. Of a key that is given twice, the first.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Self> {
        let mut entries = self.entries();
        entries.find_map(|(found, value)| (found == key).then_some(value))
    }

    /// The entries of a map, those whose keys are strings; of any other value, none.
    pub fn entries(&self) -> impl Iterator<Item = (&str, Self)> {
        let mut reader = Reader::new(&self.0);
        let count = match reader.head() {
            Ok(Head::Map(count)) => count,
            _ => 0,
        };
        (0..count).filter_map(move |_| {
            let key = reader.peek_str();
            reader.skip(MAX_REPLY_DEPTH).ok()?;
            let value = reader.value(MAX_REPLY_DEPTH).ok()?;
            Some((key?, Self(value)))
        })
    }

    /// The values of an array; of any other value, none.
    pub fn items(&self) -> impl Iterator<Item = Self> {
        let mut reader = Reader::new(&self.0);
        let count = match reader.head() {
            Ok(Head::Array(count)) => count,
            _ => 0,
        };
        (0..count).map_while(move |_| reader.value(MAX_REPLY_DEPTH).ok().map(Self))
    }

    /// Whether this is an array.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self.head(), Some(Head::Array(_)))
    }

    /// Whether this is nil.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        matches!(self.head(), Some(Head::Nil))
    }

    /// Whether this is a map.
    #[must_use]
    pub fn is_map(&self) -> bool {
        matches!(self.head(), Some(Head::Map(_)))
    }

    /// The text, if this is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        Reader::new(&self.0).peek_str()
    }

    /// The number, if this is an integer of 0 or more.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        self.read()
    }

    /// The number, if this is an integer that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.head()? {
            Head::Unsigned(value) => value.try_into().ok(),
            Head::Negative(value) => Some(value),
            _ => None,
        }
    }

    /// The number, if this is one; an integer as the nearest float.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        self.read()
    }

    /// The truth value, if this is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        self.read()
    }

    /// The bytes, if this is binary. Shares memory with this value.
    #[must_use]
    pub fn as_bin(&self) -> Option<Bytes> {
        self.read()
    }

    /// The texts, if this is an array of strings and nothing else.
    #[must_use]
    pub fn as_str_list(&self) -> Option<Vec<String>> {
        self.read()
    }

    /// The times, if this is an array of [`OutputTime`]s and nothing else.
    #[must_use]
    pub fn as_output_times(&self) -> Option<Vec<OutputTime>> {
        self.read()
    }

    /// The agent, if this is an [`AgentInfo`].
    #[must_use]
    pub fn as_agent_info(&self) -> Option<AgentInfo> {
        self.read()
    }

    /// The encoded form of a value.
    pub(crate) fn of(value: &impl Encode) -> Self {
        Self(to_bytes(value))
    }

    pub(crate) fn head(&self) -> Option<Head> {
        Reader::new(&self.0).peek().ok()
    }

    fn read<T: Decode>(&self) -> Option<T> {
        T::read_from(&mut Reader::new(&self.0)).ok()
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

impl Encode for Raw {
    fn write_to(&self, writer: &mut Writer) {
        writer.raw(&self.0);
    }
}

impl Decode for Raw {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.value(MAX_REPLY_DEPTH).map(Self)
    }
}
