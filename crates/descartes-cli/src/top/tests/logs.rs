//! Output as lines.

use descartes_client::protocol::Stream;
use ratatui::crossterm::event::KeyCode;

use super::super::log::{Log, last_line};
use super::super::state::Mode;
use super::{chunk, id, press, screen, state};

#[test]
fn a_log_follows_until_somebody_scrolls_and_keeps_what_is_read_in_its_place() {
    let mut state = state(1);
    let mut log = Log::new(id(0));
    let lines = |range: std::ops::Range<usize>| {
        let lines: Vec<String> = range.map(|number| format!("line {number}\n")).collect();
        lines.concat()
    };
    log.feed(Stream::Stdout, &chunk(0, &lines(0..100)));
    state.mode = Mode::Log(log);
    assert!(screen(&mut state, 80, 24).contains("line 99\n"));
    press(&mut state, KeyCode::PageUp);
    let before = screen(&mut state, 80, 24);
    assert!(
        before.contains("line 79\n") && !before.contains("line 80\n"),
        "{before}"
    );
    let Mode::Log(log) = &mut state.mode else {
        panic!("the log was left");
    };
    log.feed(Stream::Stdout, &chunk(1000, &lines(100..110)));
    let after = screen(&mut state, 80, 24);
    let shown = |text: &str| text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(shown(&before), shown(&after));
    press(&mut state, KeyCode::Home);
    assert!(screen(&mut state, 80, 24).contains("line 0\n"));
    press(&mut state, KeyCode::End);
    assert!(screen(&mut state, 80, 24).contains("line 109\n"));
}

#[test]
fn a_log_is_bounded_and_begins_with_a_whole_line() {
    let mut log = Log::new(id(0));
    log.resize(10_000);
    log.feed(Stream::Stdout, &chunk(500, "of a line\nwhole\n"));
    let first = log.on_screen().next().unwrap();
    assert_eq!(first.text, "whole");
    assert!(log.has_more_before());
    for number in 0..5000 {
        log.feed(Stream::Stdout, &chunk(1000, &format!("{number}\n")));
    }
    log.feed(Stream::Stdout, &chunk(9000, &"x".repeat(3 << 20)));
    let shown: Vec<_> = log.on_screen().collect();
    assert_eq!(shown.len(), 2001);
    assert!(shown.iter().all(|line| line.text.len() <= 4096));
}

#[test]
fn of_a_line_that_is_longer_than_what_was_read_a_log_has_the_end() {
    let mut log = Log::new(id(0));
    log.feed(Stream::Stdout, &chunk(500, "without an end"));
    log.feed(Stream::Stderr, &chunk(500, "of an event\"}"));
    let shown: Vec<_> = log.on_screen().map(|line| line.text).collect();
    assert_eq!(shown, ["…without an end"]);
    assert!(log.has_more_before());
}

#[test]
fn a_line_that_is_written_over_shows_what_it_became() {
    let mut log = Log::new(id(0));
    log.resize(10);
    // Together more than is kept of a line.
    for step in 0..200 {
        let bar = "#".repeat(10_000);
        log.feed(
            Stream::Stderr,
            &chunk(0, &format!("{bar}\r{step} of many\r")),
        );
    }
    log.feed(Stream::Stdout, &chunk(0, "of DOS\r"));
    log.feed(Stream::Stdout, &chunk(0, "\r"));
    log.feed(Stream::Stdout, &chunk(0, "\n"));
    let shown: Vec<_> = log.on_screen().map(|line| line.text).collect();
    assert_eq!(shown, ["of DOS", "199 of many"]);
}

#[test]
fn the_last_line_is_the_last_that_says_something() {
    let of = |stream, text: &str| last_line(stream, &chunk(0, text));
    assert_eq!(of(Stream::Stdout, "one\ntwo\n\n  \n"), "two");
    assert_eq!(of(Stream::Stdout, "a\x1b[2J\x1b]0;title\x07b\x07"), "ab");
    assert_eq!(of(Stream::Stdout, "done\n\rstep 1\rstep 2\r"), "step 2");
    assert_eq!(
        of(Stream::Stdout, "in a file of DOS\r\n"),
        "in a file of DOS"
    );
    let event = r#"{"type":"item.completed","item":{"type":"agent_message","text":"Done.\nAll."}}"#;
    assert_eq!(of(Stream::Stdout, event), "All.");
    let silent = "said\n{\"type\":\"turn.completed\"}\n";
    assert_eq!(of(Stream::Stdout, silent), "said");
    assert_eq!(of(Stream::Stderr, ""), "");
    // Of an event that is longer than what was read there is only the end.
    assert_eq!(last_line(Stream::Stdout, &chunk(9, "text\"}}\n")), "");
    assert_eq!(
        last_line(Stream::Stdout, &chunk(9, "text\"}}\nthen")),
        "then"
    );
    let long = "é".repeat(40_000);
    let end = last_line(Stream::Stdout, &chunk(9, &long));
    assert!(end.starts_with("…é") && end.ends_with('é'), "{end}");
    // And of one that is still being written, the beginning.
    let half = &event[..event.len() - 9];
    assert_eq!(of(Stream::Stdout, &format!("said\n{half}")), "said");
    assert_eq!(of(Stream::Stdout, half), "");
    assert_eq!(of(Stream::Stdout, r#"{"a":1}"#), r#"{"a":1}"#);
}
