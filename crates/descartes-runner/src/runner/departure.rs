//! The end of the runner: with its agents, or without them, and by a given moment.
//!
//! ```text
//! 0 %            up to 50 %                 up to 80 %             up to 90 %          100 %
//! ├─ no spawns ──┼─ undo those under way ───┼─ kill what is left ──┼─ leave what is ───┤
//! └─ stop agents ┴──────────────────────────┘                      left, tell clients
//! ```
//!
//! Each step ends as soon as it can. A second request to end skips the first three.

use std::time::Duration;

use descartes_shim::record::EndReason;
use descartes_shim::wire::Command;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{AgentRunner, LocalProcessRunner};
use crate::agent::AgentHandle;

/// The part of the time after which spawns that are under way are undone, in percent.
const SPAWNS_PERCENT: u32 = 50;

/// The part of the time after which agents are killed, in percent.
const GRACE_PERCENT: u32 = 80;

/// The part of the time after which killed agents are left to their shims, in percent.
const KILLED_PERCENT: u32 = 90;

/// The least that a departure takes, where it has to kill.
const TOTAL_MIN: Duration = Duration::from_secs(1);

/// How long agents may take to go once they are killed, and spawns to be undone.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// How long the runner's own tasks may take to end.
const TASKS_PATIENCE: Duration = Duration::from_secs(2);

/// Agents that one line of the log names.
const NAMED_MAX: usize = 20;

/// What becomes of running agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// They are stopped together, and killed when their part of the time is over.
    Stop,
    /// They go on without a server.
    Detach,
}

/// How long a departure may take.
#[derive(Debug, Clone)]
pub struct DepartureTime {
    /// When it was asked for.
    pub since: Instant,
    /// How long after that all is done. With less than a second agents have less to end by
    /// themselves, and the rest has until that second is over.
    pub within: Duration,
    /// Cuts it short: who is waited for is killed.
    pub hurry: CancellationToken,
}

impl DepartureTime {
    /// So much time from now on.
    #[must_use]
    pub fn starting_now(within: Duration) -> Self {
        Self {
            since: Instant::now(),
            within,
            hurry: CancellationToken::new(),
        }
    }

    /// When all has to be done.
    #[must_use]
    pub fn end(&self) -> Instant {
        self.since + self.whole()
    }

    /// Waits until a start that is under way is to be given up so that there is time to do something
    /// with the agents that it has found: as long as spawns that are under way may take.
    pub async fn wait_out_start(&self) {
        let half = self.since + self.whole() * SPAWNS_PERCENT / 100;
        self.wait_for(half, std::future::pending()).await;
    }

    fn whole(&self) -> Duration {
        self.within.max(TOTAL_MIN)
    }

    /// When patience with agents and spawns is over.
    fn at(&self, percent: u32) -> Instant {
        self.since + self.within * percent / 100
    }

    /// When what was killed by now is left alone.
    fn after_kill(&self) -> Instant {
        let last = self.since + self.whole() * KILLED_PERCENT / 100;
        last.min(Instant::now() + KILL_PATIENCE)
    }

    /// Waits for `event`, until `at` or until there is no more time. Returns whether it came.
    async fn wait_for(&self, at: Instant, event: impl Future<Output = ()>) -> bool {
        let in_time = tokio::time::timeout_at(at, event);
        matches!(self.hurry.run_until_cancelled(in_time).await, Some(Ok(())))
    }
}

impl LocalProcessRunner {
    /// Refuses every spawn from now on.
    pub fn refuse_spawns(&self) {
        self.inner.spawn_places.close();
    }

    /// Leaves: refuses new agents, lets spawns that are under way come to their end or undoes
    /// them, does with the running agents as told, and ends the runner's tasks. Returns the agents
    /// that were still running in the end.
    ///
    /// # Cancel safety
    /// When the future is dropped, what was begun goes on, and the runner's tasks do not end; the
    /// next call begins anew.
    pub async fn leave(&self, departure: Departure, time: &DepartureTime) -> Vec<AgentHandle> {
        self.refuse_spawns();
        self.inner.spawning.close();
        match departure {
            Departure::Stop => self.stop_all(time).await,
            Departure::Detach => {
                self.settle_spawns(time).await;
                let _ =
                    tokio::time::timeout_at(time.after_kill(), self.inner.spawning.wait()).await;
            }
        }
        if !self.inner.spawning.is_empty() {
            tracing::error!(
                "spawns are under way that do not end; the next start looks after them"
            );
        }
        self.name_undecided();
        let left = self.live();
        self.inner.stopping.cancel();
        self.inner.tasks.close();
        let patience = time.end().min(Instant::now() + TASKS_PATIENCE);
        let ended = tokio::time::timeout_at(patience, self.inner.tasks.wait());
        if ended.await.is_err() {
            tracing::error!(
                "tasks of the runner hang in the file system; the server goes without them"
            );
        }
        self.template().take();
        left
    }

