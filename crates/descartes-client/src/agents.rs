//! What is asked about agents, and of them.

use std::time::{Duration, Instant};

use descartes_protocol::{
    AgentId, AgentInfo, AgentStatus, BatchControlCommand, BatchControlResponse, Command,
    ControlCommand, EndReason, ErrorCode, ListAgentsRequest, ListAgentsResponse,
    OutputQueryRequest, OutputQueryResponse, PauseMode, PauseRequest, Raw, Reply, SignalNumber,
    SignalScope, SpawnRequest,
};

use crate::call::{Answered, Call, refusal};
use crate::client::{Ended, OutputQuery, ZmqClient, new_id};
use crate::error::{ClientError, Refusal};

/// How long after its grace time a `stop` that the server did not answer in time is asked for again.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

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
        let (done, _) = self.control(agent, command).await?;
        Ok(done.map_err(Box::new)?)
    }

    /// Gives a command. Returns what came of it, and whether it was sent more than once.
    pub(crate) async fn control(
        &self,
        agent_id: AgentId,
        command: &Command,
    ) -> Result<(Result<Raw, Refusal>, bool), ClientError> {
        let request = ControlCommand {
            request_id: new_id(),
            agent_id,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
        };
        let call = Call::of(command);
        let waits = matches!(command, Command::Read { wait, .. } if !wait.is_zero());
        let answered = if waits {
            self.poll(request, call).await?
        } else {
            self.call(request, call).await?
        };
        let Answered { reply, repeated } = answered;
        let Reply::Command(reply) = reply else {
            return Err(Call::unexpected(command.command_type()));
        };
        let data = reply.data.unwrap_or_else(Raw::nil);
        let outcome = if reply.success {
            Ok(data)
        } else {
            Err(Refusal {
                status: reply.status,
                data: Some(data),
                ..refusal(reply.error, reply.error_code)
            })
        };
        Ok((outcome, repeated))
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

    /// Holds an agent, and returns how once it stands still.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it is held already or has ended.
    pub async fn pause(
        &self,
        agent: AgentId,
        mode: PauseRequest,
    ) -> Result<PauseMode, ClientError> {
        match self.control(agent, &Command::Pause { mode }).await? {
            (Ok(data), _) => {
                let mode = data.get("mode");
                let mode = mode.and_then(|mode| mode.as_str()?.parse().ok());
                mode.ok_or_else(|| missing("pause", "mode"))
            }
            // The first one was done, and its reply lost.
            (Err(refusal), true)
                if refusal.code == ErrorCode::InvalidState
                    && refusal.status == Some(AgentStatus::Paused) =>
            {
                let mode = self.agent(agent).await?.pause_mode;
                Ok(mode.unwrap_or(PauseMode::Forced))
            }
            (Err(refusal), _) => Err(Box::new(refusal).into()),
        }
    }

    /// Lets a held agent go on.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it is not held.
    pub async fn resume(&self, agent: AgentId) -> Result<(), ClientError> {
        match self.control(agent, &Command::Resume).await? {
            (Ok(_), _) => Ok(()),
            (Err(refusal), true)
                if refusal.code == ErrorCode::InvalidState
                    && refusal.status.is_some_and(|status| !status.is_final()) =>
            {
                Ok(())
            }
            (Err(refusal), _) => Err(Box::new(refusal).into()),
        }
    }

    /// Ends an agent, gently first, and returns when no process of it is left. `grace` is the time that it gets to end
    /// by itself, at most a day; `None`: the server's.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it has ended already, `timeout` where some process could not be ended.
    pub async fn stop(
        &self,
        agent: AgentId,
        grace: Option<Duration>,
    ) -> Result<Ended, ClientError> {
        let began = Instant::now();
        let patience = grace.unwrap_or_default() + STOP_PATIENCE;
        let mut stop = Command::Stop { grace, wait: true };
        loop {
            match self.end(agent, &stop).await {
                // The stop goes on beyond the server's own time for a request: a further one joins it.
                Err(error) if error.is(ErrorCode::Timeout) && began.elapsed() < patience => {
                    stop = Command::Stop {
                        grace: None,
                        wait: true,
                    };
                }
                ended => return ended,
            }
        }
    }

    /// Begins to end an agent and does not wait for that.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it has ended already.
    pub async fn begin_stop(
        &self,
        agent: AgentId,
        grace: Option<Duration>,
    ) -> Result<(), ClientError> {
        let stop = Command::Stop { grace, wait: false };
        match self.control(agent, &stop).await? {
            (Err(refusal), repeated) if !(repeated && has_ended(&refusal)) => {
                Err(Box::new(refusal).into())
            }
            _ => Ok(()),
        }
    }

    /// Ends an agent at once, and returns when no process of it is left.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn kill(&self, agent: AgentId) -> Result<Ended, ClientError> {
        self.end(agent, &Command::Kill).await
    }

    async fn end(&self, agent: AgentId, command: &Command) -> Result<Ended, ClientError> {
        match self.control(agent, command).await? {
            (Ok(data), _) => Ok(ended(&data)),
            // An earlier one was done, and its reply lost.
            (Err(refusal), true) if has_ended(&refusal) => {
                let info = self.agent(agent).await?;
                Ok(Ended {
                    exit_code: info.exit_code,
                    exit_signal: info.exit_signal,
                    end_reason: info.end_reason,
                    forced: info.end_reason == Some(EndReason::Killed),
                })
            }
            (Err(refusal), _) => Err(Box::new(refusal).into()),
        }
    }

    /// Sends an agent a signal.
    ///
    /// # Errors
    /// [`ClientError`]; [`ClientError::OutcomeUnknown`] where no reply came, as a signal is not sent twice.
    pub async fn signal(
        &self,
        agent: AgentId,
        signal: SignalNumber,
        scope: SignalScope,
    ) -> Result<(), ClientError> {
        self.command(agent, &Command::Signal { signal, scope })
            .await
            .map(drop)
    }

    /// Has an agent, or the server for it, do something that no command is for, and returns the result.
    ///
    /// # Errors
    /// [`ClientError`]; `unsupported_command` where nobody knows the action.
    pub async fn custom_action(
        &self,
        agent: AgentId,
        action: &str,
        params: Option<Raw>,
    ) -> Result<Raw, ClientError> {
        let command = Command::CustomAction {
            action: action.to_owned(),
            params,
        };
        let data = self.command(agent, &command).await?;
        Ok(data.get("result").unwrap_or_else(Raw::nil))
    }

    /// Gives many agents the same command; what became of each is in the results. With `fail_fast` one after the other
    /// until one fails.
    ///
    /// # Errors
    /// [`ClientError`], where there are no results at all.
    pub async fn batch(
        &self,
        agents: Vec<AgentId>,
        command: &Command,
        fail_fast: bool,
    ) -> Result<BatchControlResponse, ClientError> {
        let request = BatchControlCommand {
            request_id: new_id(),
            agent_ids: agents,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
            fail_fast,
        };
        match self.call(request, Call::of(command)).await?.reply {
            Reply::BatchControl(reply) => Ok(reply),
            _ => Err(Call::unexpected("batch")),
        }
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

fn has_ended(refusal: &Refusal) -> bool {
    refusal.code == ErrorCode::InvalidState && refusal.status.is_some_and(AgentStatus::is_final)
}

fn ended(data: &Raw) -> Ended {
    let number = |key: &str| {
        let value = data.get(key)?.as_i64()?;
        i32::try_from(value).ok()
    };
    let reason = data.get("end_reason");
    Ended {
        exit_code: number("exit_code"),
        exit_signal: number("exit_signal"),
        end_reason: reason.and_then(|reason| reason.as_str()?.parse().ok()),
        forced: data
            .get("forced")
            .and_then(|forced| forced.as_bool())
            .unwrap_or_default(),
    }
}
