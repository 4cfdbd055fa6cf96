use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::tests::dice;
use super::*;

fn in_time() -> Instant {
    Instant::now() + Duration::from_mins(10)
}

fn is_match(expression: &str, line: impl AsRef<[u8]>) -> bool {
    let mut filter = LineFilter::new(expression).unwrap();
    filter.is_match(line.as_ref(), in_time()).unwrap()
}

#[test]
fn unicode_word_boundaries_are_found_in_lines_of_more_than_ascii() {
    assert!(is_match(r"\bé\b", "un é ici"));
    assert!(!is_match(r"\bé\b", "un été ici"));
    assert!(is_match(r"\bete\b", "un ete ici"));
    assert!(is_match(r"\bé\b", b"\xff\xc3\xa9\xff"));
    let mut long = "é".repeat(500_000);
    assert!(!is_match(r"\b\w+\s\w+\b", &long));
    long.push_str(" z");
    assert!(is_match(r"\b\w+\s\w+\b", &long));
}

#[test]
fn a_line_may_be_no_text() {
    assert!(is_match("^.a$", "éa"));
    assert!(!is_match("^.a$", b"\xffa"));
    assert!(is_match(r"^(?-u:\xff)a$", b"\xffa"));
    assert!(is_match("", b"\xff"));
}

#[test]
fn an_expression_that_is_none_or_too_large_is_refused() {
    let refused = |expression: &str| LineFilter::new(expression).err().unwrap();
    assert!(matches!(refused("("), FilterError::Invalid(_)));
    assert!(refused("(").to_string().contains("unclosed group"));
    assert!(matches!(refused(r"\w{1000}"), FilterError::TooLarge));
    assert!(matches!(
        refused("(?:(?:ab?){500}){500}"),
        FilterError::TooLarge
    ));
    let long = "a".repeat(MAX_FILTER_BYTES + 1);
    assert!(matches!(refused(&long), FilterError::TooLong { .. }));
    assert!(LineFilter::new(r"\w{100}").is_ok());
}

#[test]
fn a_line_is_not_gone_through_after_the_deadline() {
    let mut filter = LineFilter::new("a[ab]{2000}c").unwrap();
    let late = filter.is_match(b"ab", Instant::now());
    assert!(matches!(late, Err(QueryError::TimedOut)), "{late:?}");
    let mut filter = LineFilter::new(r"\bé").unwrap();
    filter.is_match(b"a", in_time()).unwrap();
    let late = filter.is_match("é".as_bytes(), Instant::now());
    assert!(matches!(late, Err(QueryError::TimedOut)), "{late:?}");
}

#[test]
fn what_a_dfa_gives_up_is_left_to_the_nfa_if_that_takes_no_more_than_seconds() {
    // A DFA would have to know which of the last 700 bytes were an `a`; this one is given room for
    // a few states only.
    let mut filter = LineFilter::with_cache("a[ab]{700}c", 0).unwrap();
    let line = dice(1 << 20);
    let short = &line[..5000];
    assert!(!filter.is_match(short, in_time()).unwrap());
    let matching = [short, b"a", &line[..700], b"c"].concat();
    assert!(filter.is_match(&matching, in_time()).unwrap());
    assert!(filter.nfa_cache.is_some());
    let refused = filter.is_match(&line, in_time()).unwrap_err();
    let QueryError::Filter(FilterError::TooLargeForLine { bytes }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(bytes, line.len());
}

const EXPRESSIONS: [&str; 14] = [
    "",
    "a",
    "^a|b$",
    "(?i)É",
    r"\bé\b",
    r"\Ba",
    r"\w+\s\w",
    r"(?-u:\b)a",
    r"(?-u:[\x80-\xff])a",
    r"^\W*$",
    "a.b",
    "(?s)a.b",
    "(?m)^b$",
    "[a&&b]",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_matches_is_what_the_crate_regex_says(
        expression in prop::sample::select(EXPRESSIONS.to_vec()),
        lines in vec(
            vec(prop::sample::select(vec![
                &b"a"[..], b"b", b" ", b"\n", b"\xff", b"\xc3", "é".as_bytes(), "É".as_bytes(),
            ]), 0..8),
            1..5,
        ),
    ) {
        let model = regex::bytes::Regex::new(expression).unwrap();
        let mut filter = LineFilter::new(expression).unwrap();
        for line in lines {
            let line = line.concat();
            prop_assert_eq!(filter.is_match(&line, in_time()).unwrap(), model.is_match(&line));
        }
    }
}
