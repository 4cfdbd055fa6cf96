//! What the server tells without being asked, on its event socket.

use bytes::Bytes;

use crate::codec::{Element, decode_one, record, to_bytes};
use crate::limits::MAX_EVENTS_IN_REPLY;
use crate::{AgentId, AgentStatus, DecodeError, Raw, Stream, Timestamp, UpdateType};

record! {
    /// Something happened to an agent.
    #[derive(Debug)]
    pub struct StatusUpdate = "status_update" {
        /// The agent.
        pub agent_id: AgentId,
        /// What kind of event it is.
        pub update_type: UpdateType,
        /// The agent's status.
        pub status: Option<AgentStatus>,
        /// What happened, for people.
        pub message: Option<String>,
        /// What happened, for programs: a map, made by [`MapWriter`](crate::MapWriter).
        pub data: Option<Raw>,
        /// When it happened.
        pub timestamp: Timestamp,
        /// The server.
        pub server_id: String,
        /// The run of the server that `sequence` counts in.
        pub epoch: String,
        /// Which of the server's kept events this is, from 1 without holes; `None` for one that is not kept.
        pub sequence: Option<u64>,
        /// Which of the agent's kept events this is, from 1 without holes.
        pub agent_sequence: Option<u64>,
    }
}

impl Element for StatusUpdate {
    const MAX: usize = MAX_EVENTS_IN_REPLY;
}

record! {
    /// An agent wrote something. Bytes that a reader missed show in `offset`, and `read_stdout` and `read_stderr`
    /// bring them.
    #[derive(Debug, Eq)]
    pub struct LogStream = "log_stream" {
        /// The agent.
        pub agent_id: AgentId,
        /// Where it wrote.
        pub stream_type: Stream,
        /// What it wrote.
        pub data: Bytes,
        /// When the server read it.
        pub timestamp: Timestamp,
        /// Which of this stream's messages this is.
        pub sequence: u64,
        /// How many bytes of the stream came before `data`.
        pub offset: u64,
    }
}

/// The codec of a message that comes alone, of a type that its topic tells.
macro_rules! body {
    ($message:ident) => {
        impl $message {
            /// The message as the body that goes on the wire, a map with named fields.
            #[must_use]
            pub fn encode(&self) -> Bytes {
                to_bytes(self)
            }

            /// Reads the message from a body, in map or positional form.
            ///
            /// # Errors
            ///
            /// With the code `unsupported_message` if the body is another message, otherwise as
            /// [`Reply::decode`](crate::Reply::decode).
            pub fn decode(body: Bytes) -> Result<Self, DecodeError> {
                decode_one(&body)
            }
        }
    };
}

body!(StatusUpdate);
body!(LogStream);
