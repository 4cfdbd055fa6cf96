//! The shim's clocks: time limits, and how often output is reported.

use std::time::Duration;

use crate::folder::Look;
use crate::lifecycle::{Moment, State};
use crate::record::{EndReason, Limits};

/// Pause between two looks at a tree that is being frozen.
pub(super) const FREEZE_INTERVAL: Duration = Duration::from_millis(2);
/// Pause between two attempts to kill a tree.
pub(super) const KILL_INTERVAL: Duration = Duration::from_millis(20);
/// After so long without a look at a tree that is being killed the shim itself stood still.
pub(super) const STANDSTILL: Duration = Duration::from_secs(2);
/// Least time between two reports of output to a server that watches it.
pub(super) const WATCHED_INTERVAL: Duration = Duration::from_millis(10);
/// Least time between two reports of output to a server that does not.
pub(super) const UNWATCHED_INTERVAL: Duration = Duration::from_secs(1);

/// How long no server is let in after one could not be.
pub(super) const DEAF_INTERVAL: Duration = Duration::from_secs(1);

/// How long the agent's first process is not looked at after it had ended and could not be reaped.
/// That it can be is told by SIGCHLD.
pub(super) const UNREAPED_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two looks at the agent's folder while no server is there to miss it.
const FOLDER_INTERVAL: Duration = Duration::from_secs(30);
/// The first pause after a loss of output, and after a look that found something missing. It doubles
/// from look to look, up to the other one.
const FOLDER_INTERVAL_DOUBTFUL: Duration = Duration::from_secs(1);
/// How long an agent may go on that no server is connected to and none could ever find.
const UNFINDABLE_MAX: Duration = Duration::from_mins(1);

/// The time limits of one agent.
#[derive(Debug)]
pub(super) struct Timers {
    max_runtime: Option<Moment>,
    idle_timeout: Option<Duration>,
    orphan_timeout: Option<Duration>,
    /// When the agent last wrote something, as far as the idle limit is concerned.
    last_output: Moment,
    paused_since: Option<Moment>,
    /// Since when no server has been connected.
    alone_since: Option<Moment>,
    folder_looked_at: Moment,
    /// Pause before the next look at the agent's folder, while something is or may be missing.
    folder_pause: Option<Duration>,
    unfindable_since: Option<Moment>,
}

