//! What the server answers.

use bytes::Bytes;

use crate::codec::{Element, decode, message_enum, record, rules};
use crate::limits::{MAX_BATCH, MAX_REPLY_DEPTH};
use crate::{
    AgentId, AgentInfo, AgentStatus, DecodeError, ErrorCode, Raw, StatusUpdate, StringMap,
};

message_enum! {
    /// A message from the server to a client: the answer to one [`Request`](crate::Request).
    pub enum Reply {
        /// `spawn_response`
        Spawn(SpawnResponse),
        /// `command_response`
        Command(CommandResponse),
        /// `list_agents_response`
        ListAgents(ListAgentsResponse),
        /// `health_check_response`
        HealthCheck(HealthCheckResponse),
        /// `stats_response`
        Stats(StatsResponse),
        /// `batch_control_response`
        BatchControl(BatchControlResponse),
        /// `output_query_response`
        OutputQuery(OutputQueryResponse),
        /// `events_response`
        Events(EventsResponse),
        /// `error_response`
        Error(ErrorResponse),
    }
}

impl Reply {
    /// Reads a reply from a body, in map or positional form.
    ///
    /// # Errors
    ///
    /// With the code `message_too_large` if the body is above
    /// [`MAX_MESSAGE_SIZE`](crate::limits::MAX_MESSAGE_SIZE), `unsupported_message` if its `type` is
    /// that of no reply, and `malformed_message` for all else.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the reply keeps parts of the body; taking it says so"
    )]
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        decode(&body, MAX_REPLY_DEPTH, Self::read)
    }

    /// The request that this answers; `None` if the server could not read its id.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        Some(match self {
            Self::Spawn(reply) => &reply.request_id,
            Self::Command(reply) => &reply.request_id,
            Self::ListAgents(reply) => &reply.request_id,
            Self::HealthCheck(reply) => &reply.request_id,
            Self::Stats(reply) => &reply.request_id,
            Self::BatchControl(reply) => &reply.request_id,
            Self::OutputQuery(reply) => &reply.request_id,
            Self::Events(reply) => &reply.request_id,
            Self::Error(reply) => return reply.request_id.as_deref(),
        })
    }
}

record! {
    /// Answers a [`SpawnRequest`](crate::SpawnRequest), once the agent runs.
    #[derive(Debug)]
    pub struct SpawnResponse = "spawn_response" {
        /// The request that this answers.
        pub request_id: String,
        /// Whether there is an agent.
        pub success: bool,
        /// The agent.
        pub agent_info: Option<AgentInfo>,
        /// Why there is none, for people.
        pub error: Option<String>,
        /// The server.
        pub server_id: Option<String>,
        /// Why there is none, for programs.
        pub error_code: Option<ErrorCode>,
    }
}

record! {
    /// Answers a [`ControlCommand`](crate::ControlCommand) or
    /// [`CustomActionRequest`](crate::CustomActionRequest), after its effect.
    #[derive(Debug)]
    pub struct CommandResponse = "command_response" {
        /// The request that this answers.
        pub request_id: String,
        /// The agent.
        pub agent_id: AgentId,
        /// Whether the command had its effect.
        pub success: bool,
        /// The agent's status afterwards.
        pub status: Option<AgentStatus>,
        /// What the command brings: a map, made by [`MapWriter`](crate::MapWriter).
        pub data: Option<Raw> as rules::map,
        /// What went wrong, for people.
        pub error: Option<String>,
        /// What went wrong, for programs.
        pub error_code: Option<ErrorCode>,
    }
}

record! {
    /// Answers a [`ListAgentsRequest`](crate::ListAgentsRequest).
    #[derive(Debug)]
    pub struct ListAgentsResponse = "list_agents_response" {
        /// The request that this answers.
        pub request_id: String,
        /// Whether this is a list.
        pub success: bool,
        /// The agents by their ids, at most [`MAX_AGENTS_IN_REPLY`](crate::limits::MAX_AGENTS_IN_REPLY).
        pub agents: Vec<AgentInfo>,
        /// What went wrong, for people.
        pub error: Option<String>,
        /// What went wrong, for programs.
        pub error_code: Option<ErrorCode>,
        /// Whether there are agents after the last one here.
        pub has_more: bool,
        /// The run of the server that `sequence` counts in.
        pub epoch: String,
        /// The latest event that this list includes.
        pub sequence: u64,
    }
}

