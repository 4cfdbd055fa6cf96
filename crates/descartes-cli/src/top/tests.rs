use std::time::{Duration, Instant};

use descartes_client::OutputChunk;
use descartes_client::protocol::{
    AgentId, AgentInfo, AgentStatus, EndReason, OutputSizes, Timestamp,
};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Cell;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::keys::{KEYS, Wish};
use super::log::Log;
use super::state::{Column, Deed, Ended, Mode, State};
use super::view;
use crate::sort::Sort;

mod logs;

/// Whatever began then has run for no time yet.
const YET_TO_COME: Timestamp = Timestamp {
    secs_since_epoch: 10_000_000_000,
    nanos_since_epoch: 0,
};

/// The agent that was started as the `number`th.
fn id(number: usize) -> AgentId {
    let text = format!("{number:08x}-0000-7000-8000-000000000000");
    text.parse().unwrap()
}

fn agent(number: usize) -> AgentInfo {
    let (status, end_reason, exit_code) = match number % 5 {
        0 | 1 => (AgentStatus::Running, None, None),
        2 => (AgentStatus::Thinking, None, None),
        3 => (AgentStatus::Paused, None, None),
        _ => (AgentStatus::Failed, Some(EndReason::Exited), Some(7)),
    };
    let ended = status.is_final().then_some(Timestamp {
        secs_since_epoch: 1000 + number as u64,
        nanos_since_epoch: 0,
    });
    AgentInfo {
        id: id(number),
        name: format!("fixer-{number}"),
        status,
        model_backend: if number.is_multiple_of(2) {
            "claude"
        } else {
            "sh"
        }
        .to_owned(),
        started_at: YET_TO_COME,
        task: format!("fix issue {number}"),
        paused_at: None,
        pause_mode: None,
        attach_info: None,
        server_id: "build".to_owned(),
        pid: Some(1),
        exit_code,
        exit_signal: None,
        end_reason,
        finished_at: ended,
        metadata: None,
        labels: None,
        session_id: None,
        model: None,
        usage: None,
        result: None,
        output: OutputSizes {
            stdout_bytes: number as u64 * 1234,
            ..OutputSizes::default()
        },
        agent_sequence: 1,
    }
}

fn state(agents: usize) -> State {
    let mut state = State::new(
        "tcp://build:5555".to_owned(),
        Column::By(Sort::Started),
        Ended::Hidden,
        String::new(),
    );
    state.listed((0..agents).map(agent).collect(), Instant::now());
    state
}

fn press(state: &mut State, code: KeyCode) -> Wish {
    state.key(KeyEvent::new(code, KeyModifiers::NONE))
}

fn write(state: &mut State, text: &str) {
    for char in text.chars() {
        press(state, KeyCode::Char(char));
    }
}

fn names(state: &State) -> Vec<&str> {
    state.shown().map(|row| row.info.name.as_str()).collect()
}

fn selected(state: &State) -> &str {
    &state.selected().unwrap().info.name
}

/// The screen as text.
fn screen(state: &mut State, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| view::draw(frame, state)).unwrap();
    let buffer = terminal.backend().buffer();
    let lines = buffer.content.chunks(width.into()).map(|cells| {
        let line: String = cells.iter().map(Cell::symbol).collect();
        line.trim_end().to_owned()
    });
    lines.collect::<Vec<String>>().join("\n")
}

fn chunk(offset: u64, data: &str) -> OutputChunk {
    OutputChunk {
        offset,
        data: data.to_owned().into(),
        ..OutputChunk::default()
    }
}

fn grown(mut info: AgentInfo, bytes: u64) -> AgentInfo {
    info.output.stdout_bytes += bytes;
    info
}

#[test]
fn five_hundred_agents_at_80_by_24() {
    let mut state = state(500);
    state.last_line(id(0), "Running the tests again.".to_owned());
    insta::assert_snapshot!(screen(&mut state, 80, 24));
}

