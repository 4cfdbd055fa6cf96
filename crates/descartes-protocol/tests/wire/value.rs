//! `MessagePack` values as tests build them, encoded by another encoder than the crate's own.

use std::error::Error;

use bytes::Bytes;
use rmp::encode;

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Nil,
    Bool(bool),
    UInt(u64),
    Int(i64),
    Float(f64),
    Str(String),
    Bin(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
}

impl Value {
    pub(crate) fn body(&self) -> Bytes {
        let mut out = Vec::new();
        self.write(&mut out).expect("a vector takes everything");
        out.into()
    }

    fn write(&self, out: &mut Vec<u8>) -> Result<(), Box<dyn Error>> {
        match self {
            Self::Nil => encode::write_nil(out)?,
            Self::Bool(value) => encode::write_bool(out, *value)?,
            Self::UInt(value) => drop(encode::write_uint(out, *value)?),
            Self::Int(value) => drop(encode::write_sint(out, *value)?),
            Self::Float(value) => encode::write_f64(out, *value)?,
            Self::Str(value) => encode::write_str(out, value)?,
            Self::Bin(value) => encode::write_bin(out, value)?,
            Self::Array(values) => {
                encode::write_array_len(out, values.len().try_into()?)?;
                values.iter().try_for_each(|value| value.write(out))?;
            }
            Self::Map(entries) => {
                encode::write_map_len(out, entries.len().try_into()?)?;
                for (key, value) in entries {
                    key.write(out)?;
                    value.write(out)?;
                }
            }
        }
        Ok(())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::UInt(value)
    }
}

/// A map with string keys.
pub(crate) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(
        entries
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
    )
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

/// A spawn request `r1` with one more field in its `config`.
pub(crate) fn spawn_with(field: &str, value: Value) -> Value {
    let fields = [
        ("name", "a".into()),
        ("model_backend", "b".into()),
        ("task", "c".into()),
    ];
    let mut config: Vec<_> = fields
        .map(|(key, value): (&str, Value)| (key.into(), value))
        .into();
    config.push((field.into(), value));
    if field != "environment" {
        config.push(("environment".into(), map([])));
    }
    let config = Value::Map(config);
    map([
        ("type", "spawn_request".into()),
        ("request_id", "r1".into()),
        ("config", config),
    ])
}
