use super::*;
use proptest::prelude::*;

mod compared;
mod model;

const GRACE: Duration = Duration::from_secs(3);

fn at(seconds: u64) -> Moment {
    Duration::from_secs(seconds)
}

fn stop() -> Event {
    Event::Stop {
        reason: EndReason::Stopped,
        grace: GRACE,
    }
}

fn kill() -> Event {
    Event::Kill {
        reason: EndReason::Killed,
    }
}

/// Feeds events that come a second apart and returns what the last one led to.
fn after(events: &[Event]) -> (Lifecycle, Vec<Effect>) {
    let mut lifecycle = Lifecycle::new(false);
    let mut effects = Vec::new();
    for (second, event) in (1..).zip(events) {
        effects = lifecycle.handle(*event, at(second));
    }
    (lifecycle, effects)
}

#[test]
fn an_agent_that_ends_by_itself_takes_its_children_along() {
    let (lifecycle, effects) = after(&[Event::LeaderEnded]);
    assert_eq!(effects, [Effect::Kill]);
    assert!(matches!(
        lifecycle.state(),
        State::Killing {
            reason: EndReason::Exited,
            forced: false,
            ..
        }
    ));
}

#[test]
fn the_rest_of_a_stopped_tree_keeps_its_grace_time_when_the_first_process_ends() {
    let (lifecycle, effects) = after(&[stop(), Event::LeaderEnded]);
    assert_eq!(effects, []);
    assert!(matches!(lifecycle.state(), State::Stopping { .. }));
}

#[test]
fn a_grace_time_that_runs_out_forces_the_end() {
    let (mut lifecycle, _) = after(&[stop()]);
    assert_eq!(lifecycle.deadline(), Some(at(4)));
    assert_eq!(lifecycle.handle(Event::Tick, at(3)), []);
    assert_eq!(lifecycle.handle(Event::Tick, at(4)), [Effect::Kill]);
    assert_eq!(lifecycle.handle(Event::TreeEmpty, at(5)), [Effect::Finish]);
    assert_eq!(
        lifecycle.state(),
        State::Ended {
            reason: EndReason::Stopped,
            forced: true
        }
    );
}

#[test]
fn a_kill_escalates_a_stop_and_a_second_stop_joins_the_first() {
    let (lifecycle, effects) = after(&[stop(), stop()]);
    assert_eq!(effects, [Effect::AwaitEnd]);
    assert_eq!(
        lifecycle.deadline(),
        Some(at(4)),
        "the grace time does not start over"
    );
    let (lifecycle, effects) = after(&[stop(), kill()]);
    assert_eq!(effects, [Effect::AwaitEnd, Effect::Kill]);
    assert!(matches!(
        lifecycle.state(),
        State::Killing {
            reason: EndReason::Killed,
            ..
        }
    ));
}

#[test]
fn a_second_stop_shortens_the_grace_time_and_is_not_its_reason() {
    let (mut lifecycle, _) = after(&[stop()]);
    let sooner = Event::Stop {
        reason: EndReason::Timeout,
        grace: Duration::from_secs(1),
    };
    assert_eq!(lifecycle.handle(sooner, at(2)), [Effect::AwaitEnd]);
    assert_eq!(lifecycle.deadline(), Some(at(3)));
    assert_eq!(lifecycle.handle(sooner, at(2) + GRACE), [Effect::AwaitEnd]);
    assert_eq!(lifecycle.deadline(), Some(at(3)));
    lifecycle.handle(Event::Tick, at(3));
    assert!(matches!(
        lifecycle.state(),
        State::Killing {
            reason: EndReason::Stopped,
            forced: true,
            ..
        }
    ));
}

#[test]
fn a_stop_that_is_cut_short_by_a_kill_did_not_run_out_of_its_grace_time() {
    let (lifecycle, _) = after(&[stop(), kill(), Event::TreeEmpty]);
    assert_eq!(
        lifecycle.state(),
        State::Ended {
            reason: EndReason::Killed,
            forced: false
        }
    );
}

#[test]
fn a_paused_tree_finds_its_stop_signal_when_it_is_thawed() {
    let (_, effects) = after(&[Event::Pause(PauseHow::Forced), Event::Frozen, stop()]);
    assert_eq!(
        effects,
        [Effect::AwaitEnd, Effect::SignalStop, Effect::Thaw]
    );
}

#[test]
fn who_waits_for_a_pause_learns_that_the_tree_is_ending() {
    let (_, effects) = after(&[Event::Pause(PauseHow::Forced), kill()]);
    assert_eq!(
        effects,
        [
            Effect::AwaitEnd,
            Effect::Thaw,
            Effect::TellNotPaused(Because::Ending),
            Effect::Kill
        ]
    );
}

#[test]
fn a_pause_that_does_not_come_in_time_is_undone() {
    let (mut lifecycle, _) = after(&[Event::Pause(PauseHow::Auto)]);
    let effects = lifecycle.handle(Event::Tick, at(1) + FREEZE_DEADLINE);
    assert_eq!(
        effects,
        [Effect::Thaw, Effect::TellNotPaused(Because::Deadline)]
    );
    assert_eq!(lifecycle.state(), State::Running);
}

