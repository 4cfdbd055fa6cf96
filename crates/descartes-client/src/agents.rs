//! What is asked about agents, and of them.

use std::time::Duration;

use descartes_protocol::{
    AgentId, AgentInfo, AgentStatus, Command, ControlCommand, ListAgentsRequest,
    ListAgentsResponse, OutputQueryRequest, OutputQueryResponse, Raw, Reply, SpawnRequest,
};

use crate::call::{Answered, Call, refusal};
use crate::client::{OutputQuery, ZmqClient, new_id};
use crate::control::Outcome;
use crate::error::{ClientError, Refusal};

/// Which agents to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListFilter {
    /// Only agents with this status. Default: any.
    pub status: Option<AgentStatus>,
    /// At most so many, the oldest. Default: all.
    pub limit: Option<usize>,
    /// Whether agents that have ended are listed. Default: yes.
    pub include_finished: bool,
}

impl Default for ListFilter {
    fn default() -> Self {
        Self {
            status: None,
            limit: None,
            include_finished: true,
        }
    }
}

/// Up to where in the server's events a list is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) epoch: String,
    pub(crate) sequence: u64,
}

impl ZmqClient {
    /// Starts an agent. Unlike [`spawn_remote`](crate::ZmqAgentRunner::spawn_remote) it takes the whole request,
    /// `request_id` and metadata included: repeated with the same id, also later and from elsewhere, it brings the same
    /// agent. An empty `request_id` is replaced by a new one.
    ///
    /// # Errors
    /// [`ClientError`]. After [`ClientError::OutcomeUnknown`] the same request can be made again.
    pub async fn spawn(&self, mut request: SpawnRequest) -> Result<AgentInfo, ClientError> {
        if request.request_id.is_empty() {
            request.request_id = new_id();
        }
        let call =
            Call::safe("spawn").taking(Duration::from_secs(request.timeout_secs.unwrap_or(0)));
        match self.call(request, call).await?.reply {
            Reply::Spawn(reply) => match reply.agent_info {
                Some(info) if reply.success => Ok(info),
                _ => Err(Box::new(refusal(reply.error, reply.error_code)).into()),
            },
            _ => Err(Call::unexpected("spawn")),
        }
    }

    /// Lists agents in the order of their age, the oldest first.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn list(&self, filter: &ListFilter) -> Result<Vec<AgentInfo>, ClientError> {
        Ok(self.list_and_position(filter).await?.0)
    }

    /// A list, and the position in the server's events that it includes.
    pub(crate) async fn list_and_position(
        &self,
        filter: &ListFilter,
    ) -> Result<(Vec<AgentInfo>, Position), ClientError> {
        loop {
            let first = self.list_page(filter, 0, None).await?;
            let position = Position {
                epoch: first.epoch,
                sequence: first.sequence,
            };
            let (mut agents, mut has_more) = (first.agents, first.has_more);
            let mut same_run = true;
            while has_more && same_run && filter.limit.is_none_or(|limit| agents.len() < limit) {
                let last = agents.last().map(|agent| agent.id);
                let page = self.list_page(filter, agents.len(), last).await?;
                same_run = page.epoch == position.epoch;
                has_more = page.has_more && !page.agents.is_empty();
                agents.extend(page.agents);
            }
            // A restart in the middle: pages of two runs make no list.
            if same_run {
                return Ok((agents, position));
            }
        }
    }

    async fn list_page(
        &self,
        filter: &ListFilter,
        have: usize,
        after: Option<AgentId>,
    ) -> Result<ListAgentsResponse, ClientError> {
        let request = ListAgentsRequest {
            request_id: new_id(),
            filter_status: filter.status,
            limit: filter.limit.map(|limit| (limit - have.min(limit)) as u64),
            after,
            include_finished: Some(filter.include_finished),
        };
        match self.call(request, Call::harmless("list")).await?.reply {
            Reply::ListAgents(reply) if reply.success => Ok(reply),
            Reply::ListAgents(reply) => {
                Err(Box::new(refusal(reply.error, reply.error_code)).into())
            }
            _ => Err(Call::unexpected("list")),
        }
    }

    /// Gives an agent any command, and returns the reply's data, nil where there is none.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn command(&self, agent: AgentId, command: &Command) -> Result<Raw, ClientError> {
        self.control(agent, command).await?.data()
    }

    pub(crate) async fn control(
        &self,
        agent_id: AgentId,
        command: &Command,
    ) -> Result<Outcome, ClientError> {
        let request_id = new_id();
        let request = ControlCommand {
            request_id: request_id.clone(),
            agent_id,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
        };
        let call = Call::of(command);
        let waits = matches!(command, Command::Read { wait, .. } if !wait.is_zero());
        let Answered { reply, repeated } = if waits {
            self.poll(request, call).await?
        } else {
            self.call(request, call).await?
        };
        let Reply::Command(reply) = reply else {
            return Err(Call::unexpected(command.command_type()));
        };
        let data = reply.data.unwrap_or_else(Raw::nil);
        let result = if reply.success {
            Ok(data)
        } else {
            Err(Refusal {
                status: reply.status,
                data: Some(data),
                ..refusal(reply.error, reply.error_code)
            })
        };
        Ok(Outcome {
            request_id,
            result,
            repeated,
        })
    }

    /// What is known of an agent.
    ///
    /// # Errors
    /// [`ClientError`]; `agent_not_found` where the server does not know it, or not any more.
    pub async fn agent(&self, agent: AgentId) -> Result<AgentInfo, ClientError> {
        let data = self.command(agent, &Command::GetStatus).await?;
        let info = data.get("agent_info").and_then(|info| info.as_agent_info());
        info.ok_or_else(|| missing("get_status", "agent_info"))
    }

    /// Looks for lines in an agent's output.
    ///
    /// # Errors
    /// [`ClientError`]; `malformed_message` where the expression does not compile.
    pub async fn query_output(
        &self,
        agent: AgentId,
        query: &OutputQuery,
    ) -> Result<OutputQueryResponse, ClientError> {
        let request = OutputQueryRequest {
            request_id: new_id(),
            agent_id: agent,
            stream: query.stream,
            filter: query.filter.clone(),
            limit: query.limit,
            offset: query.offset,
            tail: query.tail.then_some(true),
            count: (!query.count).then_some(false),
            from_offset: query.from_offset,
        };
        match self
            .call(request, Call::harmless("output query"))
            .await?
            .reply
        {
            Reply::OutputQuery(reply) if reply.success => Ok(reply),
            Reply::OutputQuery(reply) => {
                Err(Box::new(refusal(reply.error, reply.error_code)).into())
            }
            _ => Err(Call::unexpected("output query")),
        }
    }
}

/// The error for a reply without something that belongs into it.
pub(crate) fn missing(request: &'static str, field: &str) -> ClientError {
    ClientError::BadReply {
        request,
        problem: format!("it has no {field}"),
    }
}
