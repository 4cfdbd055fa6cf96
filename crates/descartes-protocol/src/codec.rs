//! The codec: `MessagePack` to and from the message types, over one byte slice.
//!
//! A body is walked twice. The first walk, in `scan`, checks all of it without building anything, so
//! that what follows works on well-formed input of bounded depth, and finds the `type` and the
//! `request_id`. The second reads the fields straight into their struct. Binary and undecoded values
//! are slices of the body.

mod fault;
mod fields;
mod reader;
mod record;
mod scan;
mod writer;

use bytes::Bytes;

pub(crate) use fault::{Fault, Problem, excerpt};
pub(crate) use reader::{Head, Reader};
pub(crate) use record::{Record, Slot, message_enum, record, rules, skip_type, write_head};
pub(crate) use scan::{check, decode, decode_one};
pub(crate) use writer::Writer;

/// A value that can be written.
pub(crate) trait Encode {
    fn write_to(&self, writer: &mut Writer);

    /// Whether a map leaves the field out.
    fn is_absent(&self) -> bool {
        false
    }
}

/// A value that can be read.
pub(crate) trait Decode: Sized {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault>;

    /// What a field of this type is when it is missing or nil, if it may be.
    fn absent() -> Option<Self> {
        None
    }
}

/// A value that lists hold.
pub(crate) trait Element: Decode {
    /// The most entries of a list.
    const MAX: usize;
}

/// Encodes one value by itself.
pub(crate) fn to_bytes(value: &impl Encode) -> Bytes {
    let mut writer = Writer::new();
    value.write_to(&mut writer);
    writer.finish()
}
