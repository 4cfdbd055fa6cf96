use bytes::Bytes;

use super::Raw;
use crate::codec::{Encode, Writer};
use crate::{AgentInfo, OutputTime};

/// Builds a map, entry by entry, such as the `data` of a reply.
///
/// ```
/// use descartes_protocol::MapWriter;
///
/// let data = MapWriter::new().bool("forced", false).int("exit_code", 0).finish();
/// assert_eq!(data.get("exit_code").and_then(|code| code.as_u64()), Some(0));
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct MapWriter {
    entries: usize,
    /// Room for the longest head, then the entries.
    body: Writer,
}

/// The longest head of a map: its marker and 32 bits of length.
const HEAD_MAX: usize = 5;

impl Default for MapWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl MapWriter {
    /// A map without entries.
    pub fn new() -> Self {
        let mut body = Writer::new();
        body.raw(&[0; HEAD_MAX]);
        Self { entries: 0, body }
    }

    /// Adds a string.
    pub fn str(self, key: &str, value: &str) -> Self {
        self.entry(key, |body| body.str(value))
    }

    /// Adds an integer of 0 or more.
    pub fn uint(self, key: &str, value: u64) -> Self {
        self.entry(key, |body| body.uint(value))
    }

    /// Adds an integer.
    pub fn int(self, key: &str, value: i64) -> Self {
        self.entry(key, |body| body.int(value))
    }

    /// Adds a float.
    pub fn float(self, key: &str, value: f64) -> Self {
        self.entry(key, |body| body.float(value))
    }

    /// Adds a truth value.
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.entry(key, |body| body.bool(value))
    }

    /// Adds bytes.
    pub fn bin(self, key: &str, value: &[u8]) -> Self {
        self.entry(key, |body| body.bin(value))
    }

    /// Adds an array of strings.
    pub fn str_list(self, key: &str, values: &[String]) -> Self {
        self.entry(key, |body| {
            body.array(values.len());
            for value in values {
                body.str(value);
            }
        })
    }

    /// Adds an array of times.
    pub fn output_times(self, key: &str, values: &[OutputTime]) -> Self {
        self.entry(key, |body| {
            body.array(values.len());
            for value in values {
                value.write_to(body);
            }
        })
    }

    /// Adds a value that is encoded already.
    pub fn raw(self, key: &str, value: &Raw) -> Self {
        self.entry(key, |body| value.write_to(body))
    }

    /// Adds nil.
    pub fn nil(self, key: &str) -> Self {
        self.entry(key, Writer::nil)
    }

    /// Adds an agent.
    pub fn agent_info(self, key: &str, value: &AgentInfo) -> Self {
        self.entry(key, |body| value.write_to(body))
    }

    /// The map.
    #[must_use]
    pub fn finish(self) -> Raw {
        let mut head = Writer::new();
        head.map(self.entries);
        let head = head.finish();
        let mut body = Vec::from(self.body);
        let start = HEAD_MAX - head.len();
        body[start..HEAD_MAX].copy_from_slice(&head);
        Raw(Bytes::from(body).slice(start..))
    }

    fn entry(mut self, key: &str, write: impl FnOnce(&mut Writer)) -> Self {
        self.entries += 1;
        self.body.str(key);
        write(&mut self.body);
        self
    }
}
