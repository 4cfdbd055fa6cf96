//! Values that are one of a fixed set of names.

use crate::codec::excerpt;

/// A name that is none of the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{found}\" is no {expected}")]
pub struct UnknownName {
    pub(crate) expected: &'static str,
    pub(crate) found: String,
}

impl UnknownName {
    pub(crate) fn new(expected: &'static str, found: &str) -> Self {
        let found = excerpt(found);
        Self { expected, found }
    }
}

/// Defines an enum whose values go on the wire as names.
///
/// With `unknown = Variant`, a name that is not known is read as that variant instead of refused.
macro_rules! names {
    (
        $(#[$meta:meta])*
        $vis:vis enum $enum:ident, $what:literal $(, unknown = $unknown:ident)? {
            $($(#[$variant_meta:meta])* $variant:ident = $name:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        $vis enum $enum {
            $($(#[$variant_meta])* #[serde(rename = $name)] $variant,)*
        }

        impl $enum {
            /// Every value, in the order of definition.
            $vis const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name that goes on the wire.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }

        impl std::fmt::Display for $enum {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $enum {
            type Err = UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let mut known = Self::ALL.iter().copied();
                let named = known.find(|value| value.as_str() == name);
                named.ok_or_else(|| UnknownName::new($what, name))
            }
        }

        impl $crate::codec::Encode for $enum {
            fn write_to(&self, writer: &mut $crate::codec::Writer) {
                writer.str(self.as_str());
            }
        }

        impl $crate::codec::Decode for $enum {
            fn read_from(
                reader: &mut $crate::codec::Reader<'_>,
            ) -> Result<Self, $crate::codec::Fault> {
                let known = reader.str()?.parse::<Self>();
                $(let known = known.or(Ok::<_, UnknownName>(Self::$unknown));)?
                known.map_err(|unknown| $crate::codec::Problem::from(unknown).into())
            }
        }
    };
}
pub(crate) use names;

names! {
    /// What an agent is doing.
    pub enum AgentStatus, "status" {
        /// Known, and not yet started.
        Idle = "idle",
        /// Being started.
        Initializing = "initializing",
        /// Its process runs.
        Running = "running",
        /// Its process runs, and its own events say that it waits for its model.
        Thinking = "thinking",
        /// Held by a `pause`.
        Paused = "paused",
        /// Ended by itself and without an error. Final.
        Completed = "completed",
        /// Ended in an error, or was lost. Final.
        Failed = "failed",
        /// Ended by a command, a limit or the server. Final.
        Terminated = "terminated",
    }
}

impl AgentStatus {
    /// Whether the agent has ended: no other status follows.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Terminated)
    }
}

names! {
    /// Why an agent ended.
    pub enum EndReason, "end reason" {
        /// By itself.
        Exited = "exited",
        /// Its shim or its host died, so that nothing is known of its end.
        Lost = "lost",
        /// It went above its memory limit.
        MemoryLimit = "memory_limit",
        /// By a `stop`.
        Stopped = "stopped",
        /// By a `kill`.
        Killed = "killed",
        /// It ran longer than its limit.
        Timeout = "timeout",
        /// It wrote nothing for longer than its limit.
        IdleTimeout = "idle_timeout",
        /// The server shut down.
        ServerShutdown = "server_shutdown",
        /// No server looked after it for too long.
        Orphaned = "orphaned",
    }
}

names! {
    /// How an agent is held.
    pub enum PauseMode, "pause mode" {
        /// It was asked to wait, and does.
        Cooperative = "cooperative",
        /// Its processes are frozen.
        Forced = "forced",
    }
}

names! {
    /// How a `pause` is to hold an agent.
    #[derive(Default)]
    pub enum PauseRequest, "pause mode" {
        /// As its backend does best.
        #[default]
        Auto = "auto",
        /// By freezing its processes.
        Forced = "forced",
        /// By asking it to wait.
        Cooperative = "cooperative",
    }
}

names! {
    /// One of an agent's two output streams.
    pub enum Stream, "stream" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
    }
}

names! {
    /// Which of an agent's output streams a query searches.
    pub enum StreamSelection, "stream" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// Standard output, then standard error.
        Both = "both",
    }
}

names! {
    /// What an agent's standard input is.
    pub enum StdinMode, "kind of stdin" {
        /// `/dev/null`.
        Null = "null",
        /// A pipe that `write_stdin` feeds.
        Pipe = "pipe",
    }
}

names! {
    /// What kind of event a `status_update` is.
    pub enum UpdateType, "update type" {
        /// The status is another one.
        StatusChanged = "status_changed",
        /// There is new output; `data` has the streams' sizes. Rate-limited, and not kept.
        OutputAvailable = "output_available",
        /// Something went wrong.
        Error = "error",
        /// The agent ended by itself; its status can be `failed`.
        Completed = "completed",
        /// The server or a limit ended the agent.
        Terminated = "terminated",
        /// The agent is alive. Not kept.
        Heartbeat = "heartbeat",
    }
}

names! {
    /// Which of an agent's processes a signal goes to.
    #[derive(Default)]
    pub enum SignalScope, "signal scope" {
        /// All of them.
        #[default]
        Tree = "tree",
        /// The one that the server started.
        Leader = "leader",
    }
}

names! {
    /// What is wrong, for programs: the wire's `error_code`.
    ///
    /// A code that is not in this list, from a newer server, is read as [`Internal`](Self::Internal).
    pub enum ErrorCode, "error code", unknown = Internal {
        /// No `MessagePack`, no map or array, no `type`; a field that is missing, of a wrong type or out of
        /// range; a regular expression that does not compile or is too large.
        MalformedMessage = "malformed_message",
        /// An unknown `type`.
        UnsupportedMessage = "unsupported_message",
        /// An unknown `command_type`, action or signal.
        UnsupportedCommand = "unsupported_command",
        /// A body above [`MAX_MESSAGE_SIZE`](crate::limits::MAX_MESSAGE_SIZE).
        MessageTooLarge = "message_too_large",
        /// A spawn's content cannot be accepted.
        InvalidConfig = "invalid_config",
        /// No backend has this name.
        UnknownBackend = "unknown_backend",
        /// The backend's program is not there, or not executable.
        BackendUnavailable = "backend_unavailable",
        /// As many agents run as may.
        MaxAgentsReached = "max_agents_reached",
        /// Too much is waiting. Try later.
        Busy = "busy",
        /// Too many spawns at once. Try later.
        RateLimited = "rate_limited",
        /// The server takes no new work.
        ShuttingDown = "shutting_down",
        /// The operating system refused: fork, exec, memory, descriptors, disk.
        SpawnFailed = "spawn_failed",
        /// The `request_id` belongs to another spawn.
        RequestConflict = "request_conflict",
        /// No such agent.
        AgentNotFound = "agent_not_found",
        /// Not possible in the agent's present status.
        InvalidState = "invalid_state",
        /// Not done in time.
        Timeout = "timeout",
        /// The client may not do this.
        PermissionDenied = "permission_denied",
        /// A fault of the server.
        Internal = "internal",
    }
}