#[test]
fn five_hundred_agents_at_200_by_60() {
    let mut state = state(500);
    state.last_line(id(1), "compiling …".to_owned());
    press(&mut state, KeyCode::Char('a'));
    insta::assert_snapshot!(screen(&mut state, 200, 60));
}

#[test]
fn no_screen_is_too_small() {
    let mut state = state(7);
    for mode in [
        Mode::Table,
        Mode::Help(0),
        Mode::Log(Log::new(id(0))),
        Mode::Filter,
    ] {
        state.mode = mode;
        for (width, height) in [(1, 1), (3, 2), (10, 3), (80, 1), (1, 24)] {
            screen(&mut state, width, height);
        }
    }
}

#[test]
fn the_selection_follows_its_agent_and_the_screen_follows_the_selection() {
    let mut state = state(500);
    screen(&mut state, 80, 24);
    press(&mut state, KeyCode::PageDown);
    press(&mut state, KeyCode::Down);
    let chosen = selected(&state).to_owned();
    press(&mut state, KeyCode::Char('O'));
    assert_eq!(selected(&state), chosen);
    assert!(screen(&mut state, 80, 24).contains(&chosen));
    press(&mut state, KeyCode::End);
    assert_eq!(selected(&state), "fixer-0");
    assert!(screen(&mut state, 80, 24).contains("fixer-0 "));
    press(&mut state, KeyCode::Home);
    press(&mut state, KeyCode::Up);
    assert_eq!(selected(&state), *names(&state).first().unwrap());
}

#[test]
fn who_goes_leaves_the_selection_to_the_next() {
    let mut state = state(3);
    press(&mut state, KeyCode::Down);
    assert_eq!(selected(&state), "fixer-1");
    state.listed(vec![agent(0), agent(2)], Instant::now());
    assert_eq!(selected(&state), "fixer-2");
    state.listed(Vec::new(), Instant::now());
    assert!(state.selected().is_none());
    assert_eq!(press(&mut state, KeyCode::Char('k')), Wish::Nothing);
    assert!(screen(&mut state, 80, 24).contains("there are no agents"));
}

#[test]
fn a_filter_is_typed_kept_and_cleared() {
    let mut state = state(20);
    write(&mut state, "/FIXER-1");
    assert_eq!(names(&state)[0], "fixer-1");
    assert_eq!(names(&state).len(), 9, "ended agents are not shown");
    // Keys are text meanwhile.
    press(&mut state, KeyCode::Backspace);
    write(&mut state, "q");
    assert_eq!(names(&state).len(), 0);
    assert!(screen(&mut state, 80, 24).contains("no agent contains that"));
    press(&mut state, KeyCode::Backspace);
    press(&mut state, KeyCode::Enter);
    assert!(matches!(state.mode, Mode::Table));
    assert_eq!(names(&state).len(), 16);
    press(&mut state, KeyCode::Esc);
    assert_eq!(state.filter, "");
}

#[test]
fn agents_that_have_ended_are_shown_when_they_are_asked_for() {
    let mut state = state(5);
    assert_eq!(names(&state).len(), 4);
    press(&mut state, KeyCode::Char('a'));
    assert_eq!(names(&state).len(), 5);
    press(&mut state, KeyCode::End);
    assert_eq!(selected(&state), "fixer-4");
    assert_eq!(press(&mut state, KeyCode::Char('p')), Wish::Nothing);
    assert!(screen(&mut state, 80, 24).contains("fixer-4 has ended already"));
    assert!(screen(&mut state, 200, 24).contains("failed (7)"));
}

