//! Looking after shims: exits need no looking, but a shim that stands still cannot tell.

use std::collections::HashSet;
use std::time::Duration;

use descartes_protocol::AgentId;

use super::spawn::blocking;
use super::{AgentRunner, LocalProcessRunner};
use crate::agent::AgentHandle;

/// Tells of shims that are stopped, until the runner stops. The look is one line of `/proc` per
/// agent and wakes nobody.
pub(super) async fn check_regularly(runner: LocalProcessRunner) {
    let secs = runner
        .inner
        .config
        .process
        .health_check_interval_secs
        .max(1);
    let stopping = runner.inner.stopping.clone();
    let mut told = HashSet::new();
    loop {
        let interval = Duration::from_secs(secs);
        if stopping
            .run_until_cancelled(tokio::time::sleep(interval))
            .await
            .is_none()
        {
            return;
        }
        let live: Vec<AgentHandle> = runner.agents(None);
        let Ok(stopped) = blocking(move || stopped(&live)).await else {
            return;
        };
        told.retain(|id| stopped.iter().any(|handle| handle.id() == *id));
        for handle in stopped {
            if told.insert(handle.id()) {
                tell(&runner, &handle);
            }
        }
    }
}

/// Those whose shims stand still. Blocks.
fn stopped(agents: &[AgentHandle]) -> Vec<AgentHandle> {
    let stands_still = |handle: &&AgentHandle| handle.agent.state().stopped_shim().is_some();
    agents.iter().filter(stands_still).cloned().collect()
}

fn tell(runner: &LocalProcessRunner, handle: &AgentHandle) {
    let id: AgentId = handle.id();
    let message =
        "the agent's shim is stopped: it takes no commands and no output until it is sent SIGCONT";
    tracing::warn!(agent = %id, "{message}");
    let mut state = handle.agent.state();
    let update = state.error(id, message.to_owned());
    runner.inner.observer.update(update);
}
