//! A mutational fuzzer: bodies of the corpus, damaged at random, must never make the decoder panic, and what it
//! reads it must read the same again after writing it.
//!
//! `DESCARTES_FUZZ_SECS` says how long it runs (default 2) and `DESCARTES_FUZZ_SEED` repeats a run; the seed is
//! printed. A failure prints the body that caused it.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use descartes_protocol::{Command, LogStream, MapWriter, Raw, Reply, Request, StatusUpdate};

/// Numbers that look random: splitmix64 (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % end).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[0]
    }
}

/// Markers at the borders between the kinds of values, and those with lengths.
const MARKERS: &[u8] = &[
    0x00, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0x91, 0x9f, 0xa0, 0xa1, 0xbf, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4,
    0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcc, 0xcd, 0xcf, 0xd0, 0xd3, 0xd4, 0xd8, 0xd9, 0xda, 0xdb,
    0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
];

fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files = std::fs::read_dir(folder).expect("the corpus is a folder");
    let mut paths: Vec<_> = files
        .map(|file| file.expect("a file of the corpus").path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "bin"));
    // The order of a folder is the file system's, and a seed should mean the same everywhere.
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file of the corpus"))
        .collect()
}

fn mutate(body: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = random.below(body.len());
    match random.below(8) {
        0 if !body.is_empty() => body[at] ^= 1 << random.below(8),
        1 if !body.is_empty() => body[at] = random.byte(),
        2 if !body.is_empty() => body[at] = MARKERS[random.below(MARKERS.len())],
        3 => body.insert(at, MARKERS[random.below(MARKERS.len())]),
        4 => body.truncate(at),
        5 => {
            let end = at + random.below(body.len() - at);
            body.drain(at..end);
        }
        6 => {
            let end = at + random.below((body.len() - at).min(64));
            let again = body[at..end].to_vec();
            body.splice(at..at, again);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len());
            let to = from + random.below(other.len() - from);
            let end = at + random.below(body.len() - at);
            body.splice(at..end, other[from..to].iter().copied());
        }
    }
}

/// Checks one body; says whether it was a message.
fn check(body: &Bytes) -> bool {
    let mut read = false;
    if let Ok(request) = Request::decode(body.clone()) {
        check_command(&request);
        let again = Request::decode(request.encode()).expect("what was written can be read");
        // Compared as bytes, since a float that is no number equals nothing.
        assert_eq!(again.encode(), request.encode());
        read = true;
    }
    if let Ok(reply) = Reply::decode(body.clone()) {
        let again = Reply::decode(reply.encode()).expect("what was written can be read");
        assert_eq!(again.encode(), reply.encode());
        read = true;
    }
    if let Ok(update) = StatusUpdate::decode(body.clone()) {
        assert_eq!(StatusUpdate::decode(update.encode()), Ok(update));
        read = true;
    }
    if let Ok(piece) = LogStream::decode(body.clone()) {
        assert_eq!(LogStream::decode(piece.encode()), Ok(piece));
        read = true;
    }
    if let Ok(raw) = Raw::from_encoded(body.clone()) {
        assert!(raw.entries().count() <= body.len());
        let times = raw.get("data").and_then(|data| data.get("times"));
        if let Some(times) = times.and_then(|times| times.as_output_times()) {
            let again = MapWriter::new().output_times("times", &times).finish();
            assert_eq!(
                again.get("times").and_then(|it| it.as_output_times()),
                Some(times)
            );
        }
    }
    read
}

fn check_command(request: &Request) {
    let Request::Control(control) = request else {
        return;
    };
    if let Ok(command) = Command::parse(&control.command_type, control.payload.as_ref()) {
        let payload = command.payload();
        assert_eq!(
            Command::parse(command.command_type(), payload.as_ref()),
            Ok(command)
        );
    }
}

fn number_from_environment(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|value| value.parse().expect("the variable is a number"))
}

#[test]
fn damaged_bodies_never_make_the_decoder_panic() {
    let secs = number_from_environment("DESCARTES_FUZZ_SECS").unwrap_or(2);
    let clock = || {
        SystemTime::UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| u64::from(time.subsec_nanos()))
    };
    let seed = number_from_environment("DESCARTES_FUZZ_SEED").unwrap_or_else(clock);
    println!("DESCARTES_FUZZ_SEED={seed}");
    let corpus = corpus();
    assert!(
        corpus
            .iter()
            .all(|body| check(&Bytes::copy_from_slice(body)))
    );

    let mut random = Random(seed);
    let (mut bodies, mut messages) = (0_u64, 0_u64);
    let end = Instant::now() + Duration::from_secs(secs);
    while Instant::now() < end {
        let mut body = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut body, &corpus, &mut random);
        }
        let body = Bytes::from(body);
        let checked = std::panic::catch_unwind(|| check(&body));
        let is_message = checked.unwrap_or_else(|_| panic!("seed {seed}, body {body:?}"));
        bodies += 1;
        messages += u64::from(is_message);
    }
    println!("{bodies} bodies, {messages} of them messages");
    assert!(messages > 0, "the mutations leave nothing to read");
}
