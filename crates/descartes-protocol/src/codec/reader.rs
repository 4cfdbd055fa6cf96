//! A cursor over one body.

use bytes::Bytes;
use rmp::Marker;

use super::{Fault, Problem};
use crate::limits::MAX_REPLY_DEPTH;

/// A position in a body. Copies are cheap, so looking ahead is reading from a copy.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    body: &'a Bytes,
    position: usize,
}

/// The first bytes of a value: a scalar, or what follows them.
#[derive(Clone, Copy)]
pub(crate) enum Head {
    Nil,
    Bool(bool),
    /// Any integer that is not negative, however it is encoded.
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    /// Bytes of a string that follow.
    Str(usize),
    /// Bytes that follow.
    Bin(usize),
    /// Bytes of an extension that follow, its type left out.
    Ext(usize),
    /// Values that follow.
    Array(usize),
    /// Pairs of values that follow.
    Map(usize),
}

impl Head {
    /// What an error message calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "a boolean",
            Self::Unsigned(_) | Self::Negative(_) => "an integer",
            Self::Float(_) => "a float",
            Self::Str(_) => "a string",
            Self::Bin(_) => "bytes",
            Self::Ext(_) => "an extension",
            Self::Array(_) => "an array",
            Self::Map(_) => "a map",
        }
    }

    /// The fault of a value that should have been something else.
    pub(crate) fn instead_of(self, expected: &'static str) -> Fault {
        let found = self.kind();
        Problem::WrongType { expected, found }.into()
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn new(body: &'a Bytes) -> Self {
        Self { body, position: 0 }
    }

    /// The bytes that are left.
    pub(crate) fn remaining(&self) -> usize {
        self.body.len() - self.position
    }

    /// Reads the head of the next value, and with it all of a scalar.
    ///
    /// Nearly all of a body that takes long to walk over is heads of one byte, so these come first.
    #[inline]
    pub(crate) fn head(&mut self) -> Result<Head, Fault> {
        let byte = self.byte()?;
        Ok(match byte {
            0x00..=0x7f => Head::Unsigned(byte.into()),
            0x80..=0x8f => Head::Map((byte & 0x0f).into()),
            0x90..=0x9f => Head::Array((byte & 0x0f).into()),
            0xa0..=0xbf => Head::Str((byte & 0x1f).into()),
            0xc0 => Head::Nil,
            0xc2 => Head::Bool(false),
            0xc3 => Head::Bool(true),
            0xe0..=0xff => Head::Negative(i8::from_be_bytes([byte]).into()),
            _ => return self.long_head(Marker::from_u8(byte)),
        })
    }

    /// Reads the rest of a head that is longer than its marker.
    fn long_head(&mut self, marker: Marker) -> Result<Head, Fault> {
        Ok(match marker {
            Marker::U8 => Head::Unsigned(self.unsigned(1)?),
            Marker::U16 => Head::Unsigned(self.unsigned(2)?),
            Marker::U32 => Head::Unsigned(self.unsigned(4)?),
            Marker::U64 => Head::Unsigned(self.unsigned(8)?),
            Marker::I8 => signed(i8::from_be_bytes(self.array()?).into()),
            Marker::I16 => signed(i16::from_be_bytes(self.array()?).into()),
            Marker::I32 => signed(i32::from_be_bytes(self.array()?).into()),
            Marker::I64 => signed(i64::from_be_bytes(self.array()?)),
            Marker::F32 => Head::Float(f32::from_be_bytes(self.array()?).into()),
            Marker::F64 => Head::Float(f64::from_be_bytes(self.array()?)),
            Marker::Str8 => Head::Str(self.length(1)?),
            Marker::Str16 => Head::Str(self.length(2)?),
            Marker::Str32 => Head::Str(self.length(4)?),
            Marker::Bin8 => Head::Bin(self.length(1)?),
            Marker::Bin16 => Head::Bin(self.length(2)?),
            Marker::Bin32 => Head::Bin(self.length(4)?),
            Marker::Array16 => Head::Array(self.length(2)?),
            Marker::Array32 => Head::Array(self.length(4)?),
            Marker::Map16 => Head::Map(self.length(2)?),
            Marker::Map32 => Head::Map(self.length(4)?),
            Marker::FixExt1 => self.extension(1)?,
            Marker::FixExt2 => self.extension(2)?,
            Marker::FixExt4 => self.extension(4)?,
            Marker::FixExt8 => self.extension(8)?,
            Marker::FixExt16 => self.extension(16)?,
            Marker::Ext8 => self.sized_extension(1)?,
            Marker::Ext16 => self.sized_extension(2)?,
            Marker::Ext32 => self.sized_extension(4)?,
            _ => return Err(Problem::Reserved.into()),
        })
    }

    /// The head of the next value, which stays to be read.
    pub(crate) fn peek(mut self) -> Result<Head, Fault> {
        self.head()
    }

    /// Reads the next value if it is nil; says whether it was.
    pub(crate) fn skip_nil(&mut self) -> bool {
        let is_nil = self.body.get(self.position) == Some(&Marker::Null.to_u8());
        self.position += usize::from(is_nil);
        is_nil
    }

    /// The next value if it is a string, which stays to be read.
    pub(crate) fn peek_str(mut self) -> Option<&'a str> {
        self.str().ok()
    }

    /// Reads a string.
    pub(crate) fn str(&mut self) -> Result<&'a str, Fault> {
        match self.head()? {
            Head::Str(len) => self.str_body(len),
            other => Err(other.instead_of("a string")),
        }
    }

    /// Reads the key of a map's entry.
    pub(crate) fn key(&mut self) -> Result<&'a str, Fault> {
        match self.head()? {
            Head::Str(len) => self.str_body(len),
            other => Err(other.instead_of("a string as key")),
        }
    }

    /// Reads the bytes of a string whose head has been read.
    pub(crate) fn str_body(&mut self, len: usize) -> Result<&'a str, Fault> {
        std::str::from_utf8(self.take(len)?).map_err(|_| Problem::NotUtf8.into())
    }

    /// Reads bytes whose head has been read, as a slice of the body.
    pub(crate) fn shared(&mut self, len: usize) -> Result<Bytes, Fault> {
        let start = self.position;
        self.take(len)?;
        Ok(self.body.slice(start..self.position))
    }

    /// Reads a whole value as a slice of the body.
    pub(crate) fn value(&mut self, max_depth: usize) -> Result<Bytes, Fault> {
        let start = self.position;
        self.skip(max_depth)?;
        Ok(self.body.slice(start..self.position))
    }

    /// Reads past one value, checking all of it. Does not recurse and allocates nothing.
    pub(crate) fn skip(&mut self, max_depth: usize) -> Result<(), Fault> {
        let Some(mut left) = self.skip_head()? else {
            return Ok(());
        };
        // What is left of the arrays and maps around the one whose values are read now.
        let mut outer = [0_usize; MAX_REPLY_DEPTH];
        let mut depth = 1;
        if max_depth == 0 {
            return Err(Problem::TooDeep.into());
        }
        loop {
            if left == 0 {
                depth -= 1;
                if depth == 0 {
                    return Ok(());
                }
                left = outer[depth];
                continue;
            }
            left -= 1;
            if let Some(children) = self.skip_head()? {
                if depth >= max_depth.min(MAX_REPLY_DEPTH) {
                    return Err(Problem::TooDeep.into());
                }
                outer[depth] = left;
                left = children;
                depth += 1;
            }
        }
    }

    /// Reads past a scalar, or past the head of an array or map; then says how many values it holds.
    #[inline]
    fn skip_head(&mut self) -> Result<Option<usize>, Fault> {
        // A body that takes long to walk over is made of heads of one byte.
        if let Some(&byte @ (0x00..=0x9f | 0xc0 | 0xc2 | 0xc3 | 0xe0..)) =
            self.body.get(self.position)
        {
            self.position += 1;
            return Ok(match byte {
                0x80..=0x8f => Some(usize::from(byte & 0x0f) * 2),
                0x90..=0x9f => Some(usize::from(byte & 0x0f)),
                _ => None,
            });
        }
        match self.head()? {
            Head::Str(len) => self.str_body(len).map(|_| None),
            Head::Bin(len) | Head::Ext(len) => self.take(len).map(|_| None),
            Head::Array(len) => Ok(Some(len)),
            Head::Map(len) => Ok(Some(len.saturating_mul(2))),
            _ => Ok(None),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Fault> {
        let rest = &self.body[self.position..];
        let taken = rest.get(..len).ok_or(Problem::Truncated)?;
        self.position += len;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        let byte = *self.body.get(self.position).ok_or(Problem::Truncated)?;
        self.position += 1;
        Ok(byte)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// Reads a big-endian number of `width` bytes, at most 8.
    fn unsigned(&mut self, width: usize) -> Result<u64, Fault> {
        let digits = self.take(width)?.iter();
        Ok(digits.fold(0, |value, &digit| value << 8 | u64::from(digit)))
    }

    fn length(&mut self, width: usize) -> Result<usize, Fault> {
        // A length that the address space cannot hold is longer than any body.
        usize::try_from(self.unsigned(width)?).map_err(|_| Problem::Truncated.into())
    }

    fn extension(&mut self, len: usize) -> Result<Head, Fault> {
        self.byte()?;
        Ok(Head::Ext(len))
    }

    fn sized_extension(&mut self, width: usize) -> Result<Head, Fault> {
        let len = self.length(width)?;
        self.extension(len)
    }
}

fn signed(value: i64) -> Head {
    u64::try_from(value).map_or(Head::Negative(value), Head::Unsigned)
}
