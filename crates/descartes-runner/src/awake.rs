//! Lets shims go on that stand still, be it by their own agents' doing, where the server waits for
//! them.

use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::tree::Process;
use rustix::process::Signal;

/// Pause between two looks at a shim that is waited for.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// Sends a shim SIGCONT if it stands still; `so_that` says what it is to do. Blocks no longer than
/// a look into `/proc` takes.
pub(crate) fn wake(agent: AgentId, shim: Option<Process>, so_that: &str) {
    if let Some(shim) = shim.filter(Process::is_stopped) {
        let woken = shim.signal(Signal::CONT);
        tracing::warn!(%agent, ?woken, "the agent's shim was stopped; sent it SIGCONT so that {so_that}");
    }
}
