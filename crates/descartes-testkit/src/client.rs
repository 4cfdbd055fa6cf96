//! A client that does what a test says and expects what it should.

use std::time::Duration;

use bytes::Bytes;
use descartes_core::protocol::{
    AgentConfig, AgentId, AgentInfo, Command, CommandResponse, ControlCommand, HealthCheckRequest,
    ListAgentsRequest, ListAgentsResponse, Raw, Reply, Request, SpawnRequest, SpawnResponse,
    Stream,
};
use descartes_core::transport::{ClientSecurity, Endpoint, Limits, Requester};

use crate::soon;

/// A connection, used for one request at a time.
#[derive(Debug)]
pub struct Client {
    requester: Requester,
}

impl Client {
    /// Connects to a server without encryption.
    pub async fn connect(endpoint: &str) -> Self {
        Self::connect_as(endpoint, ClientSecurity::Null).await
    }

    /// Connects to a server.
    ///
    /// # Panics
    /// If the endpoint is none.
    pub async fn connect_as(endpoint: &str, security: ClientSecurity) -> Self {
        let endpoint: Endpoint = endpoint.parse().unwrap_or_else(|error| panic!("{error}"));
        match Requester::connect(&endpoint, security, &Limits::default()).await {
            Ok(requester) => Self { requester },
            Err(error) => panic!("{error}"),
        }
    }

    /// Sends a body as it is.
    ///
    /// # Panics
    /// If the socket is closed.
    pub async fn send(&self, body: Bytes) {
        self.requester
            .send(body)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// The next reply, whatever it answers.
    ///
    /// # Panics
    /// If none comes.
    pub async fn reply(&self) -> Reply {
        let body = soon("a reply", self.requester.recv()).await;
        let body = body.unwrap_or_else(|error| panic!("{error}"));
        Reply::decode(body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Sends a body and waits for the reply.
    pub async fn ask_raw(&self, body: Bytes) -> Reply {
        self.send(body).await;
        self.reply().await
    }

    /// Sends a request and waits for its reply.
    pub async fn ask(&self, request: impl Into<Request>) -> Reply {
        self.ask_raw(request.into().encode()).await
    }

    /// Sends a health check.
    pub async fn health(&self) -> Reply {
        let request_id = new_id();
        self.ask(HealthCheckRequest { request_id }).await
    }

    /// Asks for an agent.
    ///
    /// # Panics
    /// If the reply is none to a spawn.
    pub async fn try_spawn(&self, config: AgentConfig) -> SpawnResponse {
        let request = SpawnRequest {
            request_id: new_id(),
            config,
            timeout_secs: None,
            metadata: None,
        };
        match self.ask(request).await {
            Reply::Spawn(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Starts a shell script.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn spawn(&self, script: &str) -> AgentInfo {
        let response = self.try_spawn(shell(script)).await;
        match response.agent_info {
            Some(info) => info,
            None => panic!("{response:?}"),
        }
    }

    /// Gives a command.
    ///
    /// # Panics
    /// If the reply is none to a command.
    pub async fn command(&self, agent_id: AgentId, command: &Command) -> CommandResponse {
        let request = ControlCommand {
            request_id: new_id(),
            agent_id,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
        };
        match self.ask(request).await {
            Reply::Command(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Gives a command that has to succeed, and returns its data.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn done(&self, agent_id: AgentId, command: &Command) -> Raw {
        let response = self.command(agent_id, command).await;
        assert!(response.success, "{response:?}");
        response.data.unwrap_or_else(Raw::nil)
    }

    /// What is known of an agent.
    ///
    /// # Panics
    /// If it is unknown.
    pub async fn info(&self, agent_id: AgentId) -> AgentInfo {
        let data = self.done(agent_id, &Command::GetStatus).await;
        data.get("agent_info")
            .and_then(|info| info.as_agent_info())
            .unwrap_or_else(|| panic!("no agent_info in {data:?}"))
    }

    /// All agents that fit into one reply.
    ///
    /// # Panics
    /// If the reply is none to a list.
    pub async fn list(&self) -> ListAgentsResponse {
        let request = ListAgentsRequest {
            request_id: new_id(),
            ..ListAgentsRequest::default()
        };
        match self.ask(request).await {
            Reply::ListAgents(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Reads stdout from `offset` until `enough` says so of it, or it has ended.
    pub async fn stdout_until(&self, agent_id: AgentId, enough: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        let mut all = Vec::new();
        let reading = async {
            loop {
                let (data, eof) = self.read(agent_id, all.len() as u64).await;
                all.extend_from_slice(&data);
                if eof || enough(&all) {
                    return;
                }
            }
        };
        soon("the agent's output", reading).await;
        all
    }

    /// Reads all of stdout, until the agent has ended.
    pub async fn stdout(&self, agent_id: AgentId) -> String {
        let all = self.stdout_until(agent_id, |_| false).await;
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Waits until the agent has printed a line that says `ready`.
    ///
    /// # Panics
    /// If it ends without.
    pub async fn wait_ready(&self, agent_id: AgentId) {
        let is_ready = |output: &[u8]| {
            output
                .split(|&byte| byte == b'\n')
                .any(|line| line == b"ready")
        };
        let output = self.stdout_until(agent_id, is_ready).await;
        assert!(is_ready(&output), "the agent ended without being ready");
    }

    /// Waits until the agent has ended and returns what is known of it then.
    pub async fn wait_end(&self, agent_id: AgentId) -> AgentInfo {
        self.stdout(agent_id).await;
        self.info(agent_id).await
    }

    async fn read(&self, agent_id: AgentId, offset: u64) -> (Bytes, bool) {
        let read = Command::Read {
            stream: Stream::Stdout,
            offset: Some(offset),
            max_bytes: None,
            wait: Duration::from_secs(10),
            since: None,
            times: false,
        };
        let data = self.done(agent_id, &read).await;
        let bytes = data
            .get("data")
            .and_then(|data| data.as_bin())
            .unwrap_or_default();
        let eof = data
            .get("eof")
            .and_then(|eof| eof.as_bool())
            .unwrap_or_default();
        (bytes, eof)
    }
}

/// The configuration of an agent that runs a shell script.
#[must_use]
pub fn shell(script: &str) -> AgentConfig {
    AgentConfig {
        name: "test-agent".to_owned(),
        model_backend: "sh".to_owned(),
        task: script.to_owned(),
        ..AgentConfig::default()
    }
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