record! {
    /// Answers a [`HealthCheckRequest`](crate::HealthCheckRequest). With an empty `request_id` it is the
    /// server's heartbeat on the event socket.
    #[derive(Debug, Eq)]
    pub struct HealthCheckResponse = "health_check_response" {
        /// The request that this answers.
        pub request_id: String,
        /// Whether the server takes work.
        pub healthy: bool,
        /// The server's [`PROTOCOL_VERSION`](crate::PROTOCOL_VERSION).
        pub protocol_version: String,
        /// Seconds since the server started.
        pub uptime_secs: Option<u64>,
        /// Agents that have not ended.
        pub active_agents: Option<u64>,
        /// What else the server says of itself.
        pub metadata: Option<StringMap>,
    }
}

record! {
    /// Answers a [`StatsRequest`](crate::StatsRequest).
    #[derive(Debug, Eq)]
    pub struct StatsResponse = "stats_response" {
        /// The request that this answers.
        pub request_id: String,
        /// The counters, a map by name.
        pub stats: Raw as rules::map,
    }
}

record! {
    /// Answers a [`BatchControlCommand`](crate::BatchControlCommand).
    #[derive(Debug, Eq)]
    pub struct BatchControlResponse = "batch_control_response" {
        /// The request that this answers.
        pub request_id: String,
        /// Whether the command had its effect on every agent.
        pub success: bool,
        /// What came of it, agent by agent.
        pub results: Vec<BatchResult>,
        /// How many succeeded.
        pub successful: u64,
        /// How many failed.
        pub failed: u64,
    }
}

record! {
    /// What a batch's command did to one agent.
    #[derive(Debug, Eq)]
    pub struct BatchResult {
        /// The agent.
        pub agent_id: AgentId,
        /// Whether the command had its effect.
        pub success: bool,
        /// The agent's status afterwards.
        pub status: Option<AgentStatus>,
        /// What went wrong, for people.
        pub error: Option<String>,
        /// What went wrong, for programs.
        pub error_code: Option<ErrorCode>,
    }
}

impl Element for BatchResult {
    const MAX: usize = MAX_BATCH;
}

record! {
    /// Answers an [`OutputQueryRequest`](crate::OutputQueryRequest).
    #[derive(Debug, Eq)]
    pub struct OutputQueryResponse = "output_query_response" {
        /// The request that this answers.
        pub request_id: String,
        /// The agent.
        pub agent_id: AgentId,
        /// Whether the output was searched.
        pub success: bool,
        /// The lines that match, at most [`MAX_LINES_IN_REPLY`](crate::limits::MAX_LINES_IN_REPLY).
        pub lines: Vec<String>,
        /// How many lines match, those included that are not here; absent: they were not all counted.
        pub total_lines: Option<u64>,
        /// Whether matching lines follow the last one here, or with `tail` precede the first; also where that was
        /// not looked at.
        pub has_more: bool,
        /// What went wrong, for people.
        pub error: Option<String>,
        /// What went wrong, for programs.
        pub error_code: Option<ErrorCode>,
        /// Where to go on, as `from_offset`, so that all lines are found once; absent where none was given.
        pub next_offset: Option<u64>,
        /// How many bytes are gone between `from_offset` and the lines here; absent as that is.
        pub lost_bytes: Option<u64>,
    }
}

record! {
    /// Answers an [`EventsRequest`](crate::EventsRequest).
    #[derive(Debug)]
    pub struct EventsResponse = "events_response" {
        /// The request that this answers.
        pub request_id: String,
        /// The present run of the server.
        pub epoch: String,
        /// The events in order, each as it was published, at most [`MAX_EVENTS_IN_REPLY`](crate::limits::MAX_EVENTS_IN_REPLY).
        pub events: Vec<StatusUpdate>,
        /// What to ask for next, as `after_sequence`.
        pub next_sequence: u64,
        /// Whether older events are gone, so that only a new list tells the present state.
        pub gap: bool,
    }
}

record! {
    /// Answers a request that has no answer of its own, because it was not understood or not let in.
    #[derive(Debug, Eq)]
    pub struct ErrorResponse = "error_response" {
        /// The request that this answers; `None`, written as nil, if its id could not be read.
        pub request_id: Option<String> => rules::WRITTEN,
        /// What went wrong, for people.
        pub error: String,
        /// What went wrong, for programs.
        pub error_code: ErrorCode,
    }
}
