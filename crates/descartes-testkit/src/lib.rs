//! A server on a private endpoint, a client for it, and agents that misbehave: for tests only.
//!
//! Every test gets its own state folder and its own sockets. Whatever waits has a deadline that a
//! slow machine does not reach, and panics with what it was waiting for.

mod client;
mod proxy;
mod server;
mod stranger;

pub use client::{Client, shell};
pub use proxy::{CuttingProxy, LossyProxy};
pub use server::{TestServer, config, shell_backends, socket_endpoint};
pub use stranger::Stranger;

use std::future::Future;
use std::time::Duration;

use descartes_core::AgentId;

/// Longer than anything that works takes on a slow machine.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Waits for something, and panics with its name if it does not come.
///
/// # Panics
/// When [`PATIENCE`] is over.
pub async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, event).await;
    came.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

/// Pids of all living processes that carry this agent's id in their environment.
#[must_use]
pub fn processes_of(agent: AgentId) -> Vec<i32> {
    let entry = format!("DESCARTES_AGENT_ID={agent}");
    let carries_it = |environment: &[u8]| {
        let mut variables = environment.split(|&byte| byte == 0);
        variables.any(|variable| variable == entry.as_bytes())
    };
    processes_whose("environ", carries_it)
}

/// Pids of all living processes whose file of this name in `/proc` is a wanted one.
#[must_use]
pub fn processes_whose(file: &str, is_wanted: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let content = std::fs::read(process.path().join(file)).ok()?;
        is_wanted(&content).then_some(pid)
    });
    pids.collect()
}

/// Pid of the shim of an agent whose files are below `state_dir`.
///
/// # Panics
/// If the agent was never started.
#[must_use]
pub fn shim_of(state_dir: &std::path::Path, agent: AgentId) -> i32 {
    let path = state_dir
        .join("agents")
        .join(agent.to_string())
        .join("state.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{error}"));
    let pid = text
        .split_once("\"shim_pid\":")
        .and_then(|(_, rest)| rest.split(',').next());
    pid.and_then(|pid| pid.parse().ok())
        .unwrap_or_else(|| panic!("no shim_pid in {text}"))
}

/// Sends a signal, by its name without `SIG`.
///
/// # Panics
/// If there is no such process.
#[expect(clippy::disallowed_methods, reason = "a test's own means to do harm")]
pub fn signal(pid: i32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let status = kill.arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "no signal {name} to {pid}"
    );
}