    /// Waits until no spawn is under way. Those that take too long shall be undone, and answered.
    async fn settle_spawns(&self, time: &DepartureTime) {
        let spawning = &self.inner.spawning;
        if spawning.is_empty() {
            return;
        }
        tracing::info!(spawns = spawning.len(), "waiting for spawns under way");
        let half = time.at(SPAWNS_PERCENT);
        if time.wait_for(half, spawning.wait()).await {
            return;
        }
        tracing::warn!(spawns = spawning.len(), "undoing spawns under way");
        self.inner.giving_up.cancel();
        // One that stands still would hold up those who wait for it, and outlive the server.
        if let Some(template) = self.template().as_ref() {
            template.kill();
        }
    }

    async fn stop_all(&self, time: &DepartureTime) {
        let asked = self.live();
        self.ask_to_stop(&asked, time);
        self.settle_spawns(time).await;
        let mut late = self.live();
        late.retain(|handle| asked.iter().all(|other| other.id() != handle.id()));
        self.ask_to_stop(&late, time);
        if !time
            .wait_for(time.at(GRACE_PERCENT), self.all_ended())
            .await
        {
            tracing::warn!(
                agents = self.live().len(),
                "killing agents that have not stopped"
            );
            self.kill_all();
            let killed = async {
                self.inner.spawning.wait().await;
                // A spawn may have come to its end at the last moment.
                self.kill_all();
                self.all_ended().await;
            };
            // What becomes of it shows below.
            let _ = tokio::time::timeout_at(time.after_kill(), killed).await;
        }
        match self.live().len() {
            0 if self.undecided().is_empty() => tracing::info!("all agents have ended"),
            0 => tracing::info!("all agents that were taken on have ended"),
            left => tracing::error!(left, "agents did not go in time; their shims go on killing"),
        }
    }

    fn name_undecided(&self) {
        let undecided = self.undecided();
        if undecided.is_empty() {
            return;
        }
        let ids = undecided.iter().take(NAMED_MAX).map(ToString::to_string);
        let (count, ids) = (undecided.len(), ids.collect::<Vec<_>>().join(", "));
        tracing::warn!(
            count,
            ids,
            "agents of an earlier run were not taken on yet, and are left as they are; the next start looks after them"
        );
    }

    fn kill_all(&self) {
        for handle in self.live() {
            let reason = EndReason::ServerShutdown;
            Self::tell(&handle, Command::Kill { reason });
        }
    }

    fn ask_to_stop(&self, agents: &[AgentHandle], time: &DepartureTime) {
        if agents.is_empty() {
            return;
        }
        let left = time.at(GRACE_PERCENT).duration_since(Instant::now());
        let grace = Duration::from_secs(self.inner.config.process.stop_grace_secs).min(left);
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(agents = agents.len(), grace_ms, "stopping agents");
        for handle in agents {
            let reason = EndReason::ServerShutdown;
            let grace_ms = Some(grace_ms);
            Self::tell(handle, Command::Stop { grace_ms, reason });
        }
    }

    fn tell(handle: &AgentHandle, command: Command) {
        if let Err(error) = handle.begin(command) {
            // It has ended meanwhile, or is told again with SIGKILL.
            tracing::debug!(agent = %handle.id(), %error, "an agent was not told to end");
        }
    }

    /// Waits until no agent runs, nor is about to.
    async fn all_ended(&self) {
        self.inner.spawning.wait().await;
        for handle in self.live() {
            handle.finished().await;
        }
    }

    fn live(&self) -> Vec<AgentHandle> {
        let mut agents = self.agents(None);
        agents.retain(|handle| !handle.agent.state().is_finished());
        agents
    }
}
