//! The topics of the event socket. A subscription to a part of a topic gets every topic that begins so:
//! [`STATUS`] brings the events of all agents.

use crate::{AgentId, Stream};

/// What the topics of all agents' events begin with.
pub const STATUS: &str = "status/";

/// What the topics of all agents' output begin with.
pub const LOG: &str = "log/";

/// What the topics of all servers' heartbeats begin with.
pub const SERVER: &str = "server/";

/// The topic of an agent's events, each a [`StatusUpdate`](crate::StatusUpdate).
#[must_use]
pub fn status(agent: AgentId) -> String {
    format!("{STATUS}{agent}")
}

/// The topic of one of an agent's output streams, in pieces that are each a [`LogStream`](crate::LogStream).
#[must_use]
pub fn log(agent: AgentId, stream: Stream) -> String {
    format!("{LOG}{agent}/{stream}")
}

/// The topic of a server's heartbeats, each a [`HealthCheckResponse`](crate::HealthCheckResponse) with an empty `request_id`.
#[must_use]
pub fn server(server_id: &str) -> String {
    format!("{SERVER}{server_id}")
}
