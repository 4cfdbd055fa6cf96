//! Structs and their codec, both from one table of fields.

use super::{Decode, Fault, Problem, Reader};

/// Defines a struct whose wire form is a map of its fields, and how it is written and read.
///
/// The order of the fields is that of the positional form. With `= "type"` the struct is a message:
/// its map has a `type`, and its positional form begins with it. A field's type can be followed by
///
/// - `as rule`: a check of the value before it is read, from [`rules`];
/// - `= value`: what the field is when it is missing or nil;
/// - `=> rules::WRITTEN`: when absent it is written as nil instead of being left out.
macro_rules! record {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident $(= $type:literal)? {
            $(
                $(#[$field_meta:meta])*
                $field_vis:vis $field:ident: $ty:ty
                    $(as $rule:path)? $(= $default:expr)? $(=> $written:expr)?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $ty,)*
        }

        impl $crate::codec::Record for $name {
            const TYPE: &'static str = concat!($($type)?);
        }

        impl $crate::codec::Encode for $name {
            fn write_to(&self, writer: &mut $crate::codec::Writer) {
                $(let $field = !self.$field.is_absent() $(|| $written)?;)*
                let fields = 0 $(+ usize::from($field))*;
                $crate::codec::write_head::<Self>(writer, fields);
                $(
                    if $field {
                        writer.str(stringify!($field));
                        self.$field.write_to(writer);
                    }
                )*
            }
        }

        impl $crate::codec::Decode for $name {
            fn read_from(
                reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Fault> {
                $(
                    let mut $field = $crate::codec::Slot::<$ty>::new(stringify!($field))
                        $(.checked($rule))? $(.or($default))?;
                )*
                match reader.head()? {
                    $crate::codec::Head::Map(count) => {
                        for _ in 0..count {
                            match reader.key()? {
                                $(stringify!($field) => $field.fill(reader)?,)*
                                _ => reader.skip($crate::limits::MAX_REPLY_DEPTH)?,
                            }
                        }
                    }
                    $crate::codec::Head::Array(count) => {
                        let mut left = $crate::codec::skip_type::<Self>(reader, count)?;
                        $(
                            if left > 0 {
                                left -= 1;
                                $field.fill(reader)?;
                            }
                        )*
                        for _ in 0..left {
                            reader.skip($crate::limits::MAX_REPLY_DEPTH)?;
                        }
                    }
                    other => return Err(other.instead_of("a map or an array")),
                }
                Ok(Self { $($field: $field.take()?,)* })
            }
        }
    };
}
pub(crate) use record;

/// A struct made by [`record`].
pub(crate) trait Record {
    /// The message's `type`; empty for what is only a part of messages.
    const TYPE: &'static str;
}

/// Checks of a field's value before it is read.
pub(crate) mod rules {
    use crate::codec::fields::check_count;
    use crate::codec::{Fault, Head, Reader};
    use crate::limits::MAX_ARGS;

    /// An absent field is written as nil.
    pub(crate) const WRITTEN: bool = true;

    /// The value, which stays undecoded, is a map.
    pub(crate) fn map(reader: Reader<'_>) -> Result<(), Fault> {
        match reader.peek()? {
            Head::Map(_) => Ok(()),
            other => Err(other.instead_of("a map")),
        }
    }

    /// The list has no more entries than `args` may have.
    pub(crate) fn args(reader: Reader<'_>) -> Result<(), Fault> {
        match reader.peek()? {
            Head::Array(count) => check_count(count, MAX_ARGS),
            _ => Ok(()),
        }
    }
}

/// A field while its struct is read.
pub(crate) struct Slot<T> {
    name: &'static str,
    check: Option<fn(Reader<'_>) -> Result<(), Fault>>,
    absent: Option<T>,
    value: Option<T>,
    given: bool,
}

impl<T: Decode> Slot<T> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            check: None,
            absent: T::absent(),
            value: None,
            given: false,
        }
    }

    pub(crate) fn checked(mut self, check: fn(Reader<'_>) -> Result<(), Fault>) -> Self {
        self.check = Some(check);
        self
    }

    pub(crate) fn or(mut self, absent: T) -> Self {
        self.absent = Some(absent);
        self
    }

    /// Reads the field's value.
    pub(crate) fn fill(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        if self.given {
            return Err(Fault::from(Problem::GivenTwice).at(self.name));
        }
        self.given = true;
        self.read(reader).map_err(|fault| fault.at(self.name))
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        if self.absent.is_some() && reader.skip_nil() {
            return Ok(());
        }
        if let Some(check) = self.check {
            check(*reader)?;
        }
        self.value = Some(T::read_from(reader)?);
        Ok(())
    }

    /// The field's value, after all fields have been read.
    pub(crate) fn take(self) -> Result<T, Fault> {
        self.value
            .or(self.absent)
            .ok_or_else(|| Fault::from(Problem::Missing).at(self.name))
    }
}

/// Writes the head of a struct's map and, of a message, its type.
pub(crate) fn write_head<T: Record>(writer: &mut super::Writer, fields: usize) {
    if T::TYPE.is_empty() {
        writer.map(fields);
    } else {
        writer.map(fields + 1);
        writer.str("type");
        writer.str(T::TYPE);
    }
}

/// Reads past the type at the begin of a message's positional form; returns how many values follow.
pub(crate) fn skip_type<T: Record>(reader: &mut Reader<'_>, count: usize) -> Result<usize, Fault> {
    if T::TYPE.is_empty() || count == 0 {
        return Ok(count);
    }
    reader.skip(0)?;
    Ok(count - 1)
}

/// Defines the enum of the messages that go one way, and its codec.
macro_rules! message_enum {
    (
        $(#[$meta:meta])*
        $vis:vis enum $name:ident {
            $($(#[$variant_meta:meta])* $variant:ident($message:ident),)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        #[expect(
            clippy::large_enum_variant,
            reason = "messages are handed on one at a time; a box would only cost an allocation"
        )]
        $vis enum $name {
            $($(#[$variant_meta])* $variant($message),)*
        }

        impl $name {
            /// The value of the message's `type` field.
            #[must_use]
            pub fn message_type(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => <$message as $crate::codec::Record>::TYPE,)*
                }
            }

            /// The message as the body that goes on the wire, a map with named fields.
            #[must_use]
            pub fn encode(&self) -> bytes::Bytes {
                match self {
                    $(Self::$variant(message) => $crate::codec::to_bytes(message),)*
                }
            }

            /// Reads the message that a body whose type is known holds.
            fn read(
                kind: &str,
                reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Fault> {
                use $crate::codec::{Decode, Record};
                match kind {
                    $(
                        <$message as Record>::TYPE => {
                            <$message as Decode>::read_from(reader).map(Self::$variant)
                        }
                    )*
                    other => {
                        let other = $crate::codec::excerpt(other);
                        Err($crate::codec::Problem::UnsupportedType(other).into())
                    }
                }
            }
        }

        $(impl From<$message> for $name {
            fn from(message: $message) -> Self {
                Self::$variant(message)
            }
        })*
    };
}
pub(crate) use message_enum;
