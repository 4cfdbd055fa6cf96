//! Those who watch: each keeps all that it was told.

use descartes_client::protocol::{AgentId, Stream};
use descartes_client::{ReadFrom, StatusItem, StatusUpdates, ZmqAgentRunner, ZmqClient};
use descartes_testkit::soon;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::verdict;

/// One who follows the events of all agents, or of one.
pub(crate) struct Follower {
    items: watch::Receiver<Vec<StatusItem>>,
    task: JoinHandle<()>,
}

impl Follower {
    pub(crate) async fn begin(client: &ZmqClient, agent: Option<AgentId>) -> Self {
        let begin = client.subscribe_status_updates(agent);
        let updates = soon("a list", begin).await.expect("a list");
        let (told, items) = watch::channel(Vec::new());
        let task = tokio::spawn(follow(updates, told));
        Self { items, task }
    }

    /// Waits until so many gaps were told.
    pub(crate) async fn has_seen_gaps(&self, gaps: usize) {
        self.has_seen("the gap of a restart", |items| {
            verdict::gaps(items) == gaps && !items.is_empty()
        })
        .await;
    }

    /// Waits until this is true of all that was told.
    pub(crate) async fn has_seen(&self, what: &str, is_true: impl FnMut(&Vec<StatusItem>) -> bool) {
        let mut items = self.items.clone();
        soon(what, items.wait_for(is_true))
            .await
            .expect("the follower goes on");
    }

    /// All that was told.
    pub(crate) fn items(&self) -> Vec<StatusItem> {
        self.items.borrow().clone()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn follow(mut updates: StatusUpdates, told: watch::Sender<Vec<StatusItem>>) {
    loop {
        let item = updates.next().await.expect("the next item");
        told.send_modify(|items| items.push(item));
    }
}

/// Reads a stream from its beginning to the agent's end.
pub(crate) async fn read(client: ZmqClient, agent: AgentId, stream: Stream) -> Vec<u8> {
    let mut reader = client.output(agent, stream, ReadFrom::Offset(0));
    let mut read = Vec::new();
    while let Some(chunk) = reader.next().await.expect("the next piece") {
        assert_eq!(chunk.lost_bytes, 0, "bytes of {agent} are gone");
        assert_eq!(chunk.offset, read.len() as u64, "{agent} goes on elsewhere");
        read.extend_from_slice(&chunk.data);
    }
    read
}
