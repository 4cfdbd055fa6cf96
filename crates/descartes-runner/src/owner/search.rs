//! Where a shim is that is not connected: still there, between two states, or gone.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use descartes_shim::record::{self, EndReason, Exit, Spec, State, StreamEnd, WallTime};
use descartes_shim::segments;
use descartes_shim::tree::{Process, ProcessKey};
use descartes_shim::wire::Sizes;

use tokio::task::JoinError;

use crate::agent::Agent;
use crate::eradicate::{Remains, eradicate};
use crate::link;
use crate::store::{self, LockState};

/// How long a shim may take to greet a server that has no descriptor for it.
const GREETING_PATIENCE: Duration = Duration::from_secs(1);

/// Where a shim is that closed its connection.
pub(super) enum Shim {
    Connected(UnixStream),
    /// It is coming or going, or cannot be reached now; look again.
    Between,
    Gone(Exit),
}

/// For how long a shim is connected to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Contact {
    /// The server has a descriptor for it.
    Lasting,
    /// Just so that it sees that there is a server, and does not stop its agent for want of one.
    Brief,
}

/// Looks where the agent's shim is, and buries the agent if it has gone.
///
/// # Errors
/// That of the task where the runtime is shutting down; within, why it could not be looked for.
pub(super) async fn look_for_shim(
    agent: Arc<Agent>,
    contact: Contact,
) -> Result<io::Result<Shim>, JoinError> {
    tokio::task::spawn_blocking(move || look(&agent, contact)).await
}

/// Blocks.
fn look(agent: &Agent, contact: Contact) -> io::Result<Shim> {
    let dir = &agent.dir;
    match store::lock_state(dir)? {
        LockState::Held => {
            let Ok(stream) = link::connect(dir) else {
                return Ok(Shim::Between);
            };
            return Ok(match contact {
                Contact::Lasting => Shim::Connected(stream),
                Contact::Brief => {
                    await_greeting(stream);
                    Shim::Between
                }
            });
        }
        // It makes its lock, and its folder, anew.
        LockState::Missing if lives(agent)? => return Ok(Shim::Between),
        LockState::Missing | LockState::Free => {}
    }
    if let Some(exit) = store::readable(dir, record::EXIT)? {
        return Ok(Shim::Gone(exit));
    }
    tracing::error!(agent = %agent.id, "the agent's shim died; killing what is left of the agent");
    let (known, told) = {
        let state = agent.state();
        (state.known(), state.sizes())
    };
    let left = eradicate(&Remains {
        agent_id: &agent.id.to_string(),
        leaf: leaf(dir)?.as_deref(),
        known,
    })?;
    Ok(Shim::Gone(lost(dir, told, &left)))
}

/// Stays until the shim has noticed: it speaks first.
fn await_greeting(mut stream: UnixStream) {
    let greeted = stream
        .set_nonblocking(false)
        .and_then(|()| stream.set_read_timeout(Some(GREETING_PATIENCE)))
        .and_then(|()| stream.read(&mut [0]));
    // It may be gone, or stand still: the next look tells.
    drop(greeted);
}

fn lives(agent: &Agent) -> io::Result<bool> {
    let shim = agent.state().known().shim;
    let now = shim.map_or(Ok(None), ProcessKey::look)?;
    Ok(now.is_some_and(|shim| !shim.is_dead()))
}

fn leaf(dir: &Path) -> io::Result<Option<PathBuf>> {
    if let Some(state) = store::readable::<State>(dir, record::STATE)? {
        return Ok(state.cgroup);
    }
    Ok(store::readable::<Spec>(dir, record::SPEC)?.and_then(|spec| spec.cgroup))
}

/// Records the end of an agent whose shim died before it could. `told` is how long its output was by
/// the shim's last word. Where the disk does not take the record, the next start comes to the same
/// end. Blocks.
pub(crate) fn lost(dir: &Path, told: Sizes, left: &[Process]) -> Exit {
    let exit = Exit {
        version: record::VERSION,
        exit_code: None,
        exit_signal: None,
        reason: EndReason::Lost,
        forced: false,
        finished_at: WallTime::now(),
        stdout: end_of(&dir.join("stdout"), told.stdout, told.stdout_lost),
        stderr: end_of(&dir.join("stderr"), told.stderr, told.stderr_lost),
        left_over: left.iter().map(|process| process.pid).collect(),
    };
    let recorded = File::open(dir).and_then(|dir| record::write(&dir, record::EXIT, &exit));
    if let Err(error) = recorded {
        tracing::warn!(path = %dir.display(), %error, "failed to record that an agent was lost");
    }
    exit
}

/// How a stream ended, by what is on disk of it, but no less than was told. Where the disk does not
/// say, nothing of it is kept.
fn end_of(stream: &Path, bytes_told: u64, lost_told: u64) -> StreamEnd {
    let extent = segments::extent(stream).unwrap_or_default();
    let gaps = (extent.end - extent.first).saturating_sub(extent.bytes);
    let missing = bytes_told.saturating_sub(extent.end);
    StreamEnd {
        bytes: extent.end.max(bytes_told),
        lost: gaps.saturating_add(missing).max(lost_told),
        kept: extent.bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_agents_output_is_no_shorter_than_was_told() {
        let dir = tempfile::tempdir().unwrap();
        let stdout = dir.path().join("stdout");
        std::fs::create_dir(&stdout).unwrap();
        std::fs::write(stdout.join(segments::name(0)), "0123456789").unwrap();
        let told = Sizes {
            stdout: 15,
            stdout_lost: 5,
            stderr: 7,
            stderr_lost: 7,
        };
        let exit = lost(dir.path(), told, &[]);
        let end = |bytes, lost, kept| StreamEnd { bytes, lost, kept };
        assert_eq!((exit.stdout, exit.stderr), (end(15, 5, 10), end(7, 7, 0)));
        let exit = lost(dir.path(), Sizes::default(), &[]);
        assert_eq!((exit.stdout, exit.stderr), (end(10, 0, 10), end(0, 0, 0)));
    }
}
