//! What is done to agents.

use std::time::Duration;

use descartes_protocol::{
    AgentId, AgentInfo, AgentStatus, BatchControlCommand, BatchControlResponse, Command, EndReason,
    ErrorCode, PauseMode, PauseRequest, Raw, Reply, SignalNumber, SignalScope,
};

use crate::agents::missing;
use crate::call::Call;
use crate::client::{ZmqClient, new_id};
use crate::error::{ClientError, Refusal};

/// How an agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The code that it exited with.
    pub exit_code: Option<i32>,
    /// The number of the signal that ended it.
    pub exit_signal: Option<i32>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// Whether it had to be killed, as its grace time was over. `None` where the reply that said so was lost, or the
    /// agent had ended before.
    pub forced: Option<bool>,
}

impl From<&AgentInfo> for Ended {
    fn from(info: &AgentInfo) -> Self {
        Self {
            exit_code: info.exit_code,
            exit_signal: info.exit_signal,
            end_reason: info.end_reason,
            forced: None,
        }
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) request_id: String,
    /// The reply's data, or the refusal.
    pub(crate) result: Result<Raw, Refusal>,
    /// Whether the command was sent more than once. Then a refusal may mean that an earlier one was done.
    pub(crate) repeated: bool,
}

impl Outcome {
    pub(crate) fn data(self) -> Result<Raw, ClientError> {
        Ok(self.result.map_err(Box::new)?)
    }

    /// Whether an earlier one was done and its reply lost, as the agent is `so` now.
    fn was_done(&self, so: impl Fn(AgentStatus) -> bool) -> bool {
        match &self.result {
            Err(refusal) => {
                self.repeated
                    && refusal.code == ErrorCode::InvalidState
                    && refusal.status.is_some_and(so)
            }
            Ok(_) => false,
        }
    }
}

impl ZmqClient {
    /// Pauses an agent, and returns how once it stands still.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it is paused already or has ended.
    pub async fn pause(
        &self,
        agent: AgentId,
        mode: PauseRequest,
    ) -> Result<PauseMode, ClientError> {
        let outcome = self.control(agent, &Command::Pause { mode }).await?;
        if outcome.was_done(|status| status == AgentStatus::Paused) {
            let mode = self.agent(agent).await?.pause_mode;
            return mode.ok_or_else(|| missing("pause", "pause_mode"));
        }
        let mode = outcome.data()?.get("mode");
        let mode = mode.and_then(|mode| mode.as_str()?.parse().ok());
        mode.ok_or_else(|| missing("pause", "mode"))
    }

    /// Lets a paused agent go on.
    ///
    /// # Errors
    /// [`ClientError`]; `invalid_state` where it is not paused.
    pub async fn resume(&self, agent: AgentId) -> Result<(), ClientError> {
        let outcome = self.control(agent, &Command::Resume).await?;
        if outcome.was_done(|status| !status.is_final()) {
            return Ok(());
        }
        outcome.data().map(drop)
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
        let (mut stop, mut is_joining) = (Command::Stop { grace, wait: true }, false);
        loop {
            let outcome = self.control(agent, &stop).await?;
            match &outcome.result {
                // It goes on beyond the server's own time for a request: a further one joins it.
                Err(refusal)
                    if refusal.code == ErrorCode::Timeout
                        && refusal.status.is_some_and(|status| !status.is_final()) =>
                {
                    is_joining = true;
                    stop = Command::Stop {
                        grace: None,
                        wait: true,
                    };
                }
                // It ended between the two.
                Err(refusal)
                    if refusal.code == ErrorCode::InvalidState
                        && refusal.status.is_some_and(AgentStatus::is_final)
                        && (outcome.repeated || is_joining) =>
                {
                    return Ok(Ended::from(&self.agent(agent).await?));
                }
                _ => return Ok(ended(&outcome.data()?)),
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
        let outcome = self.control(agent, &stop).await?;
        if outcome.was_done(AgentStatus::is_final) {
            return Ok(());
        }
        outcome.data().map(drop)
    }

    /// Ends an agent at once, and returns when no process of it is left.
    ///
    /// # Errors
    /// As [`Self::stop`].
    pub async fn kill(&self, agent: AgentId) -> Result<Ended, ClientError> {
        self.end(agent, &Command::Kill).await
    }

    async fn end(&self, agent: AgentId, command: &Command) -> Result<Ended, ClientError> {
        let outcome = self.control(agent, command).await?;
        if outcome.was_done(AgentStatus::is_final) {
            return Ok(Ended::from(&self.agent(agent).await?));
        }
        Ok(ended(&outcome.data()?))
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
    /// [`ClientError`], where there are no results at all; [`ClientError::OutcomeUnknown`] where no reply came, as a
    /// batch is not sent twice: what its first run did would be refused to the second.
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
        match self.call(request, Call::of(command).once()).await?.reply {
            Reply::BatchControl(reply) => Ok(reply),
            _ => Err(Call::unexpected("batch")),
        }
    }
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
        forced: data.get("forced").and_then(|forced| forced.as_bool()),
    }
}
