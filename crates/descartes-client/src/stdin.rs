//! Feeding an agent's standard input.

use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{AgentId, AgentStatus, Command, ErrorCode, Raw, StdinPosition, WriterId};
use uuid::Uuid;

use crate::client::ZmqClient;
use crate::error::{ClientError, Refusal};

/// Bytes of one request. It is below what every server's queue takes at once by default.
const WRITE_BYTES_MAX: usize = 256 * 1024;

/// How long to wait before offering again what an agent's pipe and queue had no room for, at first and at most.
const WAIT_MIN: Duration = Duration::from_millis(10);
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Writes to one agent's standard input: each byte once and in order, however often a request has to be sent. Other
/// writers' bytes may come in between.
#[derive(Debug)]
pub struct StdinWriter {
    client: ZmqClient,
    agent: AgentId,
    id: WriterId,
    /// How many bytes of this writer the agent's input has taken.
    offset: u64,
}

impl ZmqClient {
    /// A writer to an agent's standard input. Nothing is asked of the server yet.
    #[must_use]
    pub fn stdin(&self, agent: AgentId) -> StdinWriter {
        StdinWriter {
            client: self.clone(),
            agent,
            id: Uuid::new_v4().into(),
            offset: 0,
        }
    }

    /// Ends an agent's standard input.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it has none, or has ended.
    pub async fn close_stdin(&self, agent: AgentId) -> Result<(), ClientError> {
        match self.control(agent, &Command::CloseStdin).await? {
            (Ok(_), _) => Ok(()),
            // The first one was done, and its reply lost.
            (Err(refusal), true) if refusal.code == ErrorCode::InvalidState => Ok(()),
            (Err(refusal), _) => Err(Box::new(refusal).into()),
        }
    }
}

impl StdinWriter {
    /// Writes all of `data`, and waits while the agent's queue is full.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where the agent has no standard input, or has ended.
    ///
    /// # Cancel safety
    /// When the future is dropped, any part of `data` may have been written. Make a new writer to go on: what this one
    /// sends afterwards would be taken for a repetition.
    pub async fn write_all(&mut self, data: &[u8]) -> Result<(), ClientError> {
        for part in data.chunks(WRITE_BYTES_MAX) {
            self.write_part(Bytes::copy_from_slice(part), false).await?;
        }
        Ok(())
    }

    /// Ends the agent's standard input after what has been written.
    ///
    /// # Errors
    /// As [`Self::write_all`].
    pub async fn close(mut self) -> Result<(), ClientError> {
        self.write_part(Bytes::new(), true).await
    }

    async fn write_part(&mut self, mut data: Bytes, close: bool) -> Result<(), ClientError> {
        let mut wait = WAIT_MIN;
        loop {
            let command = Command::WriteStdin {
                data: data.clone(),
                close,
                position: StdinPosition::Writer {
                    id: self.id.clone(),
                    offset: self.offset,
                },
            };
            let (outcome, repeated) = self.client.control(self.agent, &command).await?;
            let Err(refusal) = outcome else {
                self.offset += data.len() as u64;
                return Ok(());
            };
            if refusal.code != ErrorCode::Busy {
                return self.not_written(refusal, repeated, data.is_empty());
            }
            let taken = refusal.data.as_ref().map_or(0, taken).min(data.len());
            let _ = data.split_to(taken);
            self.offset += taken as u64;
            // The server has no way to tell when there is room again.
            wait = if taken > 0 {
                WAIT_MIN
            } else {
                (wait * 2).min(WAIT_MAX)
            };
            tokio::time::sleep(wait).await;
        }
    }

    /// What a refused write means. Of one that was sent twice, the first may have been taken, and the agent have ended
    /// since.
    fn not_written(
        &self,
        refusal: Refusal,
        repeated: bool,
        is_close: bool,
    ) -> Result<(), ClientError> {
        let has_ended = refusal.status.is_some_and(AgentStatus::is_final);
        match (repeated && has_ended, is_close) {
            (true, true) => Ok(()),
            (true, false) => Err(ClientError::OutcomeUnknown {
                request: "write_stdin",
                request_id: self.id.to_string(),
                reason: refusal.message,
            }),
            (false, _) => Err(Box::new(refusal).into()),
        }
    }
}

fn taken(data: &Raw) -> usize {
    let bytes = data.get("bytes_written").and_then(|bytes| bytes.as_u64());
    bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}
