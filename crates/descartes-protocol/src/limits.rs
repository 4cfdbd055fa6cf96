//! The numbers that bound a message. All sizes are bytes.

/// The largest body of a request or reply: 10 MiB.
pub const MAX_MESSAGE_SIZE: usize = 10 * 1024 * 1024;

/// The largest message on a socket, all its frames together: 16 MiB. The transport closes the
/// connection of a peer that sends more.
pub const MAX_FRAME_SIZE: usize = 16 * 1024 * 1024;

/// How deep the maps and arrays of a request may nest, the message itself counted.
pub const MAX_DEPTH: usize = 32;

/// How deep a reply or event may nest: a reply can carry a value of its request, one level further in.
pub const MAX_REPLY_DEPTH: usize = MAX_DEPTH + 2;

/// The longest `task`, `context` or `system_prompt`: 1 MiB each.
pub const MAX_TEXT_BYTES: usize = 1024 * 1024;

/// How much of `task` a reply carries: 4 KiB.
pub const MAX_TASK_IN_REPLY_BYTES: usize = 4 * 1024;

/// The longest name of an agent: 256 bytes.
pub const MAX_NAME_BYTES: usize = 256;

/// The longest `request_id`: 256 bytes.
pub const MAX_REQUEST_ID_BYTES: usize = 256;

/// The longest id of one who writes to an agent's stdin: 64 bytes.
pub const MAX_WRITER_ID_BYTES: usize = 64;

/// The most entries of one map of strings (`environment`, `labels`, `metadata`).
///
/// An entry costs more in memory than on the wire, so the size of a body alone does not bound it.
pub const MAX_MAP_ENTRIES: usize = 4096;

/// The most entries of `args`.
pub const MAX_ARGS: usize = 4096;

/// The most agents that one `batch_control_command` names, and the most results of its reply.
pub const MAX_BATCH: usize = 65_536;

/// The most agents in one `list_agents_response`.
pub const MAX_AGENTS_IN_REPLY: usize = 32_768;

/// The most events in one `events_response`.
pub const MAX_EVENTS_IN_REPLY: usize = 65_536;

/// The most times of output in the reply to one read.
pub const MAX_TIMES_IN_REPLY: usize = 4096;

/// The most lines in one `output_query_response`, or in one stream of a `query_output`.
pub const MAX_LINES_IN_REPLY: usize = 65_536;

/// Most bytes of the regular expression in an `output_query_request`.
pub const MAX_FILTER_BYTES: usize = 4 * 1024;
