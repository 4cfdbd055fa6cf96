//! All agents of this machine: admitted, started, adopted, listed, forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use descartes_protocol::{AgentConfig, AgentId, AgentInfo, StringMap};
use descartes_shim::cgroup::Base;
use descartes_shim::template::Template;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::agent::AgentHandle;
use crate::config::LocalRunnerConfig;
use crate::descriptors::{self, Descriptors};
use crate::error::{OpenError, SpawnError};
use crate::observer::Observer;
use crate::spawns::Spawns;
use crate::store::Store;

mod adopt;
mod blocking;
mod departure;
mod health;
mod retention;
mod spawn;

pub use departure::{Departure, DepartureTime};

/// Spawns that are worked on at once; others wait their turn. One whose program lies on a file
/// system that hangs holds its place until its time is over.
const SPAWNS_AT_ONCE: usize = 64;

/// Something that starts agents and keeps track of them.
pub trait AgentRunner: Send + Sync {
    /// Starts an agent. A request that was answered before leads to the same agent again.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing of the agent runs then.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the spawn: the agent is started, and listed as any other.
    fn spawn(&self, order: SpawnOrder) -> impl Future<Output = Result<Spawned, SpawnError>> + Send;

    /// The agent with this id, running or finished.
    fn agent(&self, id: AgentId) -> Option<AgentHandle>;

    /// Agents in the order of their ids, which is that of their age, beginning after `after`.
    fn agents(&self, after: Option<AgentId>) -> Vec<AgentHandle>;

    /// How many agents run.
    fn active_count(&self) -> usize;
}

/// What a spawn led to.
#[derive(Debug, Clone)]
pub struct Spawned {
    /// The agent.
    pub agent: AgentHandle,
    /// It as it started, however soon it has ended; for a repeated request, as it is by now.
    pub info: AgentInfo,
}

/// A request to start an agent.
#[derive(Debug, Clone)]
pub struct SpawnOrder {
    /// Who asks, where clients have keys.
    pub client: Option<String>,
    /// The request's id: with the client, the spawn's name for ever.
    pub request_id: String,
    /// What to start.
    pub config: AgentConfig,
    /// Kept with the agent.
    pub metadata: Option<StringMap>,
    /// How long it may take until the program is executed.
    pub timeout: Duration,
}

