//! One agent's stream, sent as it grows.

use descartes_protocol::{LogStream, Stream, Timestamp};
use descartes_runner::{AgentHandle, OutputRead};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Piece;

/// Bytes of output in one message.
const PIECE_BYTES: u64 = 64 * 1024;

/// A sender that has fallen behind by more than this goes on near the end: who needs the bytes
/// between reads them by offset.
const BEHIND_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The task that sends one stream. Dropping it ends the task.
#[derive(Debug)]
pub(super) struct LiveOutput {
    task: JoinHandle<()>,
}

impl LiveOutput {
    /// Sends the stream from `from` on; from its present end where that is `None`.
    pub(super) fn start(
        handle: &AgentHandle,
        stream: Stream,
        topic: String,
        from: Option<u64>,
        output: mpsc::Sender<Piece>,
    ) -> Self {
        let offset = from.unwrap_or_else(|| handle.progress().borrow().bytes(stream));
        let sending = send(handle.clone(), stream, topic, offset, output);
        Self {
            task: tokio::spawn(sending),
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.task.is_finished()
    }
}

impl Drop for LiveOutput {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn send(
    handle: AgentHandle,
    stream: Stream,
    topic: String,
    mut offset: u64,
    output: mpsc::Sender<Piece>,
) {
    let _attention = handle.attend();
    let mut progress = handle.progress();
    let mut sequence = 0;
    loop {
        let known = progress.borrow_and_update().bytes(stream);
        if known.saturating_sub(offset) > BEHIND_BYTES_MAX {
            offset = known - PIECE_BYTES;
        }
        let read = OutputRead {
            offset: Some(offset),
            max: PIECE_BYTES,
            ..OutputRead::all(stream)
        };
        let Ok(chunk) = handle.read(read).await else {
            return;
        };
        offset = chunk.next_offset;
        if !chunk.data.is_empty() {
            sequence += 1;
            let body = LogStream {
                agent_id: handle.id(),
                stream_type: stream,
                data: chunk.data.into(),
                timestamp: Timestamp::now(),
                sequence,
                offset: chunk.offset,
            };
            let body = body.encode();
            let topic = topic.clone();
            if output.send(Piece { topic, body }).await.is_err() {
                return;
            }
        } else if chunk.eof || progress.changed().await.is_err() {
            return;
        }
    }
}