#[test]
fn a_cooperative_pause_needs_a_backend_that_has_one() {
    let (_, effects) = after(&[Event::Pause(PauseHow::Cooperative)]);
    assert_eq!(effects, [Effect::Refuse(Refusal::NoCooperativePause)]);
    let mut able = Lifecycle::new(true);
    let effects = able.handle(Event::Pause(PauseHow::Auto), at(1));
    assert!(effects.contains(&Effect::AskPause));
    assert_eq!(able.state(), State::Paused { forced: false });
    assert_eq!(
        able.handle(Event::Resume, at(2)),
        [Effect::AskResume, Effect::TellDone]
    );
}

#[test]
fn what_the_state_does_not_allow_is_refused() {
    let (_, effects) = after(&[Event::Resume]);
    assert_eq!(effects, [Effect::Refuse(Refusal::NotPaused)]);
    let (_, effects) = after(&[Event::TreeEmpty, Event::Pause(PauseHow::Auto)]);
    assert_eq!(effects, [Effect::Refuse(Refusal::Ending)]);
    let (_, effects) = after(&[Event::TreeEmpty, kill()]);
    assert_eq!(effects, [Effect::Refuse(Refusal::Ending)]);
}

#[test]
fn processes_that_cannot_be_killed_are_given_up_on() {
    let (mut lifecycle, _) = after(&[kill()]);
    assert_eq!(
        lifecycle.handle(Event::Tick, at(1) + KILL_DEADLINE),
        [Effect::Finish]
    );
    assert_eq!(lifecycle.handle(Event::TreeEmpty, at(100)), []);
}

#[test]
fn what_was_killed_has_all_of_its_time_once_it_can_be_seen_again() {
    let (mut lifecycle, _) = after(&[kill()]);
    let seen_again = at(1) + KILL_DEADLINE;
    assert_eq!(lifecycle.handle(Event::Unseen, seen_again), []);
    assert_eq!(lifecycle.handle(Event::Tick, seen_again), []);
    assert_eq!(
        lifecycle.handle(Event::Tick, seen_again + KILL_DEADLINE),
        [Effect::Finish]
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::LeaderEnded),
        Just(Event::TreeEmpty),
        Just(Event::Frozen),
        Just(Event::Tick),
        Just(Event::Unseen),
        Just(Event::Resume),
        Just(Event::Pause(PauseHow::Auto)),
        Just(Event::Pause(PauseHow::Forced)),
        Just(Event::Pause(PauseHow::Cooperative)),
        (0_u64..9).prop_map(|grace| Event::Stop {
            reason: EndReason::Stopped,
            grace: Duration::from_secs(grace),
        }),
        Just(kill()),
    ]
}

proptest! {
    /// Whatever happens, in whatever order: who asks is answered exactly once, the end is
    /// recorded exactly once, and nothing that is frozen is left frozen when the end comes.
    #[test]
    fn everybody_is_answered_once_and_the_end_comes_once(
        cooperative: bool,
        events in proptest::collection::vec(any_event(), 0..60),
    ) {
        let mut lifecycle = Lifecycle::new(cooperative);
        let (mut asked, mut answered, mut waiting_for_end) = (0, 0, 0);
        let (mut waiting_for_pause, mut finished) = (0, 0);
        let mut frozen = false;
        let mut seconds = 0;
        let end = [Event::Tick, Event::TreeEmpty];
        for event in events.into_iter().chain(end) {
            seconds += 1;
            let is_request = matches!(
                event,
                Event::Pause(_) | Event::Resume | Event::Stop { .. } | Event::Kill { .. }
            );
            asked += u32::from(is_request);
            for effect in lifecycle.handle(event, at(seconds)) {
                match effect {
                    Effect::TellDone | Effect::Refuse(_) => answered += 1,
                    Effect::AwaitEnd => waiting_for_end += 1,
                    Effect::AwaitPause => waiting_for_pause += 1,
                    Effect::TellPaused { .. } | Effect::TellNotPaused(_) => {
                        answered += waiting_for_pause;
                        waiting_for_pause = 0;
                    }
                    Effect::Freeze => frozen = true,
                    Effect::Thaw => frozen = false,
                    Effect::Finish => {
                        finished += 1;
                        answered += waiting_for_end;
                        waiting_for_end = 0;
                    }
                    Effect::SignalStop | Effect::Kill | Effect::AskPause | Effect::AskResume => {}
                }
            }
        }
        prop_assert_eq!(finished, 1);
        prop_assert_eq!((waiting_for_pause, waiting_for_end), (0, 0));
        prop_assert_eq!(asked, answered);
        prop_assert!(!frozen);
        let ended = matches!(lifecycle.state(), State::Ended { .. });
        prop_assert!(ended);
    }
}
