//! The messages of the Descartes wire protocol: their types, codec, limits and error codes.
//!
//! A client sends a [`Request`] and gets one [`Reply`]; a server also publishes [`StatusUpdate`]s and
//! [`LogStream`]s under [`topics`]. What a control command means is a [`Command`].
//!
//! A body is one `MessagePack` map with string keys, `type` and the fields beside it. The crate writes
//! that form, and reads it with its keys in any order and with keys that it does not know; it also reads
//! the positional form, an array of the type and the fields. Decoding never panics, and takes at most twice
//! the body's size in memory and 2 MiB more; binary fields and [`Raw`] values share the body's memory. In
//! a reply, lists cost more than that if their entries are tiny, up to the numbers in [`limits`].
//!
//! This crate does no I/O. It knows nothing of sockets, and whether a request can be granted is for the
//! server to say.
//!
//! ```
//! use descartes_protocol::{ErrorCode, HealthCheckRequest, Request};
//!
//! let request = Request::from(HealthCheckRequest { request_id: "7c0".into() });
//! assert_eq!(Request::decode(request.encode()), Ok(request));
//!
//! let error = Request::decode(b"\x92\xa3fly\xa37c0"[..].into()).unwrap_err();
//! assert_eq!(error.code(), ErrorCode::UnsupportedMessage);
//! assert_eq!(error.request_id.as_deref(), Some("7c0"));
//! ```

mod agent;
mod codec;
mod command;
mod error;
mod event;
mod id;
mod names;
mod raw;
mod reply;
mod request;
mod signal;
mod stdin;
mod time;

pub mod limits;
pub mod topics;

use std::collections::BTreeMap;

pub use agent::{AgentConfig, AgentInfo, AgentResult, Limits, OutputSizes, Usage};
pub use command::{Command, CommandError};
pub use error::DecodeError;
pub use event::{LogStream, StatusUpdate};
pub use id::{AgentId, ParseAgentIdError};
pub use names::{
    AgentStatus, EndReason, ErrorCode, PauseMode, PauseRequest, SignalScope, StdinMode, Stream,
    StreamSelection, UnknownName, UpdateType,
};
pub use raw::{MapWriter, Raw};
pub use reply::{
    BatchControlResponse, BatchResult, CommandResponse, ErrorResponse, EventsResponse,
    HealthCheckResponse, ListAgentsResponse, OutputQueryResponse, Reply, SpawnResponse,
    StatsResponse,
};
pub use request::{
    BatchControlCommand, ControlCommand, CustomActionRequest, EventsRequest, HealthCheckRequest,
    ListAgentsRequest, OutputQueryRequest, Request, SpawnRequest, StatsRequest,
};
pub use signal::SignalNumber;
pub use stdin::{StdinPosition, WriterId, WriterIdError};
pub use time::{OutputTime, Timestamp};

/// The version of the protocol. Within 1.x it changes by addition only.
pub const PROTOCOL_VERSION: &str = "1.0.0";

/// A map of strings, in the order of its keys.
pub type StringMap = BTreeMap<String, String>;
