//! What is asked for when an agent is started, and what is known of one.

use std::fmt;

use crate::codec::{Element, record, rules, to_bytes};
use crate::limits::MAX_AGENTS_IN_REPLY;
use crate::{AgentId, AgentStatus, EndReason, PauseMode, Raw, StdinMode, StringMap, Timestamp};

record! {
    /// The agent that a `spawn_request` asks for.
    ///
    /// Decoding checks the types of the fields. Whether their content can be accepted is for the server
    /// to say, with `invalid_config`. Its `Debug` form leaves out what may be secret.
    #[derive(Default)]
    pub struct AgentConfig {
        /// A name for people. Need not be unique.
        pub name: String,
        /// The backend, by its name in the server's configuration.
        pub model_backend: String,
        /// What the agent is to do.
        pub task: String,
        /// What the agent should know besides.
        pub context: Option<String>,
        /// The system prompt, where the backend has one.
        pub system_prompt: Option<String>,
        /// Environment variables, of which the backend may not allow all.
        pub environment: StringMap,
        /// The model, where the backend has a choice.
        pub model: Option<String>,
        /// How much the agent may do, in the backend's words.
        pub tool_level: Option<String>,
        /// Subagents for the backend: a map in the backend's own form.
        pub agents: Option<Raw> as rules::map,
        /// The folder to start in; absent: the server's.
        pub working_dir: Option<String>,
        /// Arguments for the backend's program, where the backend allows them.
        pub args: Option<Vec<String>> as rules::args,
        /// What standard input is; absent: as the backend has it.
        pub stdin: Option<StdinMode>,
        /// The backend's session to go on with.
        pub resume_session: Option<String>,
        /// Labels for finding and confining.
        pub labels: Option<StringMap>,
        /// Limits that end or restrain the agent.
        pub limits: Option<Limits>,
    }
}

impl fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentConfig")
            .field("name", &self.name)
            .field("model_backend", &self.model_backend)
            .field("environment", &self.environment.keys())
            .finish_non_exhaustive()
    }
}

record! {
    /// Limits of one agent. What is absent is not limited, or as the server has it.
    #[derive(Debug, Copy, Eq, Default)]
    pub struct Limits {
        /// Seconds after which the agent is ended.
        pub max_runtime_secs: Option<u64>,
        /// Seconds without output after which the agent is ended.
        pub idle_timeout_secs: Option<u64>,
        /// Bytes of memory of all its processes together.
        pub memory_bytes: Option<u64>,
        /// Percent of one CPU: 200 is two CPUs.
        pub cpu_percent: Option<u64>,
        /// Processes and threads.
        pub pids: Option<u64>,
        /// Bytes of each output stream that are kept.
        pub output_bytes: Option<u64>,
    }
}

record! {
    /// What the server knows of an agent.
    #[derive(Debug)]
    pub struct AgentInfo {
        /// The agent.
        pub id: AgentId,
        /// Its name.
        pub name: String,
        /// What it is doing.
        pub status: AgentStatus,
        /// Its backend.
        pub model_backend: String,
        /// When it was started.
        pub started_at: Timestamp,
        /// Its task, cut at [`MAX_TASK_IN_REPLY_BYTES`](crate::limits::MAX_TASK_IN_REPLY_BYTES).
        pub task: String,
        /// Since when it is held.
        pub paused_at: Option<Timestamp>,
        /// How it is held.
        pub pause_mode: Option<PauseMode>,
        /// How to attach to it.
        pub attach_info: Option<Raw>,
        /// The server that it runs on.
        pub server_id: String,
        /// The first process of the agent; of a finished one, the pid that it had.
        pub pid: Option<u32>,
        /// The code it exited with. Once it has ended, this or `exit_signal` is set, unless it was lost.
        pub exit_code: Option<i32>,
        /// The number of the signal that ended it.
        pub exit_signal: Option<i32>,
        /// Why it ended.
        pub end_reason: Option<EndReason>,
        /// When it ended.
        pub finished_at: Option<Timestamp>,
        /// The metadata of its `spawn_request`.
        pub metadata: Option<StringMap>,
        /// Its labels.
        pub labels: Option<StringMap>,
        /// The backend's session.
        pub session_id: Option<String>,
        /// The model that it says it uses.
        pub model: Option<String>,
        /// What it says it has used up.
        pub usage: Option<Usage>,
        /// What it says its result is.
        pub result: Option<AgentResult>,
        /// How much it has written.
        pub output: OutputSizes,
        /// The number of its latest kept event; 0 before the first.
        pub agent_sequence: u64,
    }
}

impl AgentInfo {
    /// How many bytes it takes in a reply. A list is cut where the next one does not fit.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        to_bytes(self).len()
    }
}

impl Element for AgentInfo {
    const MAX: usize = MAX_AGENTS_IN_REPLY;
}

record! {
    /// What an agent has used up, by its own account.
    #[derive(Debug, Copy, Default)]
    pub struct Usage {
        /// Tokens read by the model.
        pub input_tokens: u64,
        /// Tokens written by the model.
        pub output_tokens: u64,
        /// Tokens read from the model's cache.
        pub cache_read_tokens: u64,
        /// US dollars.
        pub cost_usd: f64,
    }
}

record! {
    /// How an agent's work came out, by its own account.
    #[derive(Debug, Eq)]
    pub struct AgentResult {
        /// Whether it failed.
        pub is_error: bool,
        /// Its last words.
        pub text: String,
    }
}

record! {
    /// How many bytes an agent has written to each stream, those included that are no longer kept.
    #[derive(Debug, Copy, Eq, Default)]
    pub struct OutputSizes {
        /// Bytes of standard output.
        pub stdout_bytes: u64,
        /// Bytes of standard error.
        pub stderr_bytes: u64,
        /// Of standard output, bytes that are lost: the server's disk did not take them, or somebody
        /// deleted them there. Absent where none are, as far as is known.
        pub stdout_lost_bytes: Option<u64>,
        /// The same of standard error.
        pub stderr_lost_bytes: Option<u64>,
    }
}
