//! Starting one agent.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::{AgentId, SpawnRequest};
use descartes_shim::record::Spec;
use descartes_shim::tree::ProcessKey;
use descartes_shim::wire::{Hello, Message};
use sha2::{Digest, Sha256};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::blocking::{Interrupted, blocking};
use super::{LocalProcessRunner, SpawnOrder, Spawned};
use crate::admission::Place;
use crate::agent::{self, Agent, AgentHandle, AgentState, Since};
use crate::awake::{self, Awake};
use crate::descriptors::Descriptor;
use crate::error::SpawnError;
use crate::link::Link;
use crate::owner::{Connection, Owner};
use crate::prepare::{self, Surroundings};
use crate::spawns::{Claim, Pending};
use crate::store::{Notes, SpawnKey};
use crate::watcher::Watcher;

mod forking;

/// A shim that was forked and has not yet said whether its agent runs.
struct Launched {
    id: AgentId,
    spec: Spec,
    notes: Notes,
    shim: Option<ProcessKey>,
}

/// A shim that was forked, and the connection to it.
type Fresh = (Launched, UnixStream);

/// A request for an agent that is under way, and for as long as something of it has to be undone.
struct Undecided {
    runner: LocalProcessRunner,
    key: SpawnKey,
    /// Dropped last: whoever waits for the same request finds it decided.
    pending: Pending,
}

impl Drop for Undecided {
    fn drop(&mut self) {
        self.runner.inner.spawns.give_up(&self.key, &self.pending);
    }
}

/// What an agent counts for, from before anything of it exists.
struct Claims {
    place: Place,
    descriptor: Descriptor,
}

impl LocalProcessRunner {
    /// Leads the same request to the same agent, also if it comes twice at once.
    pub(super) async fn spawn_or_find(&self, order: SpawnOrder) -> Result<Spawned, SpawnError> {
        let key = key(&order);
        let after = order.timeout;
        let deadline = Instant::now() + after;
        loop {
            match self.inner.spawns.claim(&key) {
                Claim::New(pending) => return self.decide(order, key, pending).await,
                Claim::Wait(mut decided) => {
                    // The sender is never used, only dropped.
                    let _ = self.in_time(deadline, after, decided.changed()).await?;
                }
                Claim::Started(id) => {
                    let agent = super::AgentRunner::agent(self, id).ok_or_else(|| removed(id))?;
                    let info = agent.info();
                    return Ok(Spawned { agent, info });
                }
                Claim::Removed(id) => return Err(removed(id)),
                Claim::Conflict => {
                    let request_id = key.request_id;
                    return Err(SpawnError::Conflict { request_id });
                }
            }
        }
    }

    /// Starts the agent in a task of its own: once begun, a spawn is finished and recorded or
    /// undone, also if nobody waits for it any more.
    async fn decide(
        &self,
        order: SpawnOrder,
        key: SpawnKey,
        pending: Pending,
    ) -> Result<Spawned, SpawnError> {
        let runner = self.clone();
        let task = self.inner.spawning.spawn(async move {
            let request = Arc::new(Undecided {
                runner: runner.clone(),
                key,
                pending,
            });
            let mut started = runner.spawn_new(order, &request).await;
            if let Err(SpawnError::Start { .. }) = &started
                && runner.inner.giving_up.is_cancelled()
            {
                // Whatever the cause was, this is what to know of it.
                started = Err(SpawnError::ShuttingDown);
            }
            if let Ok(spawned) = &started {
                runner
                    .inner
                    .spawns
                    .started(&request.key, spawned.agent.id());
            }
            started
        });
        task.await.map_err(Interrupted)?
    }

