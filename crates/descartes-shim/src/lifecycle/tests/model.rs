//! What a tree goes through, told another way: as a few facts, and who waits for what.
//!
//! Written from the documentation, not from the function that it is compared with.

use super::super::{Because, Event, FREEZE_DEADLINE, KILL_DEADLINE, Moment, State};
use crate::record::EndReason;
use crate::wire::{PauseHow, Refusal};

/// Somebody who asked for something.
pub(super) type Asker = u32;

/// What one event leads to, as the tree and the askers notice it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What is done to the tree, in order.
    pub(super) acts: Vec<Act>,
    /// Who is answered, and how, by asker.
    pub(super) answers: Vec<(Asker, Answer)>,
}

/// Something that is done to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    SignalStop,
    Kill,
    Freeze,
    Thaw,
    AskPause,
    AskResume,
    Record,
}

/// What an asker hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    Paused { forced: bool },
    NotPaused(Because),
    Ended,
    Refused(Refusal),
}

/// The facts.
#[derive(Debug)]
pub(super) struct Model {
    /// The backend has a pause of its own.
    cooperative: bool,
    hold: Option<Hold>,
    end: Option<End>,
    recorded: bool,
    for_pause: Vec<Asker>,
    for_end: Vec<Asker>,
}

/// That the tree is paused, or is to be.
#[derive(Debug, Clone, Copy)]
struct Hold {
    forced: bool,
    /// When it is given up, as long as the tree moves.
    moving_until: Option<Moment>,
}

/// That the tree is to end.
#[derive(Debug, Clone, Copy)]
struct End {
    reason: EndReason,
    grace_ran_out: bool,
    gentle_until: Option<Moment>,
    killing_until: Option<Moment>,
}

impl Model {
    pub(super) fn new(cooperative: bool) -> Self {
        Self {
            cooperative,
            hold: None,
            end: None,
            recorded: false,
            for_pause: Vec::new(),
            for_end: Vec::new(),
        }
    }

    /// When time alone changes something.
    pub(super) fn due(&self) -> Option<Moment> {
        let end = self.end.iter().filter(|_| !self.recorded);
        let end = end.flat_map(|end| [end.gentle_until, end.killing_until]);
        let hold = self.hold.iter().map(|hold| hold.moving_until);
        end.chain(hold).flatten().min()
    }

    /// What the facts are called.
    pub(super) fn state(&self) -> State {
        match (&self.end, &self.hold) {
            (Some(end), _) => {
                let (reason, forced) = (end.reason, end.grace_ran_out);
                match (self.recorded, end.gentle_until, end.killing_until) {
                    (true, ..) => State::Ended { reason, forced },
                    (false, Some(until), None) => State::Stopping { reason, until },
                    (false, None, Some(until)) => State::Killing {
                        reason,
                        forced,
                        until,
                    },
                    both => panic!("gentle or not: {both:?}"),
                }
            }
            (None, Some(hold)) => match hold.moving_until {
                Some(until) => State::Freezing { until },
                None => State::Paused {
                    forced: hold.forced,
                },
            },
            (None, None) => State::Running,
        }
    }

    /// Takes an event into account, at `now`, asked for by somebody or by nobody.
    pub(super) fn happens(&mut self, event: Event, asker: Option<Asker>, now: Moment) -> Step {
        let mut step = Step::default();
        let refusal = self.refusal(event);
        if let Some(refusal) = refusal {
            answer(&mut step, asker, &Answer::Refused(refusal));
        } else if !self.recorded {
            self.allowed(event, asker, now, &mut step);
        }
        step.answers.sort_by_key(|(asker, _)| *asker);
        step
    }

    /// Why it cannot be had, whatever the time.
    fn refusal(&self, event: Event) -> Option<Refusal> {
        let wants_life = matches!(event, Event::Pause(_) | Event::Resume);
        let wants_end = matches!(event, Event::Stop { .. } | Event::Kill { .. });
        let is_paused = self
            .hold
            .as_ref()
            .is_some_and(|it| it.moving_until.is_none());
        let asks_cooperatively = event == Event::Pause(PauseHow::Cooperative);
        let rules = [
            (wants_life && self.end.is_some(), Refusal::Ending),
            (wants_end && self.recorded, Refusal::Ending),
            (
                matches!(event, Event::Pause(_)) && is_paused,
                Refusal::AlreadyPaused,
            ),
            (
                event == Event::Resume && self.hold.is_none(),
                Refusal::NotPaused,
            ),
            // Who asks while it is being paused already waits for that.
            (
                asks_cooperatively && !self.cooperative && self.hold.is_none(),
                Refusal::NoCooperativePause,
            ),
        ];
        let mut broken = rules.into_iter().filter(|(broken, _)| *broken);
        broken.next().map(|(_, refusal)| refusal)
    }

