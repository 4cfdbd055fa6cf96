//! Writes `MessagePack` in its shortest forms.

use bytes::Bytes;
use rmp::Marker;

/// A growing body.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    pub(crate) fn new() -> Self {
        // Most messages are small; one allocation holds them.
        let out = Vec::with_capacity(256);
        Self { out }
    }

    pub(crate) fn finish(self) -> Bytes {
        self.out.into()
    }

    /// Bytes that are `MessagePack` already.
    pub(crate) fn raw(&mut self, encoded: &[u8]) {
        self.out.extend_from_slice(encoded);
    }

    pub(crate) fn nil(&mut self) {
        self.marker(Marker::Null);
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.marker(if value { Marker::True } else { Marker::False });
    }

    pub(crate) fn uint(&mut self, value: u64) {
        if let Ok(byte) = u8::try_from(value) {
            if byte >= 0x80 {
                self.marker(Marker::U8);
            }
            self.out.push(byte);
        } else if let Ok(short) = u16::try_from(value) {
            self.marker(Marker::U16);
            self.raw(&short.to_be_bytes());
        } else if let Ok(word) = u32::try_from(value) {
            self.marker(Marker::U32);
            self.raw(&word.to_be_bytes());
        } else {
            self.marker(Marker::U64);
            self.raw(&value.to_be_bytes());
        }
    }

    pub(crate) fn int(&mut self, value: i64) {
        if let Ok(value) = u64::try_from(value) {
            self.uint(value);
        } else if let Ok(byte) = i8::try_from(value) {
            if byte < -32 {
                self.marker(Marker::I8);
            }
            self.raw(&byte.to_be_bytes());
        } else if let Ok(short) = i16::try_from(value) {
            self.marker(Marker::I16);
            self.raw(&short.to_be_bytes());
        } else if let Ok(word) = i32::try_from(value) {
            self.marker(Marker::I32);
            self.raw(&word.to_be_bytes());
        } else {
            self.marker(Marker::I64);
            self.raw(&value.to_be_bytes());
        }
    }

    pub(crate) fn float(&mut self, value: f64) {
        self.marker(Marker::F64);
        self.raw(&value.to_be_bytes());
    }

    pub(crate) fn str(&mut self, text: &str) {
        match text.len() {
            len @ 0..32 => self.small(0xa0, len),
            len @ 32..256 => self.sized(Marker::Str8, len, 1),
            len @ 256..0x1_0000 => self.sized(Marker::Str16, len, 2),
            len => self.sized(Marker::Str32, len, 4),
        }
        self.raw(text.as_bytes());
    }

    pub(crate) fn bin(&mut self, bytes: &[u8]) {
        match bytes.len() {
            len @ 0..256 => self.sized(Marker::Bin8, len, 1),
            len @ 256..0x1_0000 => self.sized(Marker::Bin16, len, 2),
            len => self.sized(Marker::Bin32, len, 4),
        }
        self.raw(bytes);
    }

    /// The head of an array; its values have to follow.
    pub(crate) fn array(&mut self, len: usize) {
        match len {
            0..16 => self.small(0x90, len),
            16..0x1_0000 => self.sized(Marker::Array16, len, 2),
            _ => self.sized(Marker::Array32, len, 4),
        }
    }

    /// The head of a map; its keys and values have to follow.
    pub(crate) fn map(&mut self, len: usize) {
        match len {
            0..16 => self.small(0x80, len),
            16..0x1_0000 => self.sized(Marker::Map16, len, 2),
            _ => self.sized(Marker::Map32, len, 4),
        }
    }

    fn marker(&mut self, marker: Marker) {
        self.out.push(marker.to_u8());
    }

    /// A head whose lowest bits are the length.
    fn small(&mut self, marker: u8, len: usize) {
        self.out
            .push(marker | len.to_be_bytes()[size_of::<usize>() - 1]);
    }

    /// A head with its length in `width` bytes.
    fn sized(&mut self, marker: Marker, len: usize, width: usize) {
        self.marker(marker);
        // A body of 4 GiB cannot be sent, so the bytes cut off here are zeros.
        self.raw(&(len as u64).to_be_bytes()[8 - width..]);
    }
}

impl From<Writer> for Vec<u8> {
    fn from(writer: Writer) -> Self {
        writer.out
    }
}
