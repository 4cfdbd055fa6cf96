//! Following what happens to agents.
//!
//! The server numbers its events without holes and keeps the last 65,536 of them. So a reader needs no more than to ask
//! for what comes after a number, and have the server hold the request until there is something: nothing can be dropped
//! on the way, and a broken connection or a slow reader only means asking later. Where events are gone all the same, a
//! list takes their place.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use descartes_protocol::{AgentId, AgentInfo, EventsRequest, EventsResponse, Reply, StatusUpdate};
use tokio::time::Instant;

use crate::agents::{ListFilter, Position};
use crate::call::Call;
use crate::client::{PACE, ZmqClient, new_id};
use crate::error::ClientError;

/// What [`StatusUpdates`] brings.
#[derive(Debug, Clone, PartialEq)]
pub enum StatusItem {
    /// How things stand: all agents, or the one that is followed. It is the first item, and comes again whenever
    /// events are gone for good.
    Agents {
        /// The agents, the oldest first.
        agents: Vec<AgentInfo>,
        /// Whether things may have happened since the last item that no update tells of: the server was started anew,
        /// or this reader was too slow for the 65,536 events that are kept. False for the first item.
        gap: bool,
    },
    /// Something happened after that.
    Update(StatusUpdate),
}

/// Follows the events of one server, of all agents or of one: every event once and in order, across broken connections.
///
/// Agents that started before this did, and what became of them, are in the first item.
#[derive(Debug)]
pub struct StatusUpdates {
    cursor: Cursor,
    ready: VecDeque<StatusItem>,
    /// The last event of each agent that the list includes. It may be one after the list's position: agents are looked
    /// at after that, and those of later pages long after. An entry goes with the first event that it does not include.
    included: BTreeMap<AgentId, u64>,
}

/// A place in a server's events.
#[derive(Debug)]
pub(crate) struct Cursor {
    client: ZmqClient,
    agent: Option<AgentId>,
    position: Position,
}

/// What follows a place in a server's events.
#[derive(Debug)]
pub(crate) enum Page {
    Events(Vec<StatusUpdate>),
    /// Events are gone, or of another run of the server: the cursor has to be put to a new place.
    Gap,
}

impl ZmqClient {
    /// Follows what happens, to one agent or to all, from now on.
    ///
    /// # Errors
    /// [`ClientError`]; `agent_not_found` for an agent that the server does not know.
    pub async fn status_updates(
        &self,
        agent: Option<AgentId>,
    ) -> Result<StatusUpdates, ClientError> {
        StatusUpdates::look(self, agent, false).await
    }

    /// The events that the server still has, oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn recent_events(
        &self,
        agent: Option<AgentId>,
    ) -> Result<Vec<StatusUpdate>, ClientError> {
        let end = self.position().await?;
        let mut position = Position {
            sequence: 0,
            ..end.clone()
        };
        let mut events = Vec::new();
        while position.sequence < end.sequence {
            let page = self.events_after(&position, agent, Duration::ZERO).await?;
            if page.epoch != position.epoch || page.next_sequence <= position.sequence {
                break;
            }
            position.sequence = page.next_sequence;
            events.extend(page.events);
        }
        Ok(events)
    }

    /// Where the server's events end now.
    pub(crate) async fn position(&self) -> Result<Position, ClientError> {
        let nothing = ListFilter {
            limit: Some(0),
            ..ListFilter::default()
        };
        Ok(self.list_and_position(&nothing).await?.1)
    }

    async fn events_after(
        &self,
        position: &Position,
        agent_id: Option<AgentId>,
        wait: Duration,
    ) -> Result<EventsResponse, ClientError> {
        let request = EventsRequest {
            request_id: new_id(),
            epoch: position.epoch.clone(),
            after_sequence: position.sequence,
            limit: None,
            agent_id,
            wait_ms: Some(wait.as_millis().try_into().unwrap_or(u64::MAX)),
        };
        let call = Call::harmless("events").taking(wait);
        let answered = if wait.is_zero() {
            self.call(request, call).await?
        } else {
            self.poll(request, call).await?
        };
        match answered.reply {
            Reply::Events(reply) => Ok(reply),
            _ => Err(Call::unexpected("events")),
        }
    }
}

impl StatusUpdates {
    /// The next item, as soon as there is one.
    ///
    /// # Errors
    /// [`ClientError`]. The reader can be used again after it, and goes on where it was.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub async fn next(&mut self) -> Result<StatusItem, ClientError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(item);
            }
            match self.cursor.next().await? {
                Page::Events(mut events) => {
                    events.retain(|event| is_after(&mut self.included, event));
                    self.ready
                        .extend(events.into_iter().map(StatusItem::Update));
                }
                Page::Gap => {
                    *self = Self::look(&self.cursor.client, self.cursor.agent, true).await?;
                }
            }
        }
    }

    /// How things stand, and events from there on.
    async fn look(
        client: &ZmqClient,
        agent: Option<AgentId>,
        gap: bool,
    ) -> Result<Self, ClientError> {
        let (agents, position) = match agent {
            None => client.list_and_position(&ListFilter::default()).await?,
            Some(id) => {
                let position = client.position().await?;
                (vec![client.agent(id).await?], position)
            }
        };
        let included = agents.iter().map(|info| (info.id, info.agent_sequence));
        Ok(Self {
            cursor: Cursor {
                client: client.clone(),
                agent,
                position,
            },
            included: included.collect(),
            ready: VecDeque::from([StatusItem::Agents { agents, gap }]),
        })
    }
}

/// Whether an event is after what a list includes of its agent.
fn is_after(included: &mut BTreeMap<AgentId, u64>, event: &StatusUpdate) -> bool {
    let last = included.get(&event.agent_id);
    if last.is_some_and(|last| event.agent_sequence.is_some_and(|this| this <= *last)) {
        return false;
    }
    included.remove(&event.agent_id);
    true
}

impl Cursor {
    /// A cursor at the end of the server's events.
    pub(crate) async fn at_end(
        client: &ZmqClient,
        agent: Option<AgentId>,
    ) -> Result<Self, ClientError> {
        let position = client.position().await?;
        Ok(Self {
            client: client.clone(),
            agent,
            position,
        })
    }

    /// The one agent that is followed, if it is one.
    pub(crate) fn agent(&self) -> Option<AgentId> {
        self.agent
    }

    /// What follows, as soon as there is something.
    pub(crate) async fn next(&mut self) -> Result<Page, ClientError> {
        loop {
            let asked = Instant::now();
            let reply = self
                .client
                .events_after(&self.position, self.agent, self.client.poll_time())
                .await?;
            if reply.gap || reply.epoch != self.position.epoch {
                return Ok(Page::Gap);
            }
            self.position.sequence = reply.next_sequence.max(self.position.sequence);
            if !reply.events.is_empty() {
                return Ok(Page::Events(reply.events));
            }
            tokio::time::sleep_until(asked + PACE).await;
        }
    }
}
