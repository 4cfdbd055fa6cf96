//! What clients ask.

use bytes::Bytes;

use crate::codec::{decode, message_enum, record, rules};
use crate::limits::MAX_DEPTH;
use crate::{AgentConfig, AgentId, AgentStatus, DecodeError, Raw, StreamSelection, StringMap};

message_enum! {
    /// A message from a client to the server. Each is answered by exactly one [`Reply`](crate::Reply).
    pub enum Request {
        /// `spawn_request`
        Spawn(SpawnRequest),
        /// `control_command`
        Control(ControlCommand),
        /// `list_agents_request`
        ListAgents(ListAgentsRequest),
        /// `health_check_request`
        HealthCheck(HealthCheckRequest),
        /// `stats_request`
        Stats(StatsRequest),
        /// `custom_action_request`
        CustomAction(CustomActionRequest),
        /// `batch_control_command`
        BatchControl(BatchControlCommand),
        /// `output_query_request`
        OutputQuery(OutputQueryRequest),
        /// `events_request`
        Events(EventsRequest),
    }
}

impl Request {
    /// Reads a request from a body, in map or positional form.
    ///
    /// # Errors
    ///
    /// With the code `message_too_large` if the body is above
    /// [`MAX_MESSAGE_SIZE`](crate::limits::MAX_MESSAGE_SIZE), `unsupported_message` if its `type` is
    /// that of no request, and `malformed_message` for all else.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the request keeps parts of the body; taking it says so"
    )]
    pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
        decode(&body, MAX_DEPTH, Self::read)
    }

    /// The client's name for this request, which its reply repeats.
    #[must_use]
    pub fn request_id(&self) -> &str {
        match self {
            Self::Spawn(request) => &request.request_id,
            Self::Control(request) => &request.request_id,
            Self::ListAgents(request) => &request.request_id,
            Self::HealthCheck(request) => &request.request_id,
            Self::Stats(request) => &request.request_id,
            Self::CustomAction(request) => &request.request_id,
            Self::BatchControl(request) => &request.request_id,
            Self::OutputQuery(request) => &request.request_id,
            Self::Events(request) => &request.request_id,
        }
    }
}

record! {
    /// Asks for an agent to be started. Answered by [`SpawnResponse`](crate::SpawnResponse).
    ///
    /// Sending it again with the same `request_id` starts nothing more and brings the same agent.
    #[derive(Debug, Default)]
    pub struct SpawnRequest = "spawn_request" {
        /// The client's name for this request, unique among its spawns.
        pub request_id: String,
        /// The agent.
        pub config: AgentConfig,
        /// Seconds after which a spawn that has not come to run is undone; absent: the server's.
        pub timeout_secs: Option<u64>,
        /// What the client wants to find again in the agent's [`AgentInfo`](crate::AgentInfo).
        pub metadata: Option<StringMap>,
    }
}

record! {
    /// Gives an agent a command. Answered by [`CommandResponse`](crate::CommandResponse).
    #[derive(Debug)]
    pub struct ControlCommand = "control_command" {
        /// The client's name for this request.
        pub request_id: String,
        /// The agent.
        pub agent_id: AgentId,
        /// Which command; [`Command::parse`](crate::Command::parse) reads it together with the payload.
        pub command_type: String,
        /// The command's parameters, a map.
        pub payload: Option<Raw> as rules::map,
    }
}

record! {
    /// Asks which agents there are. Answered by [`ListAgentsResponse`](crate::ListAgentsResponse), in the order of
    /// their ids.
    #[derive(Debug, Eq, Default)]
    pub struct ListAgentsRequest = "list_agents_request" {
        /// The client's name for this request.
        pub request_id: String,
        /// Only agents with this status.
        pub filter_status: Option<AgentStatus>,
        /// At most so many; absent: all that fit into one reply.
        pub limit: Option<u64>,
        /// Only agents with ids above this one.
        pub after: Option<AgentId>,
        /// Whether agents that have ended are listed; absent: yes.
        pub include_finished: Option<bool>,
    }
}

record! {
    /// Asks whether the server is well. Answered by [`HealthCheckResponse`](crate::HealthCheckResponse).
    #[derive(Debug, Eq, Default)]
    pub struct HealthCheckRequest = "health_check_request" {
        /// The client's name for this request.
        pub request_id: String,
    }
}

record! {
    /// Asks for the server's counters. Answered by [`StatsResponse`](crate::StatsResponse).
    #[derive(Debug, Eq, Default)]
    pub struct StatsRequest = "stats_request" {
        /// The client's name for this request.
        pub request_id: String,
    }
}

record! {
    /// Has an agent do something that no command is for. Answered by [`CommandResponse`](crate::CommandResponse).
    #[derive(Debug)]
    pub struct CustomActionRequest = "custom_action_request" {
        /// The client's name for this request.
        pub request_id: String,
        /// The agent.
        pub agent_id: AgentId,
        /// The action's name.
        pub action: String,
        /// The action's parameters.
        pub params: Option<Raw>,
        /// Seconds after which the answer is `timeout`; absent: the server's.
        pub timeout_secs: Option<u64>,
    }
}

record! {
    /// Gives many agents the same command. Answered by [`BatchControlResponse`](crate::BatchControlResponse).
    #[derive(Debug)]
    pub struct BatchControlCommand = "batch_control_command" {
        /// The client's name for this request.
        pub request_id: String,
        /// The agents, at most [`MAX_BATCH`](crate::limits::MAX_BATCH).
        pub agent_ids: Vec<AgentId>,
        /// Which command.
        pub command_type: String,
        /// The command's parameters, a map.
        pub payload: Option<Raw> as rules::map,
        /// Whether the first failure ends the batch; absent on the wire: no.
        pub fail_fast: bool = false,
    }
}

record! {
    /// Searches an agent's output. Answered by [`OutputQueryResponse`](crate::OutputQueryResponse).
    #[derive(Debug, Eq)]
    pub struct OutputQueryRequest = "output_query_request" {
        /// The client's name for this request.
        pub request_id: String,
        /// The agent.
        pub agent_id: AgentId,
        /// Where to search.
        pub stream: StreamSelection,
        /// A regular expression that a line has to match; absent: every line does.
        pub filter: Option<String>,
        /// At most so many matching lines.
        pub limit: Option<u64>,
        /// How many matching lines to pass over first; absent: none.
        pub offset: Option<u64>,
        /// Whether the last matching lines are wanted, and `offset` counts from the end; absent: no.
        pub tail: Option<bool>,
        /// Whether to count all lines that match; absent: yes. Without it the search is over as soon as the lines are
        /// found.
        pub count: Option<bool>,
        /// The byte of the stream to begin at, where a line begins, or with `tail` to go back from; absent: the first
        /// one that is kept, or the end.
        pub from_offset: Option<u64>,
    }
}

record! {
    /// Asks for events that were missed. Answered by [`EventsResponse`](crate::EventsResponse).
    #[derive(Debug, Eq, Default)]
    pub struct EventsRequest = "events_request" {
        /// The client's name for this request.
        pub request_id: String,
        /// The run of the server that `after_sequence` counts in.
        pub epoch: String,
        /// The last event that the client has.
        pub after_sequence: u64,
        /// At most so many.
        pub limit: Option<u64>,
        /// Only this agent's.
        pub agent_id: Option<AgentId>,
        /// Milliseconds that the server may hold the request while there is nothing to answer; absent: none.
        pub wait_ms: Option<u64>,
    }
}