/// Runs agents as processes of this machine. Clones are handles on the same runner.
#[derive(Debug, Clone)]
pub struct LocalProcessRunner {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: LocalRunnerConfig,
    store: Store,
    spawns: Spawns,
    admission: Admission,
    cgroups: Option<Base>,
    descriptors: Descriptors,
    /// The soft limit of open files that agents get back.
    descriptors_soft: Option<u64>,
    /// Made at the first spawn, and anew when it is gone.
    template: Mutex<Option<Arc<Template>>>,
    /// Held while the template is asked for something: it answers one at a time.
    template_turn: Mutex<()>,
    agents: RwLock<BTreeMap<AgentId, AgentHandle>>,
    /// What was found in the state folder and is not taken on yet.
    undecided: Mutex<BTreeSet<AgentId>>,
    observer: Arc<dyn Observer>,
    /// Closed from the beginning of a shutdown on.
    spawn_places: Semaphore,
    /// Spawns that are under way.
    spawning: TaskTracker,
    /// Those that still are shall be undone.
    giving_up: CancellationToken,
    /// An agent has ended: there may be one to forget.
    ended: Notify,
    /// Ends the runner's own tasks; each of them holds the runner, and with it the state folder.
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl LocalProcessRunner {
    /// Takes the state folder and all agents in it: those that still run are connected to, those
    /// that ended are listed, those whose shims died are recorded as lost.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(
        config: LocalRunnerConfig,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, OpenError> {
        Self::open_until(config, observer, std::future::pending()).await
    }

    /// As [`LocalProcessRunner::open`], but takes on no more agents once `given_up` comes. A runner
    /// that was given up is there to [leave](LocalProcessRunner::leave).
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::GivenUp`] where it did not come to have the folder.
    ///
    /// # Cancel safety
    /// Dropping the future is like a crash: agents that were taken on go on without a server.
    pub async fn open_until(
        config: LocalRunnerConfig,
        observer: Arc<dyn Observer>,
        given_up: impl Future<Output = ()> + Send,
    ) -> Result<Self, OpenError> {
        let mut given_up = pin!(given_up);
        let limit = config
            .process
            .max_concurrent_agents
            .map_or(config.max_agents, |most| most.min(config.max_agents));
        let may_open = descriptors::raise_limit();
        let descriptors = Descriptors::new(may_open.own);
        if limit > descriptors.agents() {
            tracing::warn!(
                max_agents = limit,
                possible = descriptors.agents(),
                open_files = may_open.own,
                "the limit of open files is too low for max_agents; raise it (LimitNOFILE=, ulimit -n)"
            );
        }
        let opening = config.clone();
        let files = blocking::blocking(move || open_files(&opening));
        let (store, spawns, cgroups) = tokio::select! {
            files = files => files??,
            () = &mut given_up => return Err(OpenError::GivenUp),
        };
        let runner = Self {
            inner: Arc::new(Inner {
                admission: Admission::new(limit),
                descriptors,
                descriptors_soft: may_open.agents_soft,
                template: Mutex::new(None),
                template_turn: Mutex::new(()),
                agents: RwLock::default(),
                undecided: Mutex::default(),
                spawn_places: Semaphore::new(SPAWNS_AT_ONCE),
                spawning: TaskTracker::new(),
                giving_up: CancellationToken::new(),
                ended: Notify::new(),
                stopping: CancellationToken::new(),
                tasks: TaskTracker::new(),
                config,
                store,
                spawns,
                cgroups,
                observer,
            }),
        };
        let abandoned = runner.abandon_on_drop();
        tokio::select! {
            adopted = runner.adopt_all() => adopted?,
            () = given_up => tracing::warn!("gave up looking for the agents of an earlier run"),
        }
        runner.start_housekeeping();
        abandoned.disarm();
        Ok(runner)
    }

    /// Ends the runner's tasks when the result is dropped: agents go on without a server, as after
    /// a crash.
    #[must_use]
    pub fn abandon_on_drop(&self) -> DropGuard {
        self.inner.stopping.clone().drop_guard()
    }

    fn start_housekeeping(&self) {
        self.inner
            .tasks
            .spawn(retention::sweep_regularly(self.clone()));
        if self.inner.config.process.enable_health_checks {
            self.inner
                .tasks
                .spawn(health::check_regularly(self.clone()));
        }
    }

    fn register(&self, handle: &AgentHandle) {
        self.register_and_then(handle, || ());
    }

    /// Whoever finds the agent finds that done as well.
    fn register_and_then(&self, handle: &AgentHandle, act: impl FnOnce()) {
        let mut agents = self
            .inner
            .agents
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        agents.insert(handle.id(), handle.clone());
        act();
    }

    fn undecided(&self) -> MutexGuard<'_, BTreeSet<AgentId>> {
        let undecided = self.inner.undecided.lock();
        undecided.unwrap_or_else(PoisonError::into_inner)
    }

    /// How many agents there are, running and finished.
    #[must_use]
    pub fn len(&self) -> usize {
        let agents = self
            .inner
            .agents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        agents.len()
    }

    /// Whether there is no agent, running or finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether agents may be started: not any more once the server shuts down.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        !self.inner.spawn_places.is_closed()
    }
}

impl AgentRunner for LocalProcessRunner {
    async fn spawn(&self, order: SpawnOrder) -> Result<Spawned, SpawnError> {
        self.spawn_or_find(order).await
    }

    fn agent(&self, id: AgentId) -> Option<AgentHandle> {
        let agents = self
            .inner
            .agents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        agents.get(&id).cloned()
    }

    fn agents(&self, after: Option<AgentId>) -> Vec<AgentHandle> {
        use std::ops::Bound;
        let agents = self
            .inner
            .agents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        agents
            .range((from, Bound::Unbounded))
            .map(|(_, handle)| handle.clone())
            .collect()
    }

    fn active_count(&self) -> usize {
        let agents = self
            .inner
            .agents
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        agents
            .values()
            .filter(|handle| !handle.agent.state().is_finished())
            .count()
    }
}

fn open_files(config: &LocalRunnerConfig) -> Result<(Store, Spawns, Option<Base>), OpenError> {
    let store = Store::open(&config.state_dir)?;
    let journal = store.journal_path();
    let keep_damaged = |reason: &str| keep_journal(&store, reason);
    let spawns =
        Spawns::load(journal.clone(), keep_damaged).map_err(|source| OpenError::Storage {
            action: "read",
            path: journal,
            source,
        })?;
    let cgroups = if config.process.use_cgroups {
        match Base::detect() {
            Ok(base) => {
                let limits = crate::prepare::controllers(&base).join(", ");
                tracing::info!(path = %base.path().display(), %limits, "agents get cgroups of their own");
                Some(base)
            }
            Err(reason) => {
                tracing::info!(%reason, "agents get no cgroups; their processes are found by descent");
                None
            }
        }
    } else {
        None
    };
    Ok((store, spawns, cgroups))
}

fn keep_journal(store: &Store, reason: &str) -> io::Result<()> {
    match store.keep_damaged_journal(reason) {
        Ok(path) => {
            let path = path.display();
            tracing::error!(%path, %reason, "kept a copy of the damaged journal of spawns: the requests that are missing in it are forgotten");
            Ok(())
        }
        Err(error) => {
            tracing::error!(%reason, %error, "failed to keep a copy of the damaged journal of spawns");
            Err(error)
        }
    }
}
