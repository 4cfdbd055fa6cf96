//! Lets shims go on that stand still, be it by their own agents' doing, where the server waits for
//! them.

use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::tree::Process;
use rustix::process::Signal;

/// Pause between two looks at a shim that is waited for.
pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

/// One shim that is kept awake.
#[derive(Debug, Default)]
pub(crate) struct Awake {
    told: bool,
}

impl Awake {
    /// Sends the shim SIGCONT if it was stopped by a signal, and logs the first time; `so_that` says
    /// what it is to do.
    pub(crate) fn wake(&mut self, agent: AgentId, shim: Option<Process>, so_that: &str) {
        let Some(shim) = shim.filter(|shim| shim.state == b'T') else {
            return;
        };
        let woken = shim.signal(Signal::CONT);
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(%agent, ?woken, "the agent's shim is stopped; it gets SIGCONT until {so_that}");
        }
    }
}
