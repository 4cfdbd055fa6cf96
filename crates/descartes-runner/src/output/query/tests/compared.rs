//! Searches of random output, compared with a model that has all of it in memory.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Bytes of a segment, and whether bytes before it are gone.
type Segment = (Vec<u8>, bool);

#[derive(Debug, Clone)]
struct Asked {
    filter: Option<&'static str>,
    offset: u64,
    limit: u64,
    tail: bool,
    bytes_max: usize,
    rest: Counting,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Counting {
    Unseen,
    Glanced,
    Counted,
}

fn any_segment() -> impl Strategy<Value = Segment> {
    let bits: [&[u8]; 8] = [
        b"a",
        b"b",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b"\xff",
        "é".as_bytes(),
    ];
    let bytes = vec(prop::sample::select(bits.to_vec()), 0..12);
    (bytes, prop::bool::weighted(0.2)).prop_map(|(bytes, gap)| (bytes.concat(), gap))
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let filters = [
        None,
        Some("a"),
        Some("^$"),
        Some("(?-u:\\xff)|b$"),
        Some("\\b"),
    ];
    (
        prop::sample::select(filters.to_vec()),
        prop_oneof![Just(0_u64), 0..9_u64],
        prop_oneof![Just(u64::MAX), 0..9_u64],
        any::<bool>(),
        prop_oneof![Just(usize::MAX), 0..20_usize],
        prop::sample::select(vec![Counting::Unseen, Counting::Glanced, Counting::Counted]),
    )
        .prop_map(|(filter, offset, limit, tail, bytes_max, rest)| Asked {
            filter,
            offset,
            limit,
            tail,
            bytes_max,
            rest,
        })
}

/// Writes a stream's segments, and returns the stretches of it that stand together.
fn write(dir: &Path, stream: &[Segment]) -> Vec<Vec<u8>> {
    std::fs::create_dir(dir).unwrap();
    let mut stretches = vec![Vec::new()];
    let mut offset = 0;
    for (bytes, gap) in stream {
        if *gap {
            offset += 7;
            stretches.push(Vec::new());
        }
        std::fs::write(dir.join(segments::name(offset)), bytes).unwrap();
        stretches.last_mut().unwrap().extend(bytes);
        // The next one needs another name.
        if bytes.is_empty() {
            offset += 1;
            stretches.push(Vec::new());
        }
        offset += bytes.len() as u64;
    }
    stretches
}

fn lines_of_stretch(stretch: &[u8], bytes_max: usize) -> Vec<Vec<u8>> {
    let mut lines: Vec<&[u8]> = stretch.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let mut pieces: Vec<&[u8]> = Vec::new();
    for line in lines {
        if line.is_empty() {
            pieces.push(line);
        }
        pieces.extend(line.chunks(bytes_max));
    }
    let ends = pieces.into_iter();
    ends.map(|piece| piece.strip_suffix(b"\r").unwrap_or(piece).to_vec())
        .collect()
}

/// What a search finds that has all lines in memory.
fn model(mut lines: Vec<Vec<u8>>, asked: &Asked) -> Lines {
    if let Some(filter) = asked.filter {
        let filter = regex::bytes::Regex::new(filter).unwrap();
        lines.retain(|line| filter.is_match(line));
    }
    let total = lines.len() as u64;
    if asked.tail {
        lines.reverse();
    }
    let (mut kept, mut bytes) = (Vec::new(), 0);
    let wanted = lines.iter().skip(usize::try_from(asked.offset).unwrap());
    for line in wanted.take(usize::try_from(asked.limit).unwrap()) {
        let line = String::from_utf8_lossy(line).into_owned();
        bytes += line.len();
        if bytes > asked.bytes_max && !kept.is_empty() {
            break;
        }
        kept.push(line);
    }
    let has_more = total > asked.offset + kept.len() as u64;
    if asked.tail {
        kept.reverse();
    }
    Lines {
        lines: kept,
        total: (asked.rest == Counting::Counted || !has_more).then_some(total),
        has_more,
        reached: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_search_finds_what_the_model_finds(
        stdout in vec(any_segment(), 0..6),
        stderr in vec(any_segment(), 0..3),
        asked in any_asked(),
        line in 1..12_usize,
        block in 1..16_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut stretches = write(&dir.path().join("stdout"), &stdout);
        stretches.extend(write(&dir.path().join("stderr"), &stderr));
        let lines = stretches.iter().flat_map(|stretch| lines_of_stretch(stretch, line));
        let expected = model(lines.collect(), &asked);

        let mut wanted = all_lines();
        wanted.streams = vec![Stream::Stdout, Stream::Stderr];
        wanted.filter = asked.filter.map(str::to_owned);
        (wanted.offset, wanted.limit) = (asked.offset, asked.limit);
        (wanted.tail, wanted.bytes_max) = (asked.tail, asked.bytes_max);
        wanted.rest = match asked.rest {
            Counting::Unseen => Rest::Unseen,
            Counting::Glanced => Rest::Glanced,
            Counting::Counted => wanted.rest,
        };
        let mut found = search(dir.path(), &wanted, Sizes { line, block }).unwrap();
        if asked.rest != Counting::Counted && expected.has_more {
            // It may have had all lines in hand before it was to end.
            found.total = None;
        }
        if asked.rest == Counting::Unseen && found.total.is_none() {
            // Nor need it have seen that there are no more.
            prop_assert!(found.has_more);
            (found.total, found.has_more) = (expected.total, expected.has_more);
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn searches_that_go_on_where_the_last_one_came_to_find_every_line_once(
        stream in vec(any_segment(), 0..6),
        asked in any_asked(),
        line in 1..12_usize,
        block in 1..16_usize,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let stretches = write(&dir.path().join("stdout"), &stream);
        let lines = stretches.iter().flat_map(|stretch| lines_of_stretch(stretch, line));
        let all = Asked { offset: 0, limit: u64::MAX, tail: false, bytes_max: usize::MAX, ..asked };
        let expected = model(lines.collect(), &all);

        let mut wanted = all_lines();
        wanted.filter = asked.filter.map(str::to_owned);
        (wanted.limit, wanted.bytes_max) = (asked.limit.max(1), asked.bytes_max);
        wanted.rest = Rest::Unseen;
        wanted.tail = asked.tail;
        let end = segments::extent(&dir.path().join("stdout")).unwrap().end;
        let (mut from, mut lost, mut found) = (if asked.tail { u64::MAX } else { 0 }, 0, Vec::new());
        loop {
            wanted.from = Some(from);
            let page = search(dir.path(), &wanted, Sizes { line, block }).unwrap();
            let reached = page.reached.unwrap();
            let is_further = if asked.tail { reached.offset < from } else { reached.offset > from };
            prop_assert!(is_further || !page.has_more, "{page:?}");
            (from, lost) = (reached.offset, lost + reached.lost);
            let at = if asked.tail { 0 } else { found.len() };
            found.splice(at..at, page.lines);
            if !page.has_more {
                break;
            }
        }
        prop_assert_eq!(found, expected.lines);
        prop_assert_eq!(from, if asked.tail { 0 } else { end });
        let kept: usize = stretches.iter().map(Vec::len).sum();
        prop_assert_eq!(end - lost, kept as u64);
    }
}
