//! How the types of fields are written and read.

use bytes::Bytes;

use super::{Decode, Element, Encode, Fault, Head, Problem, Reader, Writer, excerpt};
use crate::StringMap;
use crate::limits::{MAX_LINES_IN_REPLY, MAX_MAP_ENTRIES};

impl<T: Encode> Encode for Option<T> {
    fn write_to(&self, writer: &mut Writer) {
        match self {
            Some(value) => value.write_to(writer),
            None => writer.nil(),
        }
    }

    fn is_absent(&self) -> bool {
        self.is_none()
    }
}

impl<T: Decode> Decode for Option<T> {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        T::read_from(reader).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl Encode for bool {
    fn write_to(&self, writer: &mut Writer) {
        writer.bool(*self);
    }
}

impl Decode for bool {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.head()? {
            Head::Bool(value) => Ok(value),
            other => Err(other.instead_of("a boolean")),
        }
    }
}

/// Integers: any width is read, and what does not fit the field is out of range.
macro_rules! integer {
    ($($int:ty: $write:ident as $wide:ty, $expected:literal;)*) => {$(
        impl Encode for $int {
            fn write_to(&self, writer: &mut Writer) {
                writer.$write(<$wide>::from(*self));
            }
        }

        impl Decode for $int {
            fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
                let (value, found) = match reader.head()? {
                    Head::Unsigned(value) => (Self::try_from(value).ok(), i128::from(value)),
                    Head::Negative(value) => (Self::try_from(value).ok(), i128::from(value)),
                    other => return Err(other.instead_of("an integer")),
                };
                let out_of_range = || Problem::OutOfRange {
                    expected: $expected,
                    found: found.to_string(),
                };
                value.ok_or_else(|| out_of_range().into())
            }
        }
    )*};
}

integer! {
    u64: uint as u64, "an integer of 0 or more";
    u32: uint as u64, "an integer from 0 to 4294967295";
    i32: int as i64, "an integer of 32 bits";
}

impl Encode for f64 {
    fn write_to(&self, writer: &mut Writer) {
        writer.float(*self);
    }
}

impl Decode for f64 {
    // Some encoders write a float without a fraction as an integer.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a number above 2^53 in a field for amounts is read as the nearest float"
    )]
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.head()? {
            Head::Float(value) => Ok(value),
            Head::Unsigned(value) => Ok(value as Self),
            Head::Negative(value) => Ok(value as Self),
            other => Err(other.instead_of("a number")),
        }
    }
}

impl Encode for String {
    fn write_to(&self, writer: &mut Writer) {
        writer.str(self);
    }
}

impl Decode for String {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        reader.str().map(str::to_owned)
    }
}

impl Element for String {
    const MAX: usize = MAX_LINES_IN_REPLY;
}

impl Encode for Bytes {
    fn write_to(&self, writer: &mut Writer) {
        writer.bin(self);
    }
}

impl Decode for Bytes {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.head()? {
            Head::Bin(len) => reader.shared(len),
            other => Err(other.instead_of("bytes")),
        }
    }
}

impl<T: Encode> Encode for Vec<T> {
    fn write_to(&self, writer: &mut Writer) {
        writer.array(self.len());
        for value in self {
            value.write_to(writer);
        }
    }
}

impl<T: Element> Decode for Vec<T> {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = match reader.head()? {
            Head::Array(count) => count,
            other => return Err(other.instead_of("an array")),
        };
        check_count(count, T::MAX)?;
        // Room for all of them only if they can be as long as they claim: a list of small things
        // that are no `T` fails at its first entry and must not have cost its size many times over.
        let room = count.min(reader.remaining() / size_of::<T>() + 1);
        let mut list = Self::with_capacity(room);
        for index in 0..count {
            list.push(T::read_from(reader).map_err(|fault| fault.at_index(index))?);
        }
        Ok(list)
    }
}

impl Encode for StringMap {
    fn write_to(&self, writer: &mut Writer) {
        writer.map(self.len());
        for (key, value) in self {
            writer.str(key);
            writer.str(value);
        }
    }
}

impl Decode for StringMap {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let count = match reader.head()? {
            Head::Map(count) => count,
            other => return Err(other.instead_of("a map")),
        };
        check_count(count, MAX_MAP_ENTRIES)?;
        let mut map = Self::new();
        for _ in 0..count {
            let key = reader.key()?;
            let value = reader.str().map_err(|fault| fault.at(&excerpt(key)))?;
            if map.insert(key.to_owned(), value.to_owned()).is_some() {
                return Err(Problem::KeyGivenTwice(excerpt(key)).into());
            }
        }
        Ok(map)
    }
}

/// Refuses a list or map with more entries than it may have.
pub(super) fn check_count(count: usize, max: usize) -> Result<(), Fault> {
    if count > max {
        return Err(Problem::TooManyEntries { count, max }.into());
    }
    Ok(())
}
