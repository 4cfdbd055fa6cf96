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
    taken: Taken,
}

/// How many bytes of a writer the agent's input has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taken {
    Bytes(u64),
    /// A write is under way, or nobody knows what became of it.
    Unknown,
}

impl ZmqClient {
    /// A writer to an agent's standard input. Nothing is asked of the server yet.
    #[must_use]
    pub fn stdin(&self, agent: AgentId) -> StdinWriter {
        StdinWriter {
            client: self.clone(),
            agent,
            id: Uuid::new_v4().into(),
            taken: Taken::Bytes(0),
        }
    }

    /// Ends an agent's standard input.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it has none, or has ended.
    pub async fn close_stdin(&self, agent: AgentId) -> Result<(), ClientError> {
        // As a write of nothing it can be sent again.
        self.stdin(agent).close().await
    }
}

impl StdinWriter {
    /// Writes all of `data`, and waits while the agent's queue is full.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where the agent has no standard input, or has ended. After
    /// [`ClientError::OutcomeUnknown`] any part of `data` may have been written, and the writer cannot go on: each
    /// further write is [`ClientError::WriterLost`]. A new writer can.
    ///
    /// # Cancel safety
    /// Dropping the future is as an unknown outcome.
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
            let Taken::Bytes(offset) = self.taken else {
                return Err(ClientError::WriterLost);
            };
            let command = Command::WriteStdin {
                data: data.clone(),
                close,
                position: StdinPosition::Writer {
                    id: self.id.clone(),
                    offset,
                },
            };
            self.taken = Taken::Unknown;
            let outcome = match self.client.control(self.agent, &command).await {
                Ok(outcome) => outcome,
                Err(error) => {
                    if error.is_of_nothing_sent() {
                        self.taken = Taken::Bytes(offset);
                    }
                    return Err(error);
                }
            };
            let Err(refusal) = outcome.result else {
                self.taken = Taken::Bytes(offset + data.len() as u64);
                return Ok(());
            };
            let has_ended = refusal.status.is_some_and(AgentStatus::is_final);
            if outcome.repeated && has_ended {
                // The first one may have been taken, and the agent have ended since.
                return after_the_end(outcome.request_id, refusal, data.is_empty());
            }
            let bytes = refusal.data.as_ref().map_or(0, taken).min(data.len());
            let _ = data.split_to(bytes);
            self.taken = Taken::Bytes(offset + bytes as u64);
            if refusal.code != ErrorCode::Busy {
                return Err(Box::new(refusal).into());
            }
            // The server has no way to tell when there is room again.
            wait = if bytes > 0 {
                WAIT_MIN
            } else {
                (wait * 2).min(WAIT_MAX)
            };
            tokio::time::sleep(wait).await;
        }
    }
}

/// What a write means that was sent again to an agent which has ended: its end closed the input, and may have come
/// before or after the bytes were taken.
fn after_the_end(
    request_id: String,
    refusal: Refusal,
    nothing_to_write: bool,
) -> Result<(), ClientError> {
    if nothing_to_write {
        return Ok(());
    }
    Err(ClientError::OutcomeUnknown {
        request: "write_stdin",
        request_id,
        reason: refusal.message,
    })
}

fn taken(data: &Raw) -> usize {
    let bytes = data.get("bytes_written").and_then(|bytes| bytes.as_u64());
    bytes.map_or(0, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}
