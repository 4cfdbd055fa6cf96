//! A reply that is owed.

use bytes::Bytes;
use descartes_protocol::Reply;
use descartes_transport::Client;
use tokio::sync::mpsc;

use super::refusal;

/// A reply that came later.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) client: Client,
    pub(super) request_id: String,
    pub(super) body: Bytes,
}

/// Owes a client one reply, and gives it one even if the handler panics.
#[derive(Debug)]
pub(super) struct Promise {
    owed: Option<Owed>,
}

#[derive(Debug)]
struct Owed {
    client: Client,
    request_id: String,
    replies: mpsc::Sender<Finished>,
}

impl Promise {
    pub(super) fn new(client: Client, request_id: String, replies: mpsc::Sender<Finished>) -> Self {
        Self {
            owed: Some(Owed {
                client,
                request_id,
                replies,
            }),
        }
    }

    /// Gives the reply that is owed.
    pub(super) async fn keep(mut self, reply: Reply) {
        if let Some(Owed {
            client,
            request_id,
            replies,
        }) = self.owed.take()
        {
            let body = reply.encode();
            // Without the socket's task there is nobody to be answered.
            let finished = Finished {
                client,
                request_id,
                body,
            };
            let _ = replies.send(finished).await;
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(Owed {
            client,
            request_id,
            replies,
        }) = self.owed.take()
        else {
            return;
        };
        let body = refusal::failed(request_id.clone()).encode();
        let finished = Finished {
            client,
            request_id,
            body,
        };
        // If the queue is full, waiting for it must not be cut short by the task's end.
        tokio::spawn(async move { replies.send(finished).await });
    }
}
