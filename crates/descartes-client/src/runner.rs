//! Agents on another machine, as a trait: what programs depend on that want to try themselves without a server.

use std::future::Future;

use descartes_protocol::{
    AgentConfig, AgentId, AgentInfo, AgentStatus, PauseMode, PauseRequest, SpawnRequest, Stream,
};

use crate::agents::ListFilter;
use crate::client::{ServerHealth, ZmqClient};
use crate::control::Ended;
use crate::error::ClientError;
use crate::events::StatusUpdates;
use crate::link::Connectivity;
use crate::output::{OutputChunk, ReadFrom};

/// Agents that run on another machine.
///
/// Every method fails with a [`ClientError`]. Dropping a future forgets the reply; what was asked for may be done.
pub trait ZmqAgentRunner: Send + Sync {
    /// Connects now rather than at the first request, and says whether that works.
    fn connect(&self) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Breaks the connection off. Requests under way fail; the next one connects again.
    fn disconnect(&self) -> impl Future<Output = ()> + Send;

    /// Whether there is a connection at this moment.
    fn is_connected(&self) -> bool;

    /// Starts an agent and returns it once it runs. `timeout_secs` is the time that it may take to come so far;
    /// `None`: the server's `request_timeout_secs`. However often the request has to be sent, one agent starts.
    fn spawn_remote(
        &self,
        config: AgentConfig,
        timeout_secs: Option<u64>,
    ) -> impl Future<Output = Result<AgentInfo, ClientError>> + Send;

    /// Lists agents, the oldest first: those with this status, and at most so many.
    fn list_remote_agents(
        &self,
        filter_status: Option<AgentStatus>,
        limit: Option<usize>,
    ) -> impl Future<Output = Result<Vec<AgentInfo>, ClientError>> + Send;

    /// What is known of an agent.
    fn get_remote_agent(
        &self,
        agent: AgentId,
    ) -> impl Future<Output = Result<AgentInfo, ClientError>> + Send;

    /// What an agent is doing.
    fn get_agent_status(
        &self,
        agent: AgentId,
    ) -> impl Future<Output = Result<AgentStatus, ClientError>> + Send;

    /// Pauses an agent, and returns how once it stands still.
    fn pause_agent(
        &self,
        agent: AgentId,
        mode: PauseRequest,
    ) -> impl Future<Output = Result<PauseMode, ClientError>> + Send;

    /// Lets a paused agent go on.
    fn resume_agent(&self, agent: AgentId) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// Ends an agent, gently first, and returns when no process of it is left.
    fn stop_agent(&self, agent: AgentId)
    -> impl Future<Output = Result<Ended, ClientError>> + Send;

    /// Ends an agent at once, and returns when no process of it is left.
    fn kill_agent(&self, agent: AgentId)
    -> impl Future<Output = Result<Ended, ClientError>> + Send;

    /// Writes all of `data` to an agent's standard input, each byte once, and waits while the agent does not read.
    fn write_agent_stdin(
        &self,
        agent: AgentId,
        data: &[u8],
    ) -> impl Future<Output = Result<(), ClientError>> + Send;

    /// What an agent has written to standard output from `offset` on, as much as one reply holds, without waiting.
    fn read_agent_stdout(
        &self,
        agent: AgentId,
        offset: u64,
    ) -> impl Future<Output = Result<OutputChunk, ClientError>> + Send;

    /// What an agent has written to standard error, as [`Self::read_agent_stdout`].
    fn read_agent_stderr(
        &self,
        agent: AgentId,
        offset: u64,
    ) -> impl Future<Output = Result<OutputChunk, ClientError>> + Send;

    /// How the server is.
    fn health_check(&self) -> impl Future<Output = Result<ServerHealth, ClientError>> + Send;

    /// Follows what happens, to one agent or to all.
    fn subscribe_status_updates(
        &self,
        agent: Option<AgentId>,
    ) -> impl Future<Output = Result<StatusUpdates, ClientError>> + Send;
}

impl ZmqAgentRunner for ZmqClient {
    async fn connect(&self) -> Result<(), ClientError> {
        self.ask_health().await.map(drop)
    }

    async fn disconnect(&self) {
        self.disconnect_link();
    }

    fn is_connected(&self) -> bool {
        *self.connectivity().borrow() == Connectivity::Connected
    }

    async fn spawn_remote(
        &self,
        config: AgentConfig,
        timeout_secs: Option<u64>,
    ) -> Result<AgentInfo, ClientError> {
        self.spawn(SpawnRequest {
            config,
            timeout_secs,
            ..SpawnRequest::default()
        })
        .await
    }

    async fn list_remote_agents(
        &self,
        filter_status: Option<AgentStatus>,
        limit: Option<usize>,
    ) -> Result<Vec<AgentInfo>, ClientError> {
        let filter = ListFilter {
            status: filter_status,
            limit,
            ..ListFilter::default()
        };
        self.list(&filter).await
    }

    async fn get_remote_agent(&self, agent: AgentId) -> Result<AgentInfo, ClientError> {
        self.agent(agent).await
    }

    async fn get_agent_status(&self, agent: AgentId) -> Result<AgentStatus, ClientError> {
        Ok(self.agent(agent).await?.status)
    }

    async fn pause_agent(
        &self,
        agent: AgentId,
        mode: PauseRequest,
    ) -> Result<PauseMode, ClientError> {
        self.pause(agent, mode).await
    }

    async fn resume_agent(&self, agent: AgentId) -> Result<(), ClientError> {
        self.resume(agent).await
    }

    async fn stop_agent(&self, agent: AgentId) -> Result<Ended, ClientError> {
        self.stop(agent, None).await
    }

    async fn kill_agent(&self, agent: AgentId) -> Result<Ended, ClientError> {
        self.kill(agent).await
    }

    async fn write_agent_stdin(&self, agent: AgentId, data: &[u8]) -> Result<(), ClientError> {
        self.stdin(agent).write_all(data).await
    }

    async fn read_agent_stdout(
        &self,
        agent: AgentId,
        offset: u64,
    ) -> Result<OutputChunk, ClientError> {
        self.read(agent, Stream::Stdout, ReadFrom::Offset(offset))
            .await
    }

    async fn read_agent_stderr(
        &self,
        agent: AgentId,
        offset: u64,
    ) -> Result<OutputChunk, ClientError> {
        self.read(agent, Stream::Stderr, ReadFrom::Offset(offset))
            .await
    }

    async fn health_check(&self) -> Result<ServerHealth, ClientError> {
        self.ask_health().await
    }

    async fn subscribe_status_updates(
        &self,
        agent: Option<AgentId>,
    ) -> Result<StatusUpdates, ClientError> {
        self.status_updates(agent).await
    }
}
