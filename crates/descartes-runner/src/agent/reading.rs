//! What an agent wrote.

use std::time::Duration;

use descartes_protocol::Stream;
use tokio::sync::Semaphore;

use super::AgentHandle;
use crate::error::AgentError;
use crate::output::{self, LineQuery, Lines, OutputChunk};

/// Most bytes of one read.
const READ_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Bytes that reads of all agents may hold at once while they are read from disk.
static READING: Semaphore = Semaphore::const_new(64 * 1024 * 1024);

impl AgentHandle {
    /// Reads at most `max` bytes of a stream from `offset` on; waits up to `wait` if there is
    /// nothing yet. Without `offset` it reads from the stream's cursor and moves it.
    ///
    /// # Errors
    /// [`AgentError::Output`].
    ///
    /// # Cancel safety
    /// The cursor moves only when the result is returned.
    pub async fn read(
        &self,
        stream: Stream,
        offset: Option<u64>,
        max: u64,
        wait: Duration,
    ) -> Result<OutputChunk, AgentError> {
        let deadline = tokio::time::Instant::now() + wait;
        let mut progress = self.progress();
        let mut attention = None;
        loop {
            progress.mark_unchanged();
            let from = offset.unwrap_or_else(|| self.agent.state().cursor(stream));
            let chunk = self.read_at(stream, from, max).await?;
            let waiting = chunk.data.is_empty() && !chunk.eof && max > 0;
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

    async fn read_at(
        &self,
        stream: Stream,
        offset: u64,
        max: u64,
    ) -> Result<OutputChunk, AgentError> {
        let end = self.agent.state().stream_end(stream);
        let dir = output::stream_dir(&self.agent.dir, stream);
        let max = usize::try_from(max.min(READ_BYTES_MAX)).unwrap_or(usize::MAX);
        // The semaphore is never closed.
        let _share = READING.acquire_many(u32::try_from(max).unwrap_or(0)).await;
        let chunk = blocking(move || output::read(&dir, offset, max, end)).await?;
        if !chunk.data.is_empty() {
            self.agent.state().saw(stream, chunk.next_offset);
        }
        Ok(chunk)
    }

    /// Looks for lines in the output.
    ///
    /// # Errors
    /// [`AgentError::Output`]; [`AgentError::TimedOut`] when the query's deadline has passed.
    pub async fn query(&self, query: LineQuery) -> Result<Lines, AgentError> {
        let dir = self.agent.dir.clone();
        blocking(move || output::query(&dir, &query)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => Err(AgentError::TimedOut),
        Ok(Err(error)) => Err(AgentError::Output(error.to_string())),
        Err(error) => Err(AgentError::Output(error.to_string())),
    }
}
