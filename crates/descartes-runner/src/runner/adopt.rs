//! Taking over what an earlier server left behind.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::AgentId;
use descartes_shim::cgroup;
use descartes_shim::record::{self, Exit, Spec, State};
use descartes_shim::wire::Sizes;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::LocalProcessRunner;
use super::blocking::blocking;
use crate::agent::{Agent, AgentHandle, AgentState, Origin, Since};
use crate::eradicate::{Known, Remains, eradicate};
use crate::error::OpenError;
use crate::link;
use crate::owner;
use crate::parser::ParserKind;
use crate::spawns::Claim;
use crate::store::{Damage, Found, Look, Notes, SpawnKey};
use crate::summary::{self, Summary};
use crate::watcher::{self, LastWord};
use living::Alive;

mod living;

/// How long the start waits for shims to say how their agents are. One that is stopped or
/// swamped is adopted all the same, from its record, and heard later.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two looks at a shim that is just starting or ending.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The longest such pause, where an agent stays undecided.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Folders looked at at once.
const LOOKS_AT_ONCE: usize = 32;

/// What an attempt to adopt an agent came to.
enum Step {
    /// It is listed, or nothing of it is left.
    Decided,
    /// Look again.
    Undecided {
        /// The request that it was spawned for, where that can be read.
        spawn: Option<SpawnKey>,
        /// Why.
        why: String,
    },
}

/// What is in an agent's folder.
enum Looked {
    Alive(Box<Alive>),
    /// Its shim lives and its spec cannot be read; the shim can put that right.
    Unreadable(io::Result<UnixStream>),
    Finished(AgentHandle),
    /// It was lost, and what is left of it could not be killed yet.
    Unburied {
        spawn: SpawnKey,
        error: io::Error,
    },
    /// Nothing is left to list.
    Nothing,
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
        self.undecided().extend(&ids);
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