impl Timers {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max_runtime: limits.max_runtime_ms.map(Duration::from_millis),
            idle_timeout: limits.idle_timeout_ms.map(Duration::from_millis),
            orphan_timeout: limits.orphan_timeout_ms.map(Duration::from_millis),
            last_output: Moment::ZERO,
            paused_since: None,
            alone_since: None,
            folder_looked_at: Moment::ZERO,
            folder_pause: None,
            unfindable_since: None,
        }
    }

    pub(super) fn output_came(&mut self, now: Moment) {
        self.last_output = now;
    }

    /// Follows the lifecycle: the idle clock stands still while the agent is paused.
    pub(super) fn follow(&mut self, state: State, now: Moment) {
        let stands_still = matches!(state, State::Freezing { .. } | State::Paused { .. });
        match (self.paused_since, stands_still) {
            (None, true) => self.paused_since = Some(now),
            (Some(since), false) => {
                // What came during the pause has set the clock back already.
                self.last_output += now.saturating_sub(since.max(self.last_output));
                self.paused_since = None;
            }
            _ => {}
        }
    }

    /// Follows the connections: the orphan clock runs while there is none.
    pub(super) fn servers(&mut self, count: usize, now: Moment) {
        match (count, self.alone_since) {
            (0, None) => self.alone_since = Some(now),
            (0, Some(_)) => {}
            _ => self.alone_since = None,
        }
    }

    /// When to look after the agent's folder. A connected server does that by itself.
    pub(super) fn folder_due(&self) -> Option<Moment> {
        if let Some(pause) = self.folder_pause {
            return Some(self.folder_looked_at + pause);
        }
        let alone_since = self.alone_since?;
        // A server that has just gone may have been the last to know of the agent.
        Some(if self.folder_looked_at < alone_since {
            alone_since
        } else {
            self.folder_looked_at + FOLDER_INTERVAL
        })
    }

    /// The agent's folder was looked at, and what is missing put back if it could be.
    pub(super) fn folder_looked_at(&mut self, look: Look, now: Moment) {
        self.folder_looked_at = now;
        self.folder_pause = match (look, self.folder_pause) {
            (Look::Whole, _) => None,
            (_, None) => Some(FOLDER_INTERVAL_DOUBTFUL),
            (_, Some(pause)) => Some((pause * 2).min(FOLDER_INTERVAL)),
        };
        self.unfindable_since = match look {
            Look::Unfindable => self.unfindable_since.or(Some(now)),
            Look::Whole | Look::Incomplete | Look::Removed => None,
        };
    }

    /// Output could not be written: perhaps because the folder is gone.
    pub(super) fn doubt_folder(&mut self) {
        self.folder_pause.get_or_insert(FOLDER_INTERVAL_DOUBTFUL);
    }

    /// The limits that can still be reached, each with the moment at which it is.
    pub(super) fn limits(&self) -> impl Iterator<Item = (Moment, EndReason)> {
        let idle = self
            .idle_timeout
            .filter(|_| self.paused_since.is_none())
            .map(|limit| self.last_output.saturating_add(limit));
        let orphan = self
            .orphan_timeout
            .zip(self.alone_since)
            .map(|(limit, since)| since.saturating_add(limit));
        let unfindable = self
            .unfindable_since
            .zip(self.alone_since)
            .map(|(unfindable, alone)| unfindable.max(alone) + UNFINDABLE_MAX);
        [
            self.max_runtime.map(|at| (at, EndReason::Timeout)),
            idle.map(|at| (at, EndReason::IdleTimeout)),
            orphan.map(|at| (at, EndReason::Orphaned)),
            unfindable.map(|at| (at, EndReason::Orphaned)),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn timers() -> Timers {
        Timers::new(&Limits {
            max_runtime_ms: None,
            idle_timeout_ms: Some(10_000),
            orphan_timeout_ms: Some(5_000),
            stop_grace_ms: 0,
            output_bytes_max: 0,
            stdin_bytes_max: 0,
        })
    }

    #[test]
    fn the_idle_clock_stands_still_while_paused() {
        let mut timers = timers();
        timers.servers(1, at(0));
        timers.output_came(at(4));
        timers.follow(State::Paused { forced: true }, at(6));
        assert_eq!(timers.limits().count(), 0);
        timers.follow(State::Running, at(106));
        let limits: Vec<_> = timers.limits().collect();
        assert_eq!(limits, [(at(114), EndReason::IdleTimeout)]);
    }

    #[test]
    fn an_agent_that_nobody_can_find_is_not_kept_for_long() {
        let mut timers = timers();
        (timers.idle_timeout, timers.orphan_timeout) = (None, None);
        timers.servers(1, at(1));
        timers.folder_looked_at(Look::Unfindable, at(2));
        assert_eq!(timers.limits().count(), 0, "a server knows of it");
        timers.servers(0, at(10));
        let limits: Vec<_> = timers.limits().collect();
        assert_eq!(limits, [(at(70), EndReason::Orphaned)]);
        timers.folder_looked_at(Look::Incomplete, at(11));
        assert_eq!(timers.limits().count(), 0);
    }

    #[test]
    fn the_folder_is_looked_after_when_the_server_goes_and_then_now_and_then() {
        let mut timers = timers();
        timers.servers(1, at(1));
        assert_eq!(timers.folder_due(), None);
        timers.servers(0, at(9));
        assert_eq!(timers.folder_due(), Some(at(9)));
        timers.folder_looked_at(Look::Whole, at(9));
        assert_eq!(timers.folder_due(), Some(at(39)));
        timers.servers(1, at(12));
        timers.doubt_folder();
        assert_eq!(timers.folder_due(), Some(at(10)));
    }

    #[test]
    fn output_during_a_pause_does_not_put_the_idle_limit_off_for_longer() {
        let mut timers = timers();
        timers.servers(1, at(0));
        timers.follow(State::Paused { forced: false }, at(10));
        timers.output_came(at(95));
        timers.follow(State::Running, at(100));
        let limits: Vec<_> = timers.limits().collect();
        assert_eq!(limits, [(at(110), EndReason::IdleTimeout)]);
    }

    #[test]
    fn the_orphan_clock_runs_only_while_no_server_is_connected() {
        let mut timers = timers();
        timers.idle_timeout = None;
        timers.servers(0, at(1));
        timers.servers(0, at(3));
        let limits: Vec<_> = timers.limits().collect();
        assert_eq!(limits, [(at(6), EndReason::Orphaned)]);
        timers.servers(1, at(4));
        assert_eq!(timers.limits().count(), 0);
    }
}