#[test]
fn a_stop_is_asked_first_and_a_pause_is_not() {
    let mut state = state(1);
    let all = Wish::Do(Deed::Pause, id(0));
    assert_eq!(press(&mut state, KeyCode::Char('p')), all);
    assert_eq!(press(&mut state, KeyCode::Char('s')), Wish::Nothing);
    assert!(screen(&mut state, 80, 24).contains("stop fixer-0? [y/n]"));
    assert_eq!(press(&mut state, KeyCode::Char('x')), Wish::Nothing);
    assert!(screen(&mut state, 80, 24).contains("nothing was done"));
    press(&mut state, KeyCode::Char('k'));
    let killed = Wish::Do(Deed::Kill, id(0));
    assert_eq!(press(&mut state, KeyCode::Char('y')), killed);
}

#[test]
fn columns_sort_the_list_one_after_the_other() {
    let mut state = state(12);
    let now = Instant::now();
    for (seconds, bytes) in [(2, 0), (4, 5000)] {
        let agents = (0..12).map(|number| match number {
            5 => grown(agent(5), bytes),
            _ => agent(number),
        });
        let agents: Vec<AgentInfo> = agents.collect();
        state.listed(agents, now + Duration::from_secs(seconds));
    }
    let mut tops = Vec::new();
    for _ in 0..7 {
        press(&mut state, KeyCode::Char('o'));
        tops.push((state.column, names(&state)[0].to_owned()));
    }
    assert_eq!(tops[0], (Column::By(Sort::Name), "fixer-0".to_owned()));
    assert_eq!(tops[1], (Column::By(Sort::Status), "fixer-3".to_owned()));
    assert_eq!(tops[4], (Column::By(Sort::Output), "fixer-11".to_owned()));
    assert_eq!(tops[5], (Column::Rate, "fixer-5".to_owned()));
    assert_eq!(tops[6].0, Column::By(Sort::Started));
    assert!(screen(&mut state, 80, 24).contains("2.5 kB/s"));
}

#[test]
fn keys_that_end_it_or_leave_it_do_so_whatever_is_shown() {
    let mut state = state(1);
    for mode in [Mode::Table, Mode::Filter, Mode::Help(0)] {
        state.mode = mode;
        let control = |char| KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL);
        assert_eq!(state.key(control('c')), Wish::Interrupt);
        assert_eq!(state.key(control('z')), Wish::Suspend);
        assert_eq!(state.key(control('l')), Wish::Redraw);
    }
    state.mode = Mode::Log(Log::new(id(0)));
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Nothing);
    assert_eq!(press(&mut state, KeyCode::Char('q')), Wish::Quit);
}

#[test]
fn a_lost_connection_is_told() {
    let mut state = state(1);
    state.lost = Some("connection refused".to_owned());
    let text = screen(&mut state, 80, 24);
    assert!(
        text.contains("no connection") && text.contains("fixer-0"),
        "{text}"
    );
}

#[test]
fn all_keys_can_be_seen_on_a_small_screen() {
    let mut state = state(1);
    press(&mut state, KeyCode::Char('?'));
    let mut seen = screen(&mut state, 80, 14);
    assert!(seen.contains("more"), "{seen}");
    for _ in 0..20 {
        press(&mut state, KeyCode::Down);
        seen.push_str(&screen(&mut state, 80, 14));
    }
    for (_, what) in KEYS {
        // The keys at the bottom have one blank before what they do.
        assert!(seen.contains(&format!("  {what}")), "{what}");
    }
    // Of those that were too many nothing is left to go back.
    press(&mut state, KeyCode::Up);
    assert!(!screen(&mut state, 80, 14).contains("  quit"));
    press(&mut state, KeyCode::Esc);
    assert!(matches!(state.mode, Mode::Table));
}

#[test]
fn a_server_that_does_not_answer_is_told() {
    let mut state = state(1);
    let answered = Instant::now();
    state.listed(vec![agent(0)], answered);
    assert_eq!(state.silence(answered + Duration::from_secs(4)), None);
    let silence = Duration::from_secs(14);
    assert_eq!(state.silence(answered + silence), Some(silence));
    state.listed(vec![agent(0)], answered + silence);
    assert_eq!(state.silence(answered + silence), None);
}
