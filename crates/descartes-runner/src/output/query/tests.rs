use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::*;

mod compared;

/// A length that nothing gets through within the deadlines here.
const ENDLESS: u64 = 1 << 36;

const LINE_BYTES_MAX: usize = SIZES.line;

fn agent(stdout: &[u8]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("stdout")).unwrap();
    std::fs::write(stdout_of(&dir), stdout).unwrap();
    dir
}

fn stdout_of(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("stdout").join(segments::name(0))
}

/// An agent whose output has a hole, which reads as zeros.
fn agent_with_hole(before: &[u8], after: &[u8]) -> tempfile::TempDir {
    let dir = agent(before);
    let file = File::options().write(true).open(stdout_of(&dir)).unwrap();
    file.write_all_at(after, ENDLESS).unwrap();
    file.set_len(ENDLESS + after.len() as u64).unwrap();
    dir
}

fn all_lines() -> LineQuery {
    let deadline = Instant::now() + Duration::from_mins(10);
    LineQuery {
        streams: vec![Stream::Stdout],
        filter: None,
        offset: 0,
        limit: u64::MAX,
        tail: false,
        bytes_max: 8 * 1024 * 1024,
        from: None,
        deadline,
        rest: Rest::Counted(deadline),
    }
}

fn lines_of(stdout: &[u8], set: impl FnOnce(&mut LineQuery)) -> Result<Lines, QueryError> {
    lines_in(&agent(stdout), set)
}

fn lines_in(
    dir: &tempfile::TempDir,
    set: impl FnOnce(&mut LineQuery),
) -> Result<Lines, QueryError> {
    let mut wanted = all_lines();
    set(&mut wanted);
    query(dir.path(), &wanted)
}

/// Bytes of which each is `a` or `b`, without a pattern that a DFA could learn.
pub(super) fn dice(count: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut throw = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005) + 1;
        if state >> 63 == 0 { b'a' } else { b'b' }
    };
    (0..count).map(|_| throw()).collect()
}

#[test]
fn limit_and_offset_count_matching_lines() {
    let found = lines_of(b"a1\nb\na2\nb\na3\na4", |query| {
        query.filter = Some("^a".to_owned());
        query.offset = 1;
        query.limit = 2;
    })
    .unwrap();
    assert_eq!(found.lines, ["a2", "a3"]);
    assert_eq!((found.total, found.has_more), (Some(4), true));
}

#[test]
fn the_tail_is_the_last_lines_in_order() {
    let found = lines_of(b"1\n2\n3\n4\n", |query| {
        query.tail = true;
        query.limit = 2;
    })
    .unwrap();
    assert_eq!(found.lines, ["3", "4"]);
    assert!(found.has_more);
}

#[test]
fn bytes_that_are_no_text_and_lines_without_end_are_given_all_the_same() {
    let mut stdout = b"\xff\xfe\r\n".to_vec();
    stdout.extend(vec![b'x'; LINE_BYTES_MAX + 10]);
    for tail in [false, true] {
        let found = lines_of(&stdout, |query| query.tail = tail).unwrap();
        assert_eq!(found.lines[0], "\u{fffd}\u{fffd}");
        assert_eq!(found.lines[1].len(), LINE_BYTES_MAX);
        assert_eq!(found.lines[2], "x".repeat(10));
        assert_eq!((found.total, found.has_more), (Some(3), false));
    }
}

#[test]
fn the_first_lines_and_the_last_are_found_without_a_look_at_the_rest() {
    let dir = agent_with_hole(b"one\ntwo\n", b"\nthree\nfour\n");
    for (tail, lines) in [(false, ["one", "two"]), (true, ["three", "four"])] {
        let found = lines_in(&dir, |query| {
            query.tail = tail;
            query.limit = 2;
            query.rest = Rest::Glanced;
        })
        .unwrap();
        assert_eq!(found.lines, lines);
        assert_eq!((found.total, found.has_more), (None, true));
    }
}

#[test]
fn no_time_to_count_costs_only_the_count() {
    let dir = agent_with_hole(b"one\ntwo\n", b"\nthree\nfour\n");
    for tail in [false, true] {
        let found = lines_in(&dir, |query| {
            query.tail = tail;
            query.limit = 1;
            query.filter = Some("^[a-z]+$".to_owned());
            query.rest = Rest::Counted(Instant::now() + Duration::from_millis(50));
        })
        .unwrap();
        assert_eq!(found.lines, [if tail { "four" } else { "one" }]);
        assert_eq!((found.total, found.has_more), (None, true));
    }
}

#[test]
fn where_nothing_is_left_to_count_the_count_is_known() {
    for tail in [false, true] {
        let found = lines_of(b"1\n2\n", |query| {
            query.tail = tail;
            query.limit = 2;
            query.rest = Rest::Glanced;
        })
        .unwrap();
        assert_eq!((found.total, found.has_more), (Some(2), false));
    }
}

