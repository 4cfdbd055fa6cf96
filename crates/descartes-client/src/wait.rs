//! Waiting for agents to end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use descartes_protocol::{AgentId, AgentInfo, AgentStatus, ErrorCode};

use crate::agents::ListFilter;
use crate::client::ZmqClient;
use crate::error::ClientError;
use crate::events::{Cursor, Page};

/// With more agents than this, one list is less work than asking for each.
const ASKED_ONE_BY_ONE_MAX: usize = 16;

/// Agents as they end.
///
/// It holds across broken connections, and across restarts of the server.
#[derive(Debug)]
pub struct AgentEnds {
    client: ZmqClient,
    cursor: Cursor,
    waiting: BTreeSet<AgentId>,
    /// Those of them that may have ended, and are to be looked at.
    suspects: BTreeSet<AgentId>,
    ended: VecDeque<AgentInfo>,
}

impl ZmqClient {
    /// Waits until an agent has ended, however long that takes, and returns what is known of it then.
    ///
    /// # Errors
    /// [`ClientError`]; `agent_not_found` for one that the server does not know, or not any more.
    ///
    /// # Cancel safety
    /// Dropping the future only ends the waiting.
    pub async fn wait(&self, agent: AgentId) -> Result<AgentInfo, ClientError> {
        let mut ends = self.ends(&[agent]).await?;
        loop {
            if let Some(info) = ends.next().await? {
                return Ok(info);
            }
        }
    }

    /// Waits until all of these agents have ended, and returns them in the order in which they were given.
    ///
    /// # Errors
    /// As [`Self::wait`]; the first one ends the waiting.
    ///
    /// # Cancel safety
    /// As [`Self::wait`].
    pub async fn wait_all(&self, agents: &[AgentId]) -> Result<Vec<AgentInfo>, ClientError> {
        let mut ends = self.ends(agents).await?;
        let mut ended = BTreeMap::new();
        while let Some(info) = ends.next().await? {
            ended.insert(info.id, info);
        }
        let in_order = agents.iter().filter_map(|agent| ended.get(agent).cloned());
        Ok(in_order.collect())
    }

    /// Waits until one of these agents has ended, and returns it; `None` where there is none to wait for.
    ///
    /// # Errors
    /// As [`Self::wait`].
    ///
    /// # Cancel safety
    /// As [`Self::wait`].
    pub async fn wait_any(&self, agents: &[AgentId]) -> Result<Option<AgentInfo>, ClientError> {
        self.ends(agents).await?.next().await
    }

    /// These agents, each once it has ended.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub async fn ends(&self, agents: &[AgentId]) -> Result<AgentEnds, ClientError> {
        let one = match agents {
            [one] => Some(*one),
            _ => None,
        };
        let waiting: BTreeSet<AgentId> = agents.iter().copied().collect();
        Ok(AgentEnds {
            client: self.clone(),
            // Before the agents are looked at: whoever ends after that shows in the events.
            cursor: Cursor::at_end(self, one).await?,
            suspects: waiting.clone(),
            waiting,
            ended: VecDeque::new(),
        })
    }
}

impl AgentEnds {
    /// The next agent that has ended; `None` when all have been returned.
    ///
    /// # Errors
    /// [`ClientError`]; `agent_not_found` once for each agent that the server does not know, or not any more. The others
    /// can be waited for by calling it again.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<Option<AgentInfo>, ClientError> {
        loop {
            self.look().await?;
            if let Some(info) = self.ended.pop_front() {
                return Ok(Some(info));
            }
            if self.waiting.is_empty() {
                return Ok(None);
            }
            match self.cursor.next().await? {
                Page::Gap => {
                    self.cursor = Cursor::at_end(&self.client, self.cursor.agent()).await?;
                    self.suspects.clone_from(&self.waiting);
                }
                Page::Events(events) => {
                    let ends = events
                        .iter()
                        .filter(|event| event.status.is_some_and(AgentStatus::is_final));
                    let ended = ends.map(|event| event.agent_id);
                    self.suspects
                        .extend(ended.filter(|agent| self.waiting.contains(agent)));
                }
            }
        }
    }

    /// Looks at all that may have ended.
    async fn look(&mut self) -> Result<(), ClientError> {
        if self.suspects.len() > ASKED_ONE_BY_ONE_MAX {
            for info in self.client.list(&ListFilter::default()).await? {
                if self.suspects.remove(&info.id) {
                    self.found(info);
                }
            }
        }
        while let Some(&agent) = self.suspects.first() {
            let looked = self.client.agent(agent).await;
            if looked
                .as_ref()
                .is_err_and(|error| error.is(ErrorCode::AgentNotFound))
            {
                // It is told once: the others are waited for nevertheless.
                self.waiting.remove(&agent);
            }
            if looked.is_ok() || !self.waiting.contains(&agent) {
                self.suspects.remove(&agent);
            }
            self.found(looked?);
        }
        // Those that had ended when they were looked at come in the order of their ends as well.
        self.ended
            .make_contiguous()
            .sort_by_key(|info| info.finished_at);
        Ok(())
    }

    fn found(&mut self, info: AgentInfo) {
        if info.status.is_final() && self.waiting.remove(&info.id) {
            self.ended.push_back(info);
        }
    }
}
