//! Taking over what an earlier server left behind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::record::{Exit, State};
use descartes_shim::segments;
use descartes_shim::tree::{self, Process};
use descartes_shim::wire::{Message, Sizes};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::LocalProcessRunner;
use super::spawn::blocking;
use crate::agent::{self, Agent, AgentHandle, AgentState};
use crate::eradicate::eradicate;
use crate::error::OpenError;
use crate::link::{self, Link};
use crate::output;
use crate::owner;
use crate::parser::{Observation, Parser, ParserKind};
use crate::store::{Found, Notes};
use crate::summary::{self, Summary};

/// How long the start waits for shims to say how their agents are. One that is stopped or
/// swamped is adopted all the same, from its record, and heard later.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks at a shim that is just starting or ending.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// Folders looked at at once.
const LOOKS_AT_ONCE: usize = 32;

/// An agent in its folder, understood as far as it can be without its shim.
enum Adopted {
    Alive(Box<Alive>),
    Finished(AgentHandle),
    /// Nothing is left to list.
    Undone,
    /// Its shim is between two states; look again.
    Between,
}

struct Alive {
    notes: Notes,
    state: State,
    stdin_bytes_max: u64,
    stream: std::os::unix::net::UnixStream,
}

impl LocalProcessRunner {
    /// Takes on every agent in the state folder.
    pub(super) async fn adopt_all(&self) -> Result<(), OpenError> {
        let runner = self.clone();
        let storage = |source| OpenError::Storage {
            action: "list the agents in",
            path: self.inner.config.state_dir.clone(),
            source,
        };
        let (ids, strangers) = blocking(move || runner.inner.store.list())
            .await?
            .map_err(storage)?;
        for name in strangers {
            self.set_aside(&name, "the name is no agent's id");
        }
        let deadline = Instant::now() + PATIENCE;
        let mut adoptions = JoinSet::new();
        for id in ids {
            if adoptions.len() >= LOOKS_AT_ONCE {
                adoptions.join_next().await;
            }
            let runner = self.clone();
            adoptions.spawn(async move { runner.adopt(id, deadline).await });
        }
        while adoptions.join_next().await.is_some() {}
        let known = super::AgentRunner::agents(self, None).len();
        let running = super::AgentRunner::active_count(self);
        if known > 0 {
            tracing::info!(
                running,
                finished = known - running,
                "found the agents of an earlier run"
            );
        }
        Ok(())
    }

    async fn adopt(&self, id: AgentId, deadline: Instant) {
        loop {
            let runner = self.clone();
            match blocking(move || runner.look_at(id)).await {
                Ok(Ok(Adopted::Alive(alive))) => {
                    return self.adopt_alive(id, *alive, deadline).await;
                }
                Ok(Ok(Adopted::Finished(handle))) => return self.register(&handle),
                Ok(Ok(Adopted::Between)) if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Ok(Ok(Adopted::Between)) => {
                    tracing::error!(agent = %id, "the agent's shim lives but cannot be reached; the agent is left alone until the next start");
                    return;
                }
                Ok(Err(error)) => {
                    tracing::error!(agent = %id, %error, "failed to look at an agent's folder");
                    return;
                }
                // Nothing to adopt, or a runtime that is shutting down.
                Ok(Ok(Adopted::Undone)) | Err(_) => return,
            }
        }
    }

    /// Blocks.
    fn look_at(&self, id: AgentId) -> io::Result<Adopted> {
        let dir = self.inner.store.agent_dir(id);
        match self.inner.store.look_at(id)? {
            Found::Alive {
                notes,
                state: Some(state),
                stdin_bytes_max,
            } => Ok(link::connect(&dir).map_or(Adopted::Between, |stream| {
                Adopted::Alive(Box::new(Alive {
                    notes,
                    state,
                    stdin_bytes_max,
                    stream,
                }))
            })),
            Found::Alive { state: None, .. } => Ok(Adopted::Between),
            Found::Ended { notes, state, exit } => {
                Ok(Adopted::Finished(self.finished(id, notes, &state, exit)?))
            }
            Found::Lost { spec, notes, state } => {
                let shim = shim_of(&state);
                let left = eradicate(&spec.agent_id, spec.cgroup.as_deref(), shim);
                let exit = owner::lost(&dir, &left)?;
                tracing::error!(agent = %id, "the agent's shim died while no server was there; its processes were killed");
                Ok(Adopted::Finished(self.finished(id, notes, &state, exit)?))
            }
            Found::NeverStarted { spec } => {
                let leaf = spec.as_ref().and_then(|spec| spec.cgroup.as_deref());
                eradicate(&id.to_string(), leaf, None);
                self.inner.store.remove(id)?;
                Ok(Adopted::Undone)
            }
            Found::Damaged {
                reason,
                alive: true,
            } => {
                tracing::error!(agent = %id, %reason, "an agent runs whose records are damaged; it is not listed, and looked at again at the next start");
                Ok(Adopted::Undone)
            }
            Found::Damaged {
                reason,
                alive: false,
            } => {
                eradicate(&id.to_string(), None, None);
                self.set_aside(&id.to_string(), &reason);
                Ok(Adopted::Undone)
            }
        }
    }

