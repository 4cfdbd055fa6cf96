//! Having the template fork a shim, and never two for one agent.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use descartes_protocol::AgentId;
use descartes_shim::record::{self, Spec};
use descartes_shim::template::{ForkError, Template};
use descartes_shim::tree::{Process, ProcessKey};
use rustix::net::RecvFlags;
use tokio_util::sync::CancellationToken;

use crate::eradicate::{Known, Remains, eradicate};
use crate::runner::LocalProcessRunner;
use crate::store::{self, LockState};

/// How long a shim may take to speak, or to go, of which the template has said nothing.
const UNSEEN_PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks at it.
const UNSEEN_INTERVAL: Duration = Duration::from_millis(5);

/// The connection to a new shim, and the shim if it is known which process it is.
type Forked = (UnixStream, Option<ProcessKey>);

impl LocalProcessRunner {
    /// Has the template fork the shim of the agent whose folder and lock these are, with a new
    /// template where there is none, unless the spawn has been `given_up` by then. Blocks.
    pub(super) fn fork(
        &self,
        dir: &File,
        lock: &File,
        given_up: &CancellationToken,
    ) -> io::Result<Forked> {
        let turn = self.inner.template_turn.lock();
        let _turn = turn.unwrap_or_else(PoisonError::into_inner);
        is_wanted(given_up)?;
        let running = self.template().clone();
        if let Some(running) = running {
            if let Some(forked) = ask(&running, dir, lock)? {
                return Ok(forked);
            }
            tracing::warn!("the template of the shims is gone; starting another");
        }
        is_wanted(given_up)?;
        let fresh = Arc::new(Template::start()?);
        *self.template() = Some(Arc::clone(&fresh));
        ask(&fresh, dir, lock)?
            .ok_or_else(|| io::Error::other("the template of the shims does not start"))
    }

    /// The template, as long as it is not to be asked for anything.
    pub(in crate::runner) fn template(&self) -> MutexGuard<'_, Option<Arc<Template>>> {
        let template = self.inner.template.lock();
        template.unwrap_or_else(PoisonError::into_inner)
    }

    /// Undoes a spawn, whose shim may not be known: as long as it lives, it has the folder's lock.
    /// Blocks.
    pub(super) fn undo_now(&self, id: AgentId, spec: &Spec, shim: Option<ProcessKey>) {
        self.inner.store.mark_undone(id);
        let deadline = Instant::now() + UNSEEN_PATIENCE;
        let dir = self.inner.store.agent_dir(id);
        loop {
            let state = store::readable(&dir, record::STATE).ok().flatten();
            let recorded = Known::of(state.as_ref());
            let shim = shim.or(recorded.shim);
            let left = eradicate(&Remains::of(spec, Known { shim, ..recorded }));
            let is_over = store::lock_state(&dir).is_ok_and(|lock| lock != LockState::Held);
            if let Ok(left) = &left
                && is_over
            {
                if !left.is_empty() {
                    tracing::error!(agent = %id, ?left, "failed to undo a spawn: processes are left");
                }
                if let Err(error) = self.inner.store.remove(id) {
                    tracing::warn!(%error, "failed to remove the folder of an agent that did not start");
                }
                return;
            }
            // Of a look that failed nothing is known, and what it found may stand still: it is done
            // again for as long as the server runs.
            let is_late = left.is_ok() && Instant::now() >= deadline;
            if is_late || self.inner.giving_up.is_cancelled() {
                tracing::error!(agent = %id, ?left, "failed to undo a spawn; the next start looks after it");
                return;
            }
            std::thread::sleep(UNSEEN_INTERVAL);
        }
    }
}

/// Who was answered already that the spawn has failed shall have no agent.
fn is_wanted(given_up: &CancellationToken) -> io::Result<()> {
    if given_up.is_cancelled() {
        return Err(io::Error::other("the spawn was given up"));
    }
    Ok(())
}

/// `None` where the template is gone and has left no shim.
fn ask(template: &Template, dir: &File, lock: &File) -> io::Result<Option<Forked>> {
    let (ours, theirs) = UnixStream::pair()?;
    match template.start_shim(dir.as_fd(), lock.as_fd(), theirs.as_fd()) {
        Ok(pid) => Ok(Some((ours, Process::read(pid).map(|shim| shim.key())))),
        Err(ForkError::NotAsked(error)) => {
            tracing::debug!(%error, "the template of the shims cannot be asked");
            Ok(None)
        }
        Err(error @ ForkError::NoProcess) => Err(io::Error::other(error)),
        Err(ForkError::Unanswered(error)) => {
            tracing::warn!(%error, "the template of the shims did not answer");
            // Only once it has gone is it decided whether it has forked.
            template.kill();
            drop(theirs);
            Ok(says_something(&ours)?.then_some((ours, None)))
        }
    }
}

/// Whether there is a shim at the other end: it speaks first. Where there is none, the connection
/// is closed. Blocks.
fn says_something(connection: &UnixStream) -> io::Result<bool> {
    connection.set_read_timeout(Some(UNSEEN_PATIENCE))?;
    let mut byte = [0];
    let (count, _) = rustix::net::recv(connection, &mut byte, RecvFlags::PEEK)?;
    connection.set_read_timeout(None)?;
    Ok(count > 0)
}
