//! How the runner is set up.

use std::path::PathBuf;
use std::time::Duration;

use crate::backend::{Backends, HostEnv};

/// Least output that can be kept of a stream, in bytes.
pub const OUTPUT_BYTES_MIN: u64 = 4096;

/// What [`LocalRunnerConfig::retain_read_for`] is unless told otherwise.
pub const READ_LEASE: Duration = Duration::from_mins(1);

/// Settings of one machine's agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRunnerConfig {
    /// Where agents work that name no working directory, and where relative ones start. Default:
    /// the server's own.
    pub working_dir: Option<PathBuf>,
    /// Most agents that run at once, beside the server's own limit. Default: none.
    pub max_concurrent_agents: Option<usize>,
    /// Whether to look for shims that were stopped by a signal. Default: true.
    pub enable_health_checks: bool,
    /// Seconds between two such looks. Default: 30.
    pub health_check_interval_secs: u64,
    /// Whether the events that agents print are read for session, model, usage and result.
    /// Default: true.
    pub enable_json_streaming: bool,
    /// Bytes kept of each output stream of an agent. Default: 64 MiB; at least 4 KiB.
    pub output_bytes: u64,
    /// Bytes of stdin that wait for an agent, beyond what its pipe holds. Default: 1 MiB.
    pub stdin_bytes: u64,
    /// Seconds between a stop's signal and SIGKILL, where the stop does not say. Default: 10.
    pub stop_grace_secs: u64,
    /// Seconds without any server after which an agent is stopped; 0 is never. Default: one day.
    pub orphan_timeout_secs: u64,
    /// Whether agents get a cgroup of their own where one can be made. Default: true.
    pub use_cgroups: bool,
}

impl Default for ProcessRunnerConfig {
    fn default() -> Self {
        Self {
            working_dir: None,
            max_concurrent_agents: None,
            enable_health_checks: true,
            health_check_interval_secs: 30,
            enable_json_streaming: true,
            output_bytes: 64 * 1024 * 1024,
            stdin_bytes: 1024 * 1024,
            stop_grace_secs: 10,
            orphan_timeout_secs: 24 * 60 * 60,
            use_cgroups: true,
        }
    }
}

/// All that [`crate::LocalProcessRunner::open`] needs.
#[derive(Debug, Clone)]
pub struct LocalRunnerConfig {
    /// What replies call this server.
    pub server_id: String,
    /// The folder that holds all agents. One server at a time owns it.
    pub state_dir: PathBuf,
    /// Most agents that run at once.
    pub max_agents: usize,
    /// Settings of the agents.
    pub process: ProcessRunnerConfig,
    /// The backends that clients may name.
    pub backends: Backends,
    /// The environment that backends take variables from.
    pub host_env: HostEnv,
    /// Finished agents that are kept, by number.
    pub retain_finished: usize,
    /// How long finished agents are kept.
    pub retain_for: Duration,
    /// Bytes of output kept of all finished agents together, the times of its arrival included.
    pub retain_bytes: u64,
    /// How long after somebody read its output a finished agent stays, whatever the limits above
    /// say: readers come page by page. [`READ_LEASE`] unless there is a reason.
    pub retain_read_for: Duration,
}