#[test]
fn a_search_ends_at_its_deadline() {
    let dir = agent_with_hole(b"", b"\n");
    let filters = [None, Some("a".to_owned()), Some(r"\ba".to_owned())];
    for filter in filters {
        for (tail, offset) in [(false, 1_000_000), (true, 1_000_000), (true, 0)] {
            let found = lines_in(&dir, |query| {
                (query.filter, query.tail) = (filter.clone(), tail);
                query.offset = offset;
                query.deadline = Instant::now() + Duration::from_millis(50);
            });
            assert!(matches!(found, Err(QueryError::TimedOut)), "{found:?}");
        }
    }
    let found = lines_of(b"a\n", |query| query.deadline = Instant::now());
    assert!(matches!(found, Err(QueryError::TimedOut)), "{found:?}");
}

#[test]
fn a_search_that_can_be_gone_on_with_returns_at_its_deadline_what_it_has() {
    let dir = agent_with_hole(b"a\nb\na\n", b"\n");
    let mut patience = Duration::from_millis(50);
    let found = loop {
        let found = lines_in(&dir, |query| {
            (query.filter, query.from) = (Some("a".to_owned()), Some(2));
            query.deadline = Instant::now() + patience;
        });
        match found {
            // It came nowhere.
            Err(QueryError::TimedOut) => patience *= 2,
            found => break found.unwrap(),
        }
    };
    assert_eq!(found.lines, ["a"]);
    assert_eq!((found.total, found.has_more), (None, true));
    let reached = found.reached.unwrap();
    // Pieces of the line of zeros that follows may have been looked at.
    assert_eq!(
        ((reached.offset - 6) % LINE_BYTES_MAX as u64, reached.lost),
        (0, 0)
    );
    // One that came nowhere has nothing to go on from.
    let found = lines_in(&dir, |query| {
        (query.from, query.deadline) = (Some(6), Instant::now());
    });
    assert!(matches!(found, Err(QueryError::TimedOut)), "{found:?}");
}

#[test]
fn what_is_gone_is_told_before_the_lines_that_are_found_beyond_it() {
    let dir = agent(b"a\nb\n");
    let next = dir.path().join("stdout").join(segments::name(10));
    std::fs::write(next, "c\n").unwrap();
    for (tail, from, pages) in [
        (false, 0, [(4, 0, &["a", "b"][..]), (12, 6, &["c"])]),
        (true, u64::MAX, [(10, 0, &["c"][..]), (0, 6, &["a", "b"])]),
    ] {
        let mut from = from;
        for (index, (offset, lost, lines)) in pages.into_iter().enumerate() {
            let found = lines_in(&dir, |query| {
                (query.tail, query.from) = (tail, Some(from));
            })
            .unwrap();
            assert_eq!(found.lines, lines);
            assert_eq!(found.reached, Some(Reached { offset, lost }));
            assert_eq!(found.has_more, index == 0);
            from = offset;
        }
    }
}

#[test]
fn what_is_removed_of_a_line_while_it_is_gone_back_through_is_no_line() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(segments::name(10)), "xxxxxxxx").unwrap();
    let mut wanted = all_lines();
    (wanted.filter, wanted.tail, wanted.from) = (Some("^$".to_owned()), true, Some(18));
    let mut search = Search::new(&wanted, Sizes { line: 4, block: 4 }).unwrap();
    // Its beginning was found at 0, and is there no more.
    assert_eq!(
        search.take_line_back(dir.path(), 0..18).unwrap(),
        (10, None)
    );
    assert_eq!((search.reached.offset, search.matching), (10, 0));
    assert_eq!(search.take_line_back(dir.path(), 0..8).unwrap(), (8, None));
    assert_eq!((search.reached.offset, search.matching), (10, 0));
}

#[test]
fn a_line_of_many_pieces_is_cut_from_its_beginning() {
    let mut stdout = b"first\n".to_vec();
    let line = dice(5 * LINE_BYTES_MAX / 2);
    stdout.extend(&line);
    stdout.extend(b"\nlast\n");
    let found = lines_of(&stdout, |query| {
        query.tail = true;
        query.limit = 3;
    })
    .unwrap();
    assert_eq!(
        found.lines[0].as_bytes(),
        &line[LINE_BYTES_MAX..][..LINE_BYTES_MAX]
    );
    assert_eq!(found.lines[1].as_bytes(), &line[2 * LINE_BYTES_MAX..]);
    assert_eq!(found.lines[2], "last");
    assert_eq!((found.total, found.has_more), (Some(5), true));
}

#[test]
fn an_expression_that_is_too_large_for_a_long_line_is_refused_there_and_nowhere_else() {
    let filter = r"^abc$|\ba[ab]{3000}c";
    let mut long = "é".as_bytes().to_vec();
    long.extend(dice(LINE_BYTES_MAX - 2));
    let refused = lines_of(&long, |query| query.filter = Some(filter.to_owned())).unwrap_err();
    let is_expected = matches!(
        refused,
        QueryError::Filter(FilterError::TooLargeForLine {
            bytes: LINE_BYTES_MAX
        })
    );
    assert!(is_expected, "{refused:?}");
    // What was found before does not suffer.
    for (tail, stdout) in [
        (false, [b"abc\n", &long[..]].concat()),
        (true, [&long[..], b"\nabc"].concat()),
    ] {
        let found = lines_of(&stdout, |query| {
            query.filter = Some(filter.to_owned());
            query.limit = 1;
            query.tail = tail;
        })
        .unwrap();
        assert_eq!(found.lines, ["abc"]);
        assert_eq!((found.total, found.has_more), (None, true));
    }
}
