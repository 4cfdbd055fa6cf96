//! Reading what agents write.

use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{AgentId, Command, OutputTime, Raw, Stream, Timestamp};
use tokio::time::{Instant, sleep_until};

use crate::agents::missing;
use crate::client::{PACE, ZmqClient};
use crate::error::ClientError;

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// At so many bytes after the stream's beginning.
    Offset(u64),
    /// At the first byte that the agent wrote at that time or later.
    Since(Timestamp),
}

/// Some output of one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputChunk {
    /// How many bytes of the stream came before `data`.
    pub offset: u64,
    /// The bytes.
    pub data: Bytes,
    /// The oldest byte that the server still keeps.
    pub first_offset: u64,
    /// How many bytes are gone between what was asked for and `data`: dropped as the stream outgrew its limit, or never
    /// written as the disk was full.
    pub lost_bytes: u64,
    /// When bytes arrived, as the agent's shim noted it: from each offset on, that time, to about 10 ms. Empty where
    /// times were not asked for, or are not known.
    pub times: Vec<OutputTime>,
    /// Whether the agent has ended and nothing follows.
    pub eof: bool,
}

impl OutputChunk {
    /// Where to go on reading.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// Reads one stream of an agent piece by piece: every byte once and in order, across broken connections and restarts
/// of the server. What is gone for good shows as [`OutputChunk::lost_bytes`].
///
/// It holds one piece at a time: a reader that is slow slows nobody, and what it has not read stays on the server's
/// disk.
#[derive(Debug)]
pub struct OutputReader {
    client: ZmqClient,
    agent: AgentId,
    stream: Stream,
    from: ReadFrom,
    with_times: bool,
    bytes_max: Option<u64>,
    eof: bool,
}

impl ZmqClient {
    /// What an agent has written from there on, as much as one reply holds, without waiting for more.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn read(
        &self,
        agent: AgentId,
        stream: Stream,
        from: ReadFrom,
    ) -> Result<OutputChunk, ClientError> {
        self.output(agent, stream, from).read(Duration::ZERO).await
    }

    /// A reader of one stream, from there on. Nothing is asked of the server yet.
    #[must_use]
    pub fn output(&self, agent: AgentId, stream: Stream, from: ReadFrom) -> OutputReader {
        OutputReader {
            client: self.clone(),
            agent,
            stream,
            from,
            with_times: false,
            bytes_max: None,
            eof: false,
        }
    }
}

impl OutputReader {
    /// Has the pieces come with the times at which their bytes arrived.
    #[must_use]
    pub fn with_times(self) -> Self {
        Self {
            with_times: true,
            ..self
        }
    }

    /// Has no piece be longer than so many bytes. Default: as much as one reply holds.
    #[must_use]
    pub fn at_most(self, bytes: u64) -> Self {
        Self {
            bytes_max: Some(bytes),
            ..self
        }
    }

    /// The next piece, as soon as there is one; `None` at the end of an agent that has ended.
    ///
    /// # Errors
    /// [`ClientError`]. The reader can be used again after it, and goes on where it was.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<OutputChunk>, ClientError> {
        while !self.eof {
            let asked = Instant::now();
            let chunk = self.read(self.client.poll_time()).await?;
            if !chunk.data.is_empty() || chunk.lost_bytes > 0 {
                return Ok(Some(chunk));
            }
            if !self.eof {
                sleep_until(asked + PACE).await;
            }
        }
        Ok(None)
    }

    /// The next piece of what is there already; `None` where there is nothing now.
    ///
    /// # Errors
    /// As [`Self::next`].
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next_available(&mut self) -> Result<Option<OutputChunk>, ClientError> {
        if self.eof {
            return Ok(None);
        }
        let chunk = self.read(Duration::ZERO).await?;
        let is_something = !chunk.data.is_empty() || chunk.lost_bytes > 0;
        Ok(is_something.then_some(chunk))
    }

    /// Whether the agent has ended and all that it wrote was read.
    #[must_use]
    pub fn is_at_end(&self) -> bool {
        self.eof
    }

    async fn read(&mut self, wait: Duration) -> Result<OutputChunk, ClientError> {
        let (offset, since) = match self.from {
            ReadFrom::Offset(offset) => (offset, None),
            ReadFrom::Since(time) => (0, Some(time)),
        };
        let command = Command::Read {
            stream: self.stream,
            offset: Some(offset),
            max_bytes: self.bytes_max,
            wait,
            since,
            times: self.with_times,
        };
        let data = self.client.command(self.agent, &command).await?;
        let mut chunk = chunk(&data).ok_or_else(|| missing(command.command_type(), "data"))?;
        if since.is_none() {
            chunk.lost_bytes = chunk.offset.saturating_sub(offset);
        }
        self.from = ReadFrom::Offset(chunk.next_offset());
        self.eof = chunk.eof;
        Ok(chunk)
    }
}

fn chunk(data: &Raw) -> Option<OutputChunk> {
    Some(OutputChunk {
        offset: data.get("offset")?.as_u64()?,
        data: data.get("data")?.as_bin()?,
        first_offset: data.get("first_offset")?.as_u64()?,
        lost_bytes: 0,
        times: data
            .get("times")
            .and_then(|times| times.as_output_times())
            .unwrap_or_default(),
        eof: data.get("eof")?.as_bool()?,
    })
}
