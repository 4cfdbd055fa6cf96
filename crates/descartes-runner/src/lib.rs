//! Starts CLI agents, each in its own shim, and keeps hold of them: the layer between the Descartes
//! server and the processes.
//!
//! - [`LocalProcessRunner`] is the [`AgentRunner`] of this machine: it admits, starts, adopts,
//!   lists, and forgets agents.
//! - [`AgentHandle`] is one agent: its state, its commands, its output.
//! - [`backend`] turns what a client asks for into a program, arguments and an environment.
//! - [`parser`] reads what the known agents say of themselves on stdout.
//!
//! It knows nothing of ZeroMQ or of requests and replies; what happens to agents is told to an
//! [`Observer`]. The folder layout that it shares with the shims is [`descartes_shim::record`].

mod admission;
mod agent;
mod awake;
pub mod backend;
mod config;
mod descriptors;
mod eradicate;
mod error;
mod link;
mod observer;
mod output;
mod owner;
pub mod parser;
mod prepare;
mod runner;
mod spawns;
mod store;
mod summary;
mod watcher;

pub use agent::{AgentHandle, Attention, Progress, Reading, StopOutcome, Written};
pub use config::{LocalRunnerConfig, OUTPUT_BYTES_MIN, ProcessRunnerConfig, READ_LEASE};
pub use error::{AgentError, OpenError, SpawnError};
pub use observer::{AgentUpdate, Observer};
pub use output::{LineQuery, Lines, OutputChunk, OutputRead, Reached, Rest};
pub use runner::{AgentRunner, Departure, DepartureTime, LocalProcessRunner, SpawnOrder, Spawned};

/// Whether agents can have cgroups of their own on this host, as this user.
///
/// # Errors
/// Why not, in words.
pub fn cgroups_available() -> Result<(), String> {
    descartes_shim::cgroup::Base::detect().map(drop)
}