    fn allowed(&mut self, event: Event, asker: Option<Asker>, now: Moment, step: &mut Step) {
        match event {
            Event::Pause(how) => {
                self.for_pause.extend(asker);
                if self.hold.is_none() {
                    self.begin_hold(how, now, step);
                }
            }
            Event::Frozen => {
                if let Some(moving_until) = self.hold.as_mut().map(|hold| &mut hold.moving_until)
                    && moving_until.take().is_some()
                {
                    self.answer_pause(&Answer::Paused { forced: true }, step);
                }
            }
            Event::Resume => {
                self.let_go(Because::Resumed, step);
                answer(step, asker, &Answer::Done);
            }
            Event::Stop { reason, grace } => {
                self.for_end.extend(asker);
                let under_way = self.end.as_mut().and_then(|end| end.gentle_until.as_mut());
                if let Some(until) = under_way
                    && *until > now + grace
                {
                    *until = now + grace;
                }
                if self.end.is_none() {
                    step.acts.push(Act::SignalStop);
                    self.let_go(Because::Ending, step);
                    self.end = Some(End {
                        gentle_until: Some(now + grace),
                        ..End::of(reason)
                    });
                }
            }
            Event::Kill { reason } => {
                self.for_end.extend(asker);
                if self
                    .end
                    .as_ref()
                    .is_none_or(|end| end.killing_until.is_none())
                {
                    self.kill(End::of(reason), now, step);
                }
            }
            Event::LeaderEnded => {
                if self.end.is_none() {
                    self.kill(End::of(EndReason::Exited), now, step);
                }
            }
            Event::TreeEmpty => {
                self.let_go(Because::Ending, step);
                self.record(step);
            }
            Event::Unseen => {
                let killing_until = self.end.as_mut().map(|end| &mut end.killing_until);
                if let Some(Some(until)) = killing_until {
                    *until = now + KILL_DEADLINE;
                }
            }
            Event::Tick => self.time_passes(now, step),
        }
    }

    fn begin_hold(&mut self, how: PauseHow, now: Moment, step: &mut Step) {
        let forced = !self.cooperative || how == PauseHow::Forced;
        step.acts
            .push(if forced { Act::Freeze } else { Act::AskPause });
        self.hold = Some(Hold {
            forced,
            moving_until: forced.then_some(now + FREEZE_DEADLINE),
        });
        if !forced {
            self.answer_pause(&Answer::Paused { forced }, step);
        }
    }

    fn time_passes(&mut self, now: Moment, step: &mut Step) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match self.end {
            None => self.let_go(Because::Deadline, step),
            Some(end) if end.gentle_until.is_some() => {
                let end = End {
                    grace_ran_out: true,
                    ..End::of(end.reason)
                };
                self.kill(end, now, step);
            }
            // What survives SIGKILL for so long is named and given up on.
            Some(_) => self.record(step),
        }
    }

    fn kill(&mut self, end: End, now: Moment, step: &mut Step) {
        self.let_go(Because::Ending, step);
        step.acts.push(Act::Kill);
        self.end = Some(End {
            killing_until: Some(now + KILL_DEADLINE),
            ..end
        });
    }

    fn record(&mut self, step: &mut Step) {
        self.end.get_or_insert(End::of(EndReason::Exited));
        self.recorded = true;
        step.acts.push(Act::Record);
        for asker in self.for_end.drain(..) {
            answer(step, Some(asker), &Answer::Ended);
        }
    }

    fn let_go(&mut self, because: Because, step: &mut Step) {
        if let Some(hold) = self.hold.take() {
            let wake = if hold.forced {
                Act::Thaw
            } else {
                Act::AskResume
            };
            step.acts.push(wake);
            self.answer_pause(&Answer::NotPaused(because), step);
        }
    }

    fn answer_pause(&mut self, how: &Answer, step: &mut Step) {
        for asker in self.for_pause.drain(..) {
            answer(step, Some(asker), how);
        }
    }
}

impl End {
    fn of(reason: EndReason) -> Self {
        Self {
            reason,
            grace_ran_out: false,
            gentle_until: None,
            killing_until: None,
        }
    }
}

fn answer(step: &mut Step, asker: Option<Asker>, how: &Answer) {
    step.answers.extend(asker.map(|asker| (asker, how.clone())));
}
