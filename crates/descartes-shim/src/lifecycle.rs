//! What an agent's process tree goes through, as a pure function: no clock, no system call.
//!
//! ```text
//!            ┌── Pause ──▶ Freezing ── Frozen ──▶ Paused ──┐
//!            │                 │                     │      │
//!   Running ─┤◀──── Resume, not frozen in time ──────┘──────┘
//!      │     │
//!      │     └── Stop, a time limit ──▶ Stopping ── grace over, Kill ──┐
//!      │                                   │                            ▼
//!      ├── Kill, the first process ended ──┼───────────────────▶ Killing
//!      │                                   │                            │
//!      └── tree empty ─────────────────────┴── tree empty, given up ──▶ Ended
//! ```
//!
//! Every state answers every event. The shim's loop turns what the kernel and the server say into
//! [`Event`]s and carries out the [`Effect`]s, in order.

use std::time::Duration;

use crate::record::EndReason;
use crate::wire::{PauseHow, Refusal};

/// How long killed processes may take to go before they are named and given up on. Processes in
/// an uninterruptible sleep can hold out for as long as the device that they wait for.
pub const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// How long freezing may take before it is undone.
pub const FREEZE_DEADLINE: Duration = Duration::from_secs(5);

/// A moment, as the time since the shim started.
pub type Moment = Duration;

/// Where the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its processes run.
    Running,
    /// It was told to stand still and does not yet.
    Freezing {
        /// When to give up.
        until: Moment,
    },
    /// It stands still, or was asked to.
    Paused {
        /// Frozen, rather than asked to.
        forced: bool,
    },
    /// It was signalled to end.
    Stopping {
        /// Why.
        reason: EndReason,
        /// When to kill what is left.
        until: Moment,
    },
    /// Its processes are being killed.
    Killing {
        /// Why.
        reason: EndReason,
        /// Whether a grace time ran out before.
        forced: bool,
        /// When to give up.
        until: Moment,
    },
    /// No process is left, or none that can be killed.
    Ended {
        /// Why.
        reason: EndReason,
        /// Whether SIGKILL was needed after a grace time.
        forced: bool,
    },
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The agent's first process ended.
    LeaderEnded,
    /// No process is left.
    TreeEmpty,
    /// Everything stands still.
    Frozen,
    /// A pause was asked for.
    Pause(PauseHow),
    /// The tree shall go on.
    Resume,
    /// The tree shall end.
    Stop {
        /// Why.
        reason: EndReason,
        /// How long it may take by itself.
        grace: Duration,
    },
    /// The tree shall end at once.
    Kill {
        /// Why.
        reason: EndReason,
    },
    /// Nobody could look at the tree, or nobody did: what is left of it may not have had its time.
    Unseen,
    /// Time went on.
    Tick,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send the stop signal to the tree.
    SignalStop,
    /// Kill the tree, and go on killing until it is empty.
    Kill,
    /// Make the tree stand still, and go on until it does.
    Freeze,
    /// Let the tree go on.
    Thaw,
    /// Ask the tree to pause, by its backend's signal.
    AskPause,
    /// Ask the tree to go on.
    AskResume,
    /// Answer those who wait for a pause: it is there.
    TellPaused {
        /// Frozen, rather than asked to.
        forced: bool,
    },
    /// Answer those who wait for a pause: it will not come.
    TellNotPaused(Because),
    /// Answer the event's sender: done.
    TellDone,
    /// Answer the event's sender: not done.
    Refuse(Refusal),
    /// The event's sender waits for the end.
    AwaitEnd,
    /// The event's sender waits for the pause.
    AwaitPause,
    /// Record the end and tell everybody.
    Finish,
}

/// Why a pause did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The deadline passed.
    Deadline,
    /// The tree is ending.
    Ending,
    /// It was resumed.
    Resumed,
}

/// The state of one tree, and what its backend can do.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle {
    state: State,
    can_pause_cooperatively: bool,
}

impl Lifecycle {
    /// A tree that just started.
    #[must_use]
    pub fn new(can_pause_cooperatively: bool) -> Self {
        Self {
            state: State::Running,
            can_pause_cooperatively,
        }
    }

