//! Where a shim is that is not connected: still there, between two states, or gone.

use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use descartes_shim::record::{self, EndReason, Exit, Record, Spec, State, StreamEnd, WallTime};
use descartes_shim::segments;
use descartes_shim::tree::Process;

use crate::agent::Agent;
use crate::eradicate::eradicate;
use crate::link;
use crate::store;

/// Where a shim is that closed its connection.
pub(super) enum Shim {
    Connected(UnixStream),
    /// It is coming or going, or cannot be reached now; look again.
    Between,
    Gone(Exit),
}

/// Blocks.
pub(super) fn look_for_shim(agent: &Agent, may_connect: bool) -> io::Result<Shim> {
    let dir = &agent.dir;
    if store::is_locked(dir)? {
        if !may_connect {
            return Ok(Shim::Between);
        }
        return Ok(link::connect(dir).map_or(Shim::Between, Shim::Connected));
    }
    // Without its folder a shim cannot be seen by the lock. It makes the folder anew.
    if !dir.join(record::LOCK).exists() && agent.state().has_living_shim() {
        return Ok(Shim::Between);
    }
    if let Some(exit) = readable(dir, record::EXIT)? {
        return Ok(Shim::Gone(exit));
    }
    tracing::error!(agent = %agent.id, "the agent's shim died; killing what is left of the agent");
    let left = eradicate(&agent.id.to_string(), leaf(dir)?.as_deref(), None);
    Ok(Shim::Gone(lost(dir, &left)))
}

/// A record; one that cannot be understood counts as missing.
fn readable<T: Record>(dir: &Path, name: &str) -> io::Result<Option<T>> {
    match record::read(dir, name) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        result => result,
    }
}

fn leaf(dir: &Path) -> io::Result<Option<PathBuf>> {
    if let Some(state) = readable::<State>(dir, record::STATE)? {
        return Ok(state.cgroup);
    }
    Ok(readable::<Spec>(dir, record::SPEC)?.and_then(|spec| spec.cgroup))
}

/// Records the end of an agent whose shim died before it could. Where the disk does not take the
/// record, the next start comes to the same end. Blocks.
pub(crate) fn lost(dir: &Path, left: &[Process]) -> Exit {
    let exit = Exit {
        version: record::VERSION,
        exit_code: None,
        exit_signal: None,
        reason: EndReason::Lost,
        forced: false,
        finished_at: WallTime::now(),
        stdout: kept(&dir.join("stdout")),
        stderr: kept(&dir.join("stderr")),
        left_over: left.iter().map(|process| process.pid).collect(),
    };
    let recorded = File::open(dir).and_then(|dir| record::write(&dir, record::EXIT, &exit));
    if let Err(error) = recorded {
        tracing::warn!(path = %dir.display(), %error, "failed to record that an agent was lost");
    }
    exit
}

/// What is on disk of a stream; nothing, where the disk does not say.
fn kept(stream: &Path) -> StreamEnd {
    let extent = segments::extent(stream).unwrap_or_default();
    StreamEnd {
        bytes: extent.end,
        lost: (extent.end - extent.first).saturating_sub(extent.bytes),
        kept: extent.bytes,
    }
}
