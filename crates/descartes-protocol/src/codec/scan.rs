//! The first walk over a body: is all of it well-formed, what is it, and whose request is it.

use bytes::Bytes;

use super::{Decode, Fault, Head, Problem, Reader, Record, excerpt};
use crate::DecodeError;
use crate::limits::{MAX_MESSAGE_SIZE, MAX_REPLY_DEPTH, MAX_REQUEST_ID_BYTES};

/// What the first walk finds.
#[derive(Default)]
struct Envelope<'a> {
    kind: Option<&'a str>,
    request_id: Option<&'a str>,
}

/// Decodes a body: checks all of it, then has `read` build the message of the type that it names.
///
/// Whatever goes wrong, the error names the `request_id` if that was readable.
pub(crate) fn decode<T>(
    body: &Bytes,
    max_depth: usize,
    read: impl FnOnce(&str, &mut Reader<'_>) -> Result<T, Fault>,
) -> Result<T, DecodeError> {
    let mut envelope = Envelope::default();
    let result = envelope
        .scan(body, max_depth)
        .and_then(|kind| read(kind, &mut Reader::new(body)));
    result.map_err(|fault| DecodeError::new(fault, envelope.request_id))
}

/// Decodes a body that has to be one certain message, which belongs to no request.
pub(crate) fn decode_one<T: Decode + Record>(body: &Bytes) -> Result<T, DecodeError> {
    let kind = Envelope::default().scan(body, MAX_REPLY_DEPTH);
    let message = kind.and_then(|kind| match kind {
        kind if kind == T::TYPE => T::read_from(&mut Reader::new(body)),
        other => Err(Problem::UnsupportedType(excerpt(other)).into()),
    });
    message.map_err(|fault| DecodeError::new(fault, None))
}

/// Checks that bytes are one well-formed value.
pub(crate) fn check(bytes: &Bytes, max_depth: usize) -> Result<(), Fault> {
    if bytes.len() > MAX_MESSAGE_SIZE {
        return Err(Problem::TooLarge(bytes.len()).into());
    }
    let mut reader = Reader::new(bytes);
    reader.skip(max_depth)?;
    check_end(reader)
}

impl<'a> Envelope<'a> {
    /// Walks over the whole body. Returns the message's type.
    fn scan(&mut self, body: &'a Bytes, max_depth: usize) -> Result<&'a str, Fault> {
        match body.len() {
            0 => return Err(Problem::Empty.into()),
            1..=MAX_MESSAGE_SIZE => {}
            size => return Err(Problem::TooLarge(size).into()),
        }
        let mut reader = Reader::new(body);
        match reader.head()? {
            Head::Map(count) => {
                for _ in 0..count {
                    let key = reader.key()?;
                    self.field(key, &mut reader, max_depth - 1)?;
                }
            }
            Head::Array(count) => {
                for index in 0..count {
                    let key = ["type", "request_id"].get(index).unwrap_or(&"");
                    self.field(key, &mut reader, max_depth - 1)?;
                }
            }
            other => return Err(other.instead_of("a map or an array")),
        }
        check_end(reader)?;
        self.kind
            .ok_or_else(|| Fault::from(Problem::Missing).at("type"))
    }

    fn field(&mut self, key: &str, reader: &mut Reader<'a>, max_depth: usize) -> Result<(), Fault> {
        match key {
            "type" => {
                let kind = reader.str().map_err(|fault| fault.at(key))?;
                if self.kind.replace(kind).is_some() {
                    return Err(Fault::from(Problem::GivenTwice).at(key));
                }
                Ok(())
            }
            // What is wrong with another kind of value is said when the field is read, if the
            // message has such a field.
            "request_id" if matches!(reader.peek()?, Head::Str(_)) => {
                let id = reader.str().map_err(|fault| fault.at(key))?;
                if id.len() > MAX_REQUEST_ID_BYTES {
                    return Err(Fault::from(Problem::IdTooLong).at(key));
                }
                self.request_id.get_or_insert(id);
                Ok(())
            }
            _ => reader.skip(max_depth),
        }
    }
}

fn check_end(reader: Reader<'_>) -> Result<(), Fault> {
    match reader.remaining() {
        0 => Ok(()),
        trailing => Err(Problem::Trailing(trailing).into()),
    }
}
