//! Looking after agents: exits need no looking, but a shim that stands still cannot tell, and one
//! that is connected does not look whether its folder is still there.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::record;
use tokio::task::JoinSet;

use super::blocking::blocking;
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
    let mut told = Told::default();
    let looking = async {
        loop {
            tokio::time::sleep(Duration::from_secs(secs)).await;
            let agents: Vec<AgentHandle> = runner.agents(None);
            let looking = runner.clone();
            let looked = blocking(move || {
                looking.inner.store.keep();
                look_at(&agents)
            });
            let Ok(findings) = looked.await else {
                return;
            };
            tell_of_stopped(&runner, &mut told, findings.stopped);
            restore_all(&runner, &mut told, findings.incomplete).await;
        }
    };
    stopping.run_until_cancelled(looking).await;
}

/// Of which agents it has been told what is wrong with them.
#[derive(Default)]
struct Told {
    stopped: HashSet<AgentId>,
    incomplete: HashSet<AgentId>,
}

fn tell_of_stopped(runner: &LocalProcessRunner, told: &mut Told, stopped: Vec<AgentHandle>) {
    told.stopped
        .retain(|id| stopped.iter().any(|handle| handle.id() == *id));
    for handle in stopped {
        if told.stopped.insert(handle.id()) {
            tell(
                runner,
                &handle,
                "the agent's shim is stopped: it takes no commands and no output until it is sent SIGCONT",
            );
        }
    }
}

/// Has shims put back what is missing in their agents' folders, so that a later server finds them.
async fn restore_all(runner: &LocalProcessRunner, told: &mut Told, incomplete: Vec<AgentHandle>) {
    told.incomplete
        .retain(|id| incomplete.iter().any(|handle| handle.id() == *id));
    let mut restoring = JoinSet::new();
    for handle in incomplete {
        restoring.spawn(async move {
            let restored = tokio::time::timeout(RESTORE_PATIENCE, handle.restore()).await;
            (handle, restored)
        });
    }
    while let Some(Ok((handle, restored))) = restoring.join_next().await {
        let id = handle.id();
        match restored {
            Ok(Ok(())) => tell(
                runner,
                &handle,
                "files were missing in the agent's folder; its shim has put the records back",
            ),
            // It has ended meanwhile, and its folder went with it.
            _ if handle.agent.state().is_finished() => {}
            _ if !told.incomplete.insert(id) => {}
            Ok(Err(error)) => {
                tracing::error!(agent = %id, %error, "files are missing in the agent's folder: a later server may not find the agent");
            }
            Err(_) => {
                tracing::error!(agent = %id, "files are missing in the agent's folder, and its shim does not put them back in time: a later server may not find the agent");
            }
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
    records.iter().all(|name| dir.join(name).is_file())
}

fn tell(runner: &LocalProcessRunner, handle: &AgentHandle, message: &str) {
    let id: AgentId = handle.id();
    tracing::warn!(agent = %id, "{message}");
    let mut state = handle.agent.state();
    let update = state.error(id, message.to_owned());
    runner.inner.observer.update(update);
}