    /// Where the tree is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When [`Event::Tick`] is due next for the state's own deadline.
    #[must_use]
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Freezing { until }
            | State::Stopping { until, .. }
            | State::Killing { until, .. } => Some(until),
            State::Running | State::Paused { .. } | State::Ended { .. } => None,
        }
    }

    /// Takes one event into account and says what to do.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        match event {
            Event::LeaderEnded => self.leader_ended(now),
            Event::TreeEmpty => self.tree_empty(),
            Event::Frozen => self.frozen(),
            Event::Pause(how) => self.pause(how, now),
            Event::Resume => self.resume(),
            Event::Stop { reason, grace } => self.stop(reason, grace, now),
            Event::Kill { reason } => self.kill(reason, now),
            Event::Unseen => self.unseen(now),
            Event::Tick => self.tick(now),
        }
    }

    /// What the agent left behind when it ended by itself is killed at once. During a stop the
    /// rest of the tree keeps its grace time: the first process is often only a wrapper.
    fn leader_ended(&mut self, now: Moment) -> Vec<Effect> {
        match self.state {
            State::Running | State::Freezing { .. } | State::Paused { .. } => {
                let mut effects = self.abandon_pause();
                self.start_killing(EndReason::Exited, false, now);
                effects.push(Effect::Kill);
                effects
            }
            State::Stopping { .. } | State::Killing { .. } | State::Ended { .. } => Vec::new(),
        }
    }

    fn tree_empty(&mut self) -> Vec<Effect> {
        let mut effects = self.abandon_pause();
        let (reason, forced) = match self.state {
            State::Running | State::Freezing { .. } | State::Paused { .. } => {
                (EndReason::Exited, false)
            }
            State::Stopping { reason, .. } => (reason, false),
            State::Killing { reason, forced, .. } => (reason, forced),
            State::Ended { .. } => return Vec::new(),
        };
        self.state = State::Ended { reason, forced };
        effects.push(Effect::Finish);
        effects
    }

    fn frozen(&mut self) -> Vec<Effect> {
        match self.state {
            State::Freezing { .. } => {
                self.state = State::Paused { forced: true };
                vec![Effect::TellPaused { forced: true }]
            }
            _ => Vec::new(),
        }
    }

    fn pause(&mut self, how: PauseHow, now: Moment) -> Vec<Effect> {
        match self.state {
            State::Running => self.begin_pause(how, now),
            State::Freezing { .. } => vec![Effect::AwaitPause],
            State::Paused { .. } => vec![Effect::Refuse(Refusal::AlreadyPaused)],
            State::Stopping { .. } | State::Killing { .. } | State::Ended { .. } => {
                vec![Effect::Refuse(Refusal::Ending)]
            }
        }
    }

    fn begin_pause(&mut self, how: PauseHow, now: Moment) -> Vec<Effect> {
        let cooperative = match how {
            PauseHow::Forced => false,
            PauseHow::Auto => self.can_pause_cooperatively,
            PauseHow::Cooperative if self.can_pause_cooperatively => true,
            PauseHow::Cooperative => return vec![Effect::Refuse(Refusal::NoCooperativePause)],
        };
        if cooperative {
            self.state = State::Paused { forced: false };
            vec![
                Effect::AwaitPause,
                Effect::AskPause,
                Effect::TellPaused { forced: false },
            ]
        } else {
            self.state = State::Freezing {
                until: now + FREEZE_DEADLINE,
            };
            vec![Effect::AwaitPause, Effect::Freeze]
        }
    }

    fn resume(&mut self) -> Vec<Effect> {
        match self.state {
            State::Running => vec![Effect::Refuse(Refusal::NotPaused)],
            State::Freezing { .. } => {
                self.state = State::Running;
                vec![
                    Effect::Thaw,
                    Effect::TellNotPaused(Because::Resumed),
                    Effect::TellDone,
                ]
            }
            State::Paused { forced } => {
                self.state = State::Running;
                let wake = if forced {
                    Effect::Thaw
                } else {
                    Effect::AskResume
                };
                vec![wake, Effect::TellDone]
            }
            State::Stopping { .. } | State::Killing { .. } | State::Ended { .. } => {
                vec![Effect::Refuse(Refusal::Ending)]
            }
        }
    }

    /// A stop while the tree is already stopping joins the one under way. It can shorten its grace
    /// time, and never makes it longer.
    fn stop(&mut self, reason: EndReason, grace: Duration, now: Moment) -> Vec<Effect> {
        match self.state {
            State::Running | State::Freezing { .. } | State::Paused { .. } => {
                // The signal goes out first, so that a frozen tree finds it when it wakes.
                let mut effects = vec![Effect::AwaitEnd, Effect::SignalStop];
                effects.extend(self.abandon_pause());
                self.state = State::Stopping {
                    reason,
                    until: now + grace,
                };
                effects
            }
            State::Stopping { reason, until } => {
                self.state = State::Stopping {
                    reason,
                    until: until.min(now + grace),
                };
                vec![Effect::AwaitEnd]
            }
            State::Killing { .. } => vec![Effect::AwaitEnd],
            State::Ended { .. } => vec![Effect::Refuse(Refusal::Ending)],
        }
    }

    fn kill(&mut self, reason: EndReason, now: Moment) -> Vec<Effect> {
        match self.state {
            State::Running
            | State::Freezing { .. }
            | State::Paused { .. }
            | State::Stopping { .. } => {
                let mut effects = vec![Effect::AwaitEnd];
                effects.extend(self.abandon_pause());
                self.start_killing(reason, false, now);
                effects.push(Effect::Kill);
                effects
            }
            State::Killing { .. } => vec![Effect::AwaitEnd],
            State::Ended { .. } => vec![Effect::Refuse(Refusal::Ending)],
        }
    }

    /// Killed processes get all of their time to go from when they can be seen again.
    fn unseen(&mut self, now: Moment) -> Vec<Effect> {
        if let State::Killing { until, .. } = &mut self.state {
            *until = now + KILL_DEADLINE;
        }
        Vec::new()
    }

    fn tick(&mut self, now: Moment) -> Vec<Effect> {
        match self.state {
            State::Freezing { until } if now >= until => {
                self.state = State::Running;
                vec![Effect::Thaw, Effect::TellNotPaused(Because::Deadline)]
            }
            State::Stopping { reason, until } if now >= until => {
                self.start_killing(reason, true, now);
                vec![Effect::Kill]
            }
            State::Killing {
                reason,
                forced,
                until,
            } if now >= until => {
                self.state = State::Ended { reason, forced };
                vec![Effect::Finish]
            }
            _ => Vec::new(),
        }
    }

    fn start_killing(&mut self, reason: EndReason, forced: bool, now: Moment) {
        self.state = State::Killing {
            reason,
            forced,
            until: now + KILL_DEADLINE,
        };
    }

    /// Lets a paused or freezing tree go, because it is about to end.
    fn abandon_pause(&self) -> Vec<Effect> {
        match self.state {
            State::Freezing { .. } => {
                vec![Effect::Thaw, Effect::TellNotPaused(Because::Ending)]
            }
            State::Paused { forced: true } => vec![Effect::Thaw],
            State::Paused { forced: false } => vec![Effect::AskResume],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
