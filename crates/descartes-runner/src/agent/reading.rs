//! What an agent wrote.

use descartes_protocol::{Stream, Timestamp};
use tokio::sync::Semaphore;

use super::AgentHandle;
use crate::error::AgentError;
use crate::output::{self, LineQuery, Lines, OutputChunk, OutputRead};

/// Most bytes of one read.
const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes that reads of all agents may hold at once while they are read from disk.
static READING: Semaphore = Semaphore::const_new(64 * 1024 * 1024);

impl AgentHandle {
    /// Reads some of a stream.
    ///
    /// # Errors
    /// [`AgentError::Output`], [`AgentError::Removed`].
    ///
    /// # Cancel safety
    /// The cursor moves only when the result is returned.
    pub async fn read(&self, read: OutputRead) -> Result<OutputChunk, AgentError> {
        let _reading = self.reading()?;
        let deadline = tokio::time::Instant::now() + read.wait;
        let stream = read.stream;
        // Once: what comes while this waits is new, whatever its clock says.
        let offset = match read.since {
            Some(since) => Some(
                self.since(stream, since)
                    .await?
                    .max(read.offset.unwrap_or(0)),
            ),
            None => read.offset,
        };
        let mut progress = self.progress();
        let mut attention = None;
        loop {
            progress.mark_unchanged();
            let from = offset.unwrap_or_else(|| self.agent.state().cursor(stream));
            let chunk = self.read_at(read, from).await?;
            let waiting = chunk.data.is_empty() && !chunk.eof && read.max > 0;
            if waiting && tokio::time::Instant::now() < deadline {
                attention.get_or_insert_with(|| self.attend());
                let _ = tokio::time::timeout_at(deadline, progress.changed()).await;
                continue;
            }
            if offset.is_some()
                || self
                    .agent
                    .state()
                    .move_cursor(stream, from, chunk.next_offset)
            {
                return Ok(chunk);
            }
        }
    }

    async fn since(&self, stream: Stream, time: Timestamp) -> Result<u64, AgentError> {
        let dir = output::stream_dir(&self.agent.dir, stream);
        blocking(move || output::since(&dir, time)).await
    }

    async fn read_at(&self, read: OutputRead, offset: u64) -> Result<OutputChunk, AgentError> {
        let stream = read.stream;
        let length = self.agent.state().length(stream);
        let dir = output::stream_dir(&self.agent.dir, stream);
        let max = usize::try_from(read.max.min(READ_BYTES_MAX)).unwrap_or(usize::MAX);
        // The semaphore is never closed.
        let _share = READING.acquire_many(u32::try_from(max).unwrap_or(0)).await;
        let chunk = blocking(move || {
            if read.times {
                output::read_with_times(&dir, offset, max, length)
            } else {
                output::read(&dir, offset, max, length)
            }
        })
        .await?;
        if !chunk.data.is_empty() {
            self.agent.state().saw(stream, chunk.next_offset);
        }
        Ok(chunk)
    }

    /// Looks for lines in the output.
    ///
    /// # Errors
    /// [`AgentError::Output`], [`AgentError::Removed`]; [`AgentError::TimedOut`] when the query's
    /// deadline has passed; [`AgentError::Filter`] when its regular expression is none or too large.
    pub async fn query(&self, query: LineQuery) -> Result<Lines, AgentError> {
        let _reading = self.reading()?;
        let dir = self.agent.dir.clone();
        blocking(move || output::query(&dir, &query)).await
    }
}

async fn blocking<T: Send + 'static, E: Into<AgentError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => Err(AgentError::Output(error.to_string())),
    }
}
