//! A client of Descartes agent servers.
//!
//! [`ZmqClient`] is one connection to one server, cheap to clone and shared by any number of tasks. It connects at its
//! first request, connects again when the connection breaks, and sends again what can be sent again without doing
//! anything twice. What a request comes to is one of three things that a caller has to tell apart: an answer, a
//! [refusal](ClientError::Refused) with its code, or [silence](ClientError::OutcomeUnknown) after which nobody knows
//! whether it was done.
//!
//! ```no_run
//! use descartes_client::protocol::AgentConfig;
//! use descartes_client::{ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};
//!
//! # async fn run() -> Result<(), descartes_client::ClientError> {
//! let client = ZmqClient::new(ZmqRunnerConfig {
//!     endpoint: "tcp://127.0.0.1:5555".to_owned(),
//!     ..ZmqRunnerConfig::default()
//! });
//! let config = AgentConfig {
//!     name: "fixer".to_owned(),
//!     model_backend: "claude".to_owned(),
//!     task: "fix the failing test".to_owned(),
//!     ..AgentConfig::default()
//! };
//! let agent = client.spawn_remote(config, None).await?;
//! let end = client.wait(agent.id).await?;
//! println!("{}", end.status);
//! # Ok(())
//! # }
//! ```
//!
//! Beyond requests there are things that last: [`OutputReader`] follows what an agent writes, [`StatusUpdates`] what
//! happens to agents, [`StdinWriter`] feeds one. All of them go on where they were after a broken connection and after
//! a restart of the server, for as long as [`ZmqRunnerConfig::max_reconnect_attempts`] allows, and say so where something is
//! gone for good.
//!
//! The client does not start servers, does not choose between them, and reads no configuration of its own.

mod address;
mod agents;
mod bundle;
mod call;
mod client;
mod config;
mod control;
mod error;
mod events;
mod link;
mod output;
mod runner;
mod stdin;
mod wait;

pub use descartes_protocol as protocol;
pub use descartes_transport as transport;

pub use address::{AddressError, ServerAddress};
pub use agents::ListFilter;
pub use bundle::{BundleError, ClientBundle};
pub use client::{OutputQuery, ServerHealth, ZmqClient};
pub use config::ZmqRunnerConfig;
pub use control::Ended;
pub use error::{ClientError, ConfigError, Refusal};
pub use events::{StatusItem, StatusUpdates};
pub use link::Connectivity;
pub use output::{OutputChunk, OutputReader, ReadFrom};
pub use runner::ZmqAgentRunner;
pub use stdin::StdinWriter;
pub use wait::AgentEnds;