    async fn adopt_alive(&self, id: AgentId, alive: Alive, deadline: Instant) {
        let Ok(mut link) = Link::new(alive.stream) else {
            tracing::error!(agent = %id, "failed to register a shim's connection");
            return;
        };
        let hello = tokio::time::timeout_at(deadline, link.next()).await;
        let hello = match hello {
            Ok(Ok(Message::Hello(hello))) => Some(hello),
            // Its owner hears it later, or finds the shim gone.
            _ => None,
        };
        let sizes = hello
            .as_ref()
            .map_or_else(Sizes::default, |hello| hello.sizes);
        let (commands, orders) = agent::queues();
        let mut state = AgentState::running(commands, &alive.state, sizes);
        state.set_place(self.inner.admission.readmit());
        if let Some(hello) = &hello {
            state.set_paused(hello.paused);
        }
        let spawn = alive.notes.spawn.clone();
        let dir = self.inner.store.agent_dir(id);
        let server_id = &self.inner.config.server_id;
        let agent = Agent::new(
            id,
            server_id,
            dir,
            alive.notes,
            alive.stdin_bytes_max,
            state,
        );
        let agent = Arc::new(agent);
        self.register(&AgentHandle {
            agent: Arc::clone(&agent),
        });
        self.own(agent, link, orders);
        self.inner.spawns.started(&spawn, id);
    }

    /// Blocks.
    fn finished(
        &self,
        id: AgentId,
        notes: Notes,
        state: &State,
        exit: Exit,
    ) -> io::Result<AgentHandle> {
        let dir = self.inner.store.agent_dir(id);
        let known = summary::read(&dir);
        let unread = known.is_none() && notes.parser != ParserKind::Text;
        let (stdout_end, exit_code) = (exit.stdout.bytes, exit.exit_code);
        let mut agent_state = AgentState::finished(state, exit.clone(), known);
        if unread {
            // The server died between the agent's end and its summary.
            let (said, last_word) = read_all(&dir, notes.parser, stdout_end)?;
            for observation in said {
                agent_state.observe(observation);
            }
            agent_state.finish(exit, exit_code == Some(0) && !last_word);
            summary::keep(&dir, &Summary::of(&agent_state))?;
        }
        self.inner.spawns.started(&notes.spawn, id);
        let server_id = &self.inner.config.server_id;
        let agent = Agent::new(id, server_id, dir, notes, 0, agent_state);
        Ok(AgentHandle {
            agent: Arc::new(agent),
        })
    }

    fn set_aside(&self, name: &str, reason: &str) {
        match self.inner.store.set_aside(name, reason) {
            Ok(path) => {
                let path = path.display();
                tracing::error!(%path, %reason, "set a damaged agent's folder aside");
            }
            Err(error) => {
                tracing::error!(name, %reason, %error, "failed to set a damaged agent's folder aside");
            }
        }
    }
}

/// The shim that the record names, if it is of this boot and this pid namespace and still there.
fn shim_of(state: &State) -> Option<Process> {
    if state.boot_id != tree::boot_id() || state.pid_namespace != tree::pid_namespace() {
        return None;
    }
    Process::read(state.shim_pid).filter(|shim| shim.start_time == state.shim_start_time)
}

/// Everything that a finished agent said of itself, and whether it said its last word. Blocks.
fn read_all(
    dir: &std::path::Path,
    kind: ParserKind,
    end: u64,
) -> io::Result<(Vec<Observation>, bool)> {
    const CHUNK_BYTES: usize = 256 * 1024;
    let stdout = output::stream_dir(dir, descartes_protocol::Stream::Stdout);
    let mut parser = Parser::new(kind);
    let mut said = Vec::new();
    let mut offset = 0;
    while offset < end {
        let chunk = segments::read(&stdout, offset, CHUNK_BYTES)?;
        if chunk.data.is_empty() {
            break;
        }
        offset = chunk.offset + chunk.data.len() as u64;
        said.extend(parser.feed(&chunk.data));
    }
    said.extend(parser.finish());
    let last_word = parser.saw_result() || !kind.expects_result();
    Ok((said, last_word))
}
