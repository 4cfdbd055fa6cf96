//! Reads what agents wrote, from the segments that their shims left.

use std::path::{Path, PathBuf};

use descartes_protocol::Stream;

mod query;
mod read;

pub use query::{LineQuery, Lines, Reached, Rest};
pub(crate) use query::{QueryError, query};
pub(crate) use read::{Length, read, read_with_times, since};
pub use read::{OutputChunk, OutputRead};

/// The folder of one stream.
pub(crate) fn stream_dir(agent_dir: &Path, stream: Stream) -> PathBuf {
    agent_dir.join(stream.as_str())
}
