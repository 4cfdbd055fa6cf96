//! Looking after agents: exits need no looking, but a shim that stands still cannot tell, and one
//! that is connected does not look whether its folder is still there.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::record;

use super::spawn::blocking;
use super::{AgentRunner, LocalProcessRunner};
use crate::agent::AgentHandle;

/// How long a shim may take to make its folder anew.
const RESTORE_PATIENCE: Duration = Duration::from_secs(10);

/// What is wrong with some agents.
#[derive(Default)]
struct Findings {
    /// Their shims stand still.
    stopped: Vec<AgentHandle>,
    /// Something is missing in their folders, or the folders are.
    incomplete: Vec<AgentHandle>,
}

/// Looks after all agents, until the runner stops. A look is a line of `/proc` and three names of files
/// per agent, and wakes nobody who is well.
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
        let agents: Vec<AgentHandle> = runner.agents(None);
        let Ok(findings) = blocking(move || look_at(&agents)).await else {
            return;
        };
        told.retain(|id| findings.stopped.iter().any(|handle| handle.id() == *id));
        for handle in findings.stopped {
            if told.insert(handle.id()) {
                tell(
                    &runner,
                    &handle,
                    "the agent's shim is stopped: it takes no commands and no output until it is sent SIGCONT",
                );
            }
        }
        for handle in findings.incomplete {
            let (runner, stopping) = (runner.clone(), stopping.clone());
            runner.inner.tasks.clone().spawn(async move {
                stopping
                    .run_until_cancelled(restore(&runner, &handle))
                    .await;
            });
        }
    }
}

/// Blocks.
fn look_at(agents: &[AgentHandle]) -> Findings {
    let mut findings = Findings::default();
    for handle in agents {
        let state = handle.agent.state();
        let stopped = state.stopped_shim().is_some();
        let can_restore = state.can_restore();
        drop(state);
        if stopped {
            findings.stopped.push(handle.clone());
        } else if can_restore && !has_all_records(&handle.agent.dir) {
            findings.incomplete.push(handle.clone());
        }
    }
    findings
}

fn has_all_records(dir: &Path) -> bool {
    let records = [record::LOCK, record::SPEC, record::STATE];
    records.iter().all(|name| dir.join(name).exists())
}

/// Has an agent's shim make its folder anew, so that a later server finds the agent.
async fn restore(runner: &LocalProcessRunner, handle: &AgentHandle) {
    let id = handle.id();
    match tokio::time::timeout(RESTORE_PATIENCE, handle.restore()).await {
        Ok(Ok(())) => tell(
            runner,
            handle,
            "the agent's folder was not complete; its shim has put back what it can",
        ),
        // It has ended meanwhile, and its folder went with it.
        Ok(Err(_)) if handle.agent.state().is_finished() => {}
        Ok(Err(error)) => {
            tracing::error!(agent = %id, %error, "the agent's folder is not complete: a later server may not find the agent");
        }
        Err(_) => {
            tracing::warn!(agent = %id, "the agent's shim does not make its folder anew in time");
        }
    }
}

fn tell(runner: &LocalProcessRunner, handle: &AgentHandle, message: &str) {
    let id: AgentId = handle.id();
    tracing::warn!(agent = %id, "{message}");
    let mut state = handle.agent.state();
    let update = state.error(id, message.to_owned());
    runner.inner.observer.update(update);
}
