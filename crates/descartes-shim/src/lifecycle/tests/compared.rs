//! The lifecycle beside a model of it.

use std::mem::take;
use std::time::Duration;

use proptest::prelude::*;

use super::super::{Effect, Event, Lifecycle, Moment};
use super::model::{Act, Answer, Asker, Model, Step};
use crate::record::EndReason;
use crate::wire::PauseHow;

/// How much time goes by before an event.
#[derive(Debug, Clone, Copy)]
enum Wait {
    For(Duration),
    /// Until the next deadline; to the moment, just before or just after, in milliseconds.
    ForDeadline(i8),
}

/// The askers as the shim keeps them, and what the effects of one event came to.
#[derive(Debug, Default)]
struct Shim {
    for_pause: Vec<Asker>,
    for_end: Vec<Asker>,
}

impl Shim {
    /// Carries effects out as the shim does.
    fn carry_out(&mut self, effects: Vec<Effect>, asker: Option<Asker>) -> Step {
        let mut step = Step::default();
        for effect in effects {
            let act = act(&effect);
            let changes_pause = matches!(act, Some(Act::Thaw | Act::AskResume | Act::AskPause));
            let is_told_first = changes_pause && !step.answers.is_empty();
            assert!(!is_told_first, "somebody is answered before it is so");
            step.acts.extend(act);
            let answers = self.answers(effect, asker);
            step.answers.extend(answers);
        }
        step.answers.sort_by_key(|(asker, _)| *asker);
        step
    }

    fn answers(&mut self, effect: Effect, asker: Option<Asker>) -> Vec<(Asker, Answer)> {
        let sender = || asker.into_iter().collect();
        let (askers, answer): (Vec<Asker>, Answer) = match effect {
            Effect::TellDone => (sender(), Answer::Done),
            Effect::Refuse(refusal) => (sender(), Answer::Refused(refusal)),
            Effect::TellPaused { forced } => (take(&mut self.for_pause), Answer::Paused { forced }),
            Effect::TellNotPaused(because) => {
                (take(&mut self.for_pause), Answer::NotPaused(because))
            }
            Effect::Finish => (take(&mut self.for_end), Answer::Ended),
            other => {
                match other {
                    Effect::AwaitEnd => self.for_end.extend(asker),
                    Effect::AwaitPause => self.for_pause.extend(asker),
                    _ => {}
                }
                return Vec::new();
            }
        };
        let answers = askers.into_iter().map(|asker| (asker, answer.clone()));
        answers.collect()
    }
}

fn act(effect: &Effect) -> Option<Act> {
    match effect {
        Effect::SignalStop => Some(Act::SignalStop),
        Effect::Kill => Some(Act::Kill),
        Effect::Freeze => Some(Act::Freeze),
        Effect::Thaw => Some(Act::Thaw),
        Effect::AskPause => Some(Act::AskPause),
        Effect::AskResume => Some(Act::AskResume),
        Effect::Finish => Some(Act::Record),
        Effect::TellPaused { .. }
        | Effect::TellNotPaused(_)
        | Effect::TellDone
        | Effect::Refuse(_)
        | Effect::AwaitEnd
        | Effect::AwaitPause => None,
    }
}

fn any_reason() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        Just(EndReason::Stopped),
        Just(EndReason::Killed),
        Just(EndReason::Timeout),
        Just(EndReason::ServerShutdown),
    ]
}

/// Ends are rarer than the rest, so that a life has something in it.
fn any_event() -> impl Strategy<Value = Event> {
    let how = prop_oneof![
        Just(PauseHow::Auto),
        Just(PauseHow::Forced),
        Just(PauseHow::Cooperative),
    ];
    let stop = (any_reason(), 0_u64..20_000).prop_map(|(reason, grace_ms)| Event::Stop {
        reason,
        grace: Duration::from_millis(grace_ms),
    });
    prop_oneof![
        6 => how.prop_map(Event::Pause),
        4 => Just(Event::Resume),
        4 => Just(Event::Frozen),
        8 => Just(Event::Tick),
        2 => Just(Event::Unseen),
        2 => stop,
        1 => any_reason().prop_map(|reason| Event::Kill { reason }),
        1 => Just(Event::LeaderEnded),
        1 => Just(Event::TreeEmpty),
    ]
}

fn any_wait() -> impl Strategy<Value = Wait> {
    prop_oneof![
        3 => (0_u64..12_000).prop_map(|ms| Wait::For(Duration::from_millis(ms))),
        2 => Just(Wait::For(Duration::ZERO)),
        3 => (-1_i8..=1).prop_map(Wait::ForDeadline),
    ]
}

/// Time never goes back.
fn after(now: Moment, wait: Wait, due: Option<Moment>) -> Moment {
    let moment = match (wait, due) {
        (Wait::For(time), _) => now + time,
        (Wait::ForDeadline(_), None) => now,
        (Wait::ForDeadline(ms), Some(due)) => {
            let distance = Duration::from_millis(ms.unsigned_abs().into());
            if ms < 0 {
                due.saturating_sub(distance)
            } else {
                due + distance
            }
        }
    };
    moment.max(now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_tree_goes_through_what_the_model_says(
        cooperative: bool,
        events in proptest::collection::vec((any_wait(), any_event(), any::<bool>()), 0..60),
    ) {
        let (mut lifecycle, mut model) = (Lifecycle::new(cooperative), Model::new(cooperative));
        let mut shim = Shim::default();
        let mut now = Moment::ZERO;
        for (asker, (wait, event, by_itself)) in (0..).zip(events) {
            now = after(now, wait, model.due());
            let is_asked = matches!(
                event,
                Event::Pause(_) | Event::Resume | Event::Stop { .. } | Event::Kill { .. }
            );
            // The shim has trees resumed and stopped by itself as well.
            let asker = (is_asked && !by_itself).then_some(asker);
            let step = shim.carry_out(lifecycle.handle(event, now), asker);
            prop_assert_eq!(step, model.happens(event, asker, now), "{:?} at {:?}", event, now);
            prop_assert_eq!(lifecycle.state(), model.state());
            prop_assert_eq!(lifecycle.deadline(), model.due());
        }
    }
}