    /// Adopts an agent. One that cannot be decided by `deadline` does not keep the server from
    /// starting; it is looked after until it is.
    async fn adopt(&self, id: AgentId, deadline: Instant) {
        loop {
            match self.adopt_once(id, deadline).await {
                Step::Decided => {
                    self.undecided().remove(&id);
                    return;
                }
                Step::Undecided { .. } if Instant::now() < deadline => {
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
                Step::Undecided { spawn, why } => {
                    tracing::error!(agent = %id, %why, "an agent cannot be taken on yet; it is not listed until it can");
                    // Before the first client can ask for it.
                    let claimed = self.claim(spawn);
                    let (runner, stopping) = (self.clone(), self.inner.stopping.clone());
                    self.inner.tasks.spawn(async move {
                        stopping
                            .run_until_cancelled(runner.adopt_later(id, claimed))
                            .await;
                    });
                    return;
                }
            }
        }
    }

    fn claim(&self, spawn: Option<SpawnKey>) -> Option<(SpawnKey, Claim)> {
        let spawn = spawn?;
        let claim = self.inner.spawns.claim(&spawn);
        Some((spawn, claim))
    }

    /// While the claim is held, a repetition of the agent's spawn waits, and starts no second one.
    async fn adopt_later(&self, id: AgentId, mut claimed: Option<(SpawnKey, Claim)>) {
        let mut pause = RETRY_INTERVAL;
        loop {
            tokio::time::sleep(pause).await;
            let deadline = Instant::now() + PATIENCE;
            match self.adopt_once(id, deadline).await {
                Step::Decided => break,
                Step::Undecided { spawn, .. } => claimed = claimed.or_else(|| self.claim(spawn)),
            }
            pause = (pause * 2).min(RETRY_INTERVAL_MAX);
        }
        self.undecided().remove(&id);
        match super::AgentRunner::agent(self, id) {
            Some(_) => tracing::info!(agent = %id, "took on an agent that could not be before"),
            None => {
                if let Some((spawn, Claim::New(_))) = &claimed {
                    self.inner.spawns.refused(spawn);
                }
            }
        }
    }

    async fn adopt_once(&self, id: AgentId, deadline: Instant) -> Step {
        let runner = self.clone();
        match blocking(move || runner.look_at(id)).await {
            Ok(Ok(Looked::Alive(alive))) => self.adopt_alive(id, *alive, deadline).await,
            Ok(Ok(Looked::Unreadable(stream))) => self.have_restored(id, stream, deadline).await,
            Ok(Ok(Looked::Finished(handle))) => {
                self.register(&handle);
                // Only now: who asks for the spawn again has to find the agent.
                self.inner
                    .spawns
                    .started(&handle.agent.notes.spawn, handle.id());
                Step::Decided
            }
            Ok(Ok(Looked::Unburied { spawn, error })) => Step::Undecided {
                spawn: Some(spawn),
                why: format!("its shim died: {error}"),
            },
            Ok(Err(error)) => {
                self.undecided_by(id, format!("failed to look at its folder: {error}"))
                    .await
            }
            Ok(Ok(Looked::Nothing)) => Step::Decided,
            // Or by a runtime that is shutting down.
            Err(_) => {
                let why = "the look at its folder was cut short by a fault".to_owned();
                self.undecided_by(id, why).await
            }
        }
    }

    /// Of an agent whose folder could not be looked at, its spec may be readable all the same.
    async fn undecided_by(&self, id: AgentId, why: String) -> Step {
        let runner = self.clone();
        let spawn = blocking(move || runner.inner.store.spawn_key(id)).await;
        let spawn = spawn.ok().flatten();
        Step::Undecided { spawn, why }
    }

    /// Blocks.
    fn look_at(&self, id: AgentId) -> io::Result<Looked> {
        let dir = self.inner.store.agent_dir(id);
        let Look { found, damaged } = self.inner.store.look_at(id)?;
        match found {
            Found::Alive {
                notes,
                state,
                stdin_bytes_max,
            } => {
                self.set_records_aside(id, &damaged);
                let descriptor = self.inner.descriptors.try_take();
                let stream = match &descriptor {
                    Some(_) => link::connect(&dir),
                    None => Err(io::Error::other(
                        "the server's limit of open files is reached",
                    )),
                };
                Ok(Looked::Alive(Box::new(Alive {
                    notes,
                    state,
                    stdin_bytes_max,
                    stream,
                    descriptor,
                })))
            }
            Found::AliveUnreadable => {
                self.set_records_aside(id, &damaged);
                Ok(Looked::Unreadable(link::connect(&dir)))
            }
            Found::Ended { notes, state, exit } => {
                self.set_records_aside(id, &damaged);
                let finished = self.finished(id, notes, state.as_ref(), exit);
                Ok(Looked::Finished(finished))
            }
            Found::Lost { spec, notes, state } => {
                let exit = match self.bury(id, &spec, state.as_ref(), damaged) {
                    Ok(exit) => exit,
                    Err(error) => {
                        let spawn = notes.spawn;
                        return Ok(Looked::Unburied { spawn, error });
                    }
                };
                let finished = self.finished(id, notes, state.as_ref(), exit);
                Ok(Looked::Finished(finished))
            }
            Found::NeverStarted { spec } => {
                // Without a spec nothing can have been started.
                if let Some(spec) = spec {
                    eradicate(&Remains::of(&spec, Known::default()))?;
                }
                self.inner.store.remove(id)?;
                Ok(Looked::Nothing)
            }
            Found::Undone { spec, state } => {
                eradicate(&Remains::of(&spec, Known::of(state.as_ref())))?;
                self.inner.store.remove(id)?;
                Ok(Looked::Nothing)
            }
            Found::Unreadable => {
                self.clear_away(id, &damaged)?;
                Ok(Looked::Nothing)
            }
        }
    }

    /// Blocks.
    fn finished(
        &self,
        id: AgentId,
        notes: Notes,
        state: Option<&State>,
        exit: Exit,
    ) -> AgentHandle {
        let dir = self.inner.store.agent_dir(id);
        let origin = state.map_or_else(|| Origin::unknown(notes.spawned_at), Origin::from);
        let leaf = state.and_then(|state| state.cgroup.as_ref());
        if let Some(leaf) = leaf.filter(|_| !exit.left_over.is_empty()) {
            // Who could not be killed then may have gone since.
            let _ = cgroup::remove(leaf);
        }
        let known = summary::read(&dir);
        let unread = known.is_none() && notes.parser != ParserKind::Text;
        let (stdout_end, exit_code) = (exit.stdout.bytes, exit.exit_code);
        let mut agent_state = AgentState::finished(origin, exit.clone(), known);
        if unread {
            // The server died between the agent's end and its summary.
            let (said, last_word) = watcher::read_all(&dir, notes.parser, stdout_end);
            for observation in said {
                agent_state.observe(observation);
            }
            let interrupted = exit_code == Some(0) && last_word == LastWord::Missing;
            agent_state.finish(exit, interrupted);
            if last_word != LastWord::Unreadable
                && let Err(error) = summary::keep(&dir, &Summary::of(&agent_state))
            {
                tracing::warn!(agent = %id, %error, "failed to write an agent's summary");
            }
        }
        let server_id = &self.inner.config.server_id;
        let agent = Agent::new(id, server_id, dir, notes, 0, (Since::Adoption, agent_state));
        // Whoever read it before the restart goes on.
        agent.readers.assume_one();
        AgentHandle {
            agent: Arc::new(agent),
        }
    }

    /// Kills what is left of an agent whose shim died while no server was there, and records that it
    /// was lost. Blocks.
    fn bury(
        &self,
        id: AgentId,
        spec: &Spec,
        state: Option<&State>,
        mut damaged: Vec<Damage>,
    ) -> io::Result<Exit> {
        let dir = self.inner.store.agent_dir(id);
        let left = eradicate(&Remains::of(spec, Known::of(state)))?;
        tracing::error!(agent = %id, "the agent's shim died while no server was there; its processes were killed");
        let in_the_way: Vec<Damage> = damaged
            .extract_if(.., |damage| damage.record == record::EXIT)
            .collect();
        self.set_records_aside(id, &in_the_way);
        let exit = owner::lost(&dir, Sizes::default(), &left);
        // A record of the processes, damaged or not, says that the agent was started. It stays until
        // another one says so.
        if dir.join(record::EXIT).exists() {
            self.set_records_aside(id, &damaged);
        }
        Ok(exit)
    }

    /// Kills what is left of an agent that nothing is known of, and sets all of it aside. Blocks.
    fn clear_away(&self, id: AgentId, damaged: &[Damage]) -> io::Result<()> {
        let leaf = self.inner.cgroups.as_ref();
        let leaf = leaf.map(|base| base.leaf(&id.to_string()));
        eradicate(&Remains {
            agent_id: &id.to_string(),
            leaf: leaf.as_deref(),
            known: Known::default(),
        })?;
        let reasons: Vec<&str> = damaged.iter().map(|it| it.reason.as_str()).collect();
        let reason = match reasons.as_slice() {
            [] => format!("{} is missing", record::SPEC),
            reasons => reasons.join("; "),
        };
        self.set_aside(&id.to_string(), &reason);
        Ok(())
    }

    fn set_records_aside(&self, id: AgentId, damaged: &[Damage]) {
        for damage in damaged {
            self.set_record_aside(id, damage);
        }
    }

    fn set_record_aside(&self, id: AgentId, damage: &Damage) {
        let Damage { record, reason } = damage;
        match self.inner.store.set_record_aside(id, damage) {
            Ok(path) => {
                let path = path.display();
                tracing::error!(agent = %id, %path, %reason, "set a damaged record aside");
            }
            Err(error) => {
                tracing::error!(agent = %id, record, %reason, %error, "failed to set a damaged record aside");
            }
        }
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