    async fn spawn_new(
        &self,
        order: SpawnOrder,
        request: &Arc<Undecided>,
    ) -> Result<Spawned, SpawnError> {
        let deadline = Instant::now() + order.timeout;
        let after = order.timeout;
        // Looked at before a place is taken: what can never start is not told to try again later.
        self.inner
            .config
            .backends
            .get(&order.config.model_backend)?;
        let turn = tokio::time::timeout_at(deadline, self.inner.spawn_places.acquire());
        // Closed at the beginning of a shutdown.
        let _turn = match turn.await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => return Err(SpawnError::ShuttingDown),
            Err(_) => return Err(SpawnError::TimedOut { after }),
        };
        let claims = Claims {
            place: self.inner.admission.enter()?,
            descriptor: self.inner.descriptors.take()?,
        };
        let (runner, key) = (self.clone(), request.key.clone());
        let given_up = self.inner.giving_up.child_token();
        let asked = given_up.clone();
        let mut launching = tokio::task::spawn_blocking(move || runner.launch(&order, key, &asked));
        let launched = match self.in_time(deadline, after, &mut launching).await {
            Ok(launched) => launched.map_err(Interrupted)??,
            Err(error) => {
                given_up.cancel();
                self.undo_late(launching, claims, Arc::clone(request));
                return Err(error);
            }
        };
        self.await_start(launched, claims, deadline, after).await
    }

    /// Waits for a step of a spawn, unless the spawn's time is over or a shutdown's is.
    async fn in_time<T>(
        &self,
        deadline: Instant,
        after: Duration,
        step: impl Future<Output = T>,
    ) -> Result<T, SpawnError> {
        tokio::select! {
            // What is done is done.
            biased;
            done = step => Ok(done),
            () = self.inner.giving_up.cancelled() => Err(SpawnError::ShuttingDown),
            () = tokio::time::sleep_until(deadline) => Err(SpawnError::TimedOut { after }),
        }
    }

    /// Undoes a spawn that hangs in the file system, whenever it comes out of it. Until then the
    /// agent counts, and who asks for it again waits.
    fn undo_late(
        &self,
        launching: JoinHandle<Result<Fresh, SpawnError>>,
        claims: Claims,
        request: Arc<Undecided>,
    ) {
        let runner = self.clone();
        self.inner.tasks.spawn(async move {
            if let Ok(Ok((launched, _))) = launching.await {
                runner.undo(launched).await;
            }
            drop((claims, request));
        });
    }

    /// Everything up to the fork of the shim, which does not come where the spawn has been given up
    /// by then. Blocks.
    fn launch(
        &self,
        order: &SpawnOrder,
        key: SpawnKey,
        given_up: &CancellationToken,
    ) -> Result<Fresh, SpawnError> {
        let id = AgentId::generate();
        let surroundings = Surroundings {
            config: &self.inner.config,
            cgroups: self.inner.cgroups.as_ref(),
            descriptors_soft: self.inner.descriptors_soft,
        };
        let metadata = order.metadata.clone();
        let (spec, notes) = prepare::prepare(surroundings, id, &order.config, metadata, key)?;
        let failed = |action: &str| {
            let action = action.to_owned();
            move |source| SpawnError::Start { action, source }
        };
        let (dir, lock) = self
            .inner
            .store
            .create(id, &spec)
            .map_err(failed("create the agent's folder"))?;
        match self.fork(&dir, &lock, given_up) {
            Ok((connection, shim)) => {
                let launched = Launched {
                    id,
                    spec,
                    notes,
                    shim,
                };
                Ok((launched, connection))
            }
            Err(error) => {
                drop(lock);
                self.undo_now(id, &spec, None);
                Err(failed("start the agent's shim")(error))
            }
        }
    }

    async fn await_start(
        &self,
        (launched, connection): Fresh,
        claims: Claims,
        deadline: Instant,
        after: Duration,
    ) -> Result<Spawned, SpawnError> {
        let start = |source| SpawnError::Start {
            action: "talk to the agent's shim".to_owned(),
            source,
        };
        let greeting = async {
            let mut link = Link::new(connection)?;
            let message = link.next().await?;
            io::Result::Ok((link, message))
        };
        let greeted = tokio::select! {
            greeted = self.in_time(deadline, after, greeting) => greeted,
            never = keep_awake(launched.id, launched.shim) => match never {},
        };
        let error = match greeted {
            Ok(Ok((link, Message::Hello(hello)))) => {
                return Ok(self.take_on(launched, link, &hello, claims));
            }
            Ok(Ok((_, Message::Failed(failure)))) => {
                let source = failure.errno.map_or_else(
                    || io::Error::other(failure.error),
                    io::Error::from_raw_os_error,
                );
                SpawnError::Start {
                    action: failure.action,
                    source,
                }
            }
            Ok(Ok(_)) => start(io::ErrorKind::InvalidData.into()),
            Ok(Err(error)) => start(error),
            Err(error) => error,
        };
        self.undo(launched).await;
        // Only now: until nothing of it is left, the agent counts.
        drop(claims);
        Err(error)
    }

    fn take_on(&self, launched: Launched, link: Link, hello: &Hello, claims: Claims) -> Spawned {
        let (commands, orders) = agent::queues(&self.inner.stopping);
        let mut state = AgentState::running(commands, (&hello.state).into(), hello.sizes);
        state.set_place(claims.place);
        let agent = Arc::new(Agent::new(
            launched.id,
            &self.inner.config.server_id,
            self.inner.store.agent_dir(launched.id),
            launched.notes,
            launched.spec.limits.stdin_bytes_max,
            (Since::Start, state),
        ));
        let handle = AgentHandle {
            agent: Arc::clone(&agent),
        };
        self.register_and_then(&handle, || {
            self.inner
                .observer
                .update(agent.state().change(agent.id, None));
        });
        // Before it has an owner nothing can change: this is the agent as it started.
        let info = agent.state().info(&agent);
        self.own(agent, (link, Some(claims.descriptor)), orders);
        Spawned {
            agent: handle,
            info,
        }
    }

    /// Gives a running agent its owner.
    pub(super) fn own(
        &self,
        agent: Arc<Agent>,
        (link, descriptor): (Link, Option<Descriptor>),
        orders: agent::Orders,
    ) {
        let observer = Arc::clone(&self.inner.observer);
        let watcher = Watcher::start(&agent, &observer);
        let connection = Connection {
            link,
            descriptor,
            descriptors: self.inner.descriptors.clone(),
        };
        let owner = Owner::new(agent, connection, orders, observer, watcher);
        let runner = self.clone();
        self.inner.tasks.spawn(async move {
            // An agent outlives its owner: when the server goes, the shim keeps it.
            let stopping = runner.inner.stopping.clone();
            stopping.run_until_cancelled_owned(owner.run()).await;
            runner.inner.ended.notify_one();
        });
    }

    async fn undo(&self, launched: Launched) {
        let runner = self.clone();
        let undone = blocking(move || runner.undo_now(launched.id, &launched.spec, launched.shim));
        // Where the runtime is shutting down, the next start does it.
        let _ = undone.await;
    }
}

/// Lets a new shim go on that its agent has stopped before it could speak, if it is known which
/// process that is.
async fn keep_awake(id: AgentId, shim: Option<ProcessKey>) -> Infallible {
    let mut awake = Awake::default();
    loop {
        tokio::time::sleep(awake::INTERVAL).await;
        let now = shim.and_then(|shim| shim.look().ok().flatten());
        awake.wake(id, now, "it says that the agent runs");
    }
}

fn removed(id: AgentId) -> SpawnError {
    SpawnError::Removed {
        agent_id: id.to_string(),
    }
}

/// What names the spawn: who asks, under which id, for what.
fn key(order: &SpawnOrder) -> SpawnKey {
    let content = SpawnRequest {
        request_id: String::new(),
        config: order.config.clone(),
        timeout_secs: None,
        metadata: order.metadata.clone(),
    };
    let content = descartes_protocol::Request::Spawn(content).encode();
    SpawnKey {
        client: order.client.clone(),
        request_id: order.request_id.clone(),
        fingerprint: hex(&Sha256::digest(&content)),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
