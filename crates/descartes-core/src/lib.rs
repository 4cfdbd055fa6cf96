//! The Descartes agent server: clients ask it over ZeroMQ to start, control and watch CLI agents
//! on its machine.
//!
//! ```no_run
//! use descartes_core::{ZmqAgentServer, ZmqServerConfig};
//!
//! # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ZmqAgentServer::new(ZmqServerConfig {
//!     endpoint: "tcp://127.0.0.1:5555".to_string(),
//!     ..Default::default()
//! });
//! server.start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The crate also re-exports the public API of the crates below it, so that a program needs only
//! this one: [`protocol`] (the messages), [`transport`] (the sockets), [`runner`] (the agents), [`client`] (the other
//! side).
//!
//! A request goes `socket -> decode -> `[`Dispatch`]` -> handler -> reply`. [`Dispatch`] is the one
//! seam at which something else than this machine's agents can be put behind the sockets.

mod config;
mod dispatch;
mod error;
mod events;
mod handlers;
mod keys;
mod publisher;
mod server;
mod stats;

pub use descartes_client as client;
pub use descartes_protocol as protocol;
pub use descartes_runner as runner;
pub use descartes_transport as transport;

pub use config::{ConfigFault, OnShutdown, SecurityConfig, SecurityMode, ZmqServerConfig};
pub use descartes_client::{
    AddressError, ClientBundle, ClientError, ServerAddress, ZmqAgentRunner, ZmqClient,
    ZmqRunnerConfig,
};
pub use descartes_protocol::{
    AgentConfig, AgentId, AgentInfo, AgentStatus, EndReason, ErrorCode, PROTOCOL_VERSION,
};
pub use descartes_runner::backend::Backends;
pub use descartes_runner::{
    AgentHandle, AgentRunner, LocalProcessRunner, LocalRunnerConfig, ProcessRunnerConfig,
};
pub use dispatch::{Caller, Dispatch, Dispatched};
pub use error::{AgentResult, KeyError, ServerError};
pub use keys::{AuthorizedClients, KeyStore, Role};
pub use server::ZmqAgentServer;
pub use stats::ServerStats;
