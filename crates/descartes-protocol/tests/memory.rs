//! Decoding takes at most twice a body's size in memory, whatever the body is.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use descartes_protocol::limits::MAX_MESSAGE_SIZE;
use descartes_protocol::{
    AgentConfig, AgentId, BatchControlCommand, Command, ControlCommand, ErrorCode, MapWriter,
    Reply, Request, SpawnRequest, StringMap,
};

/// What lists and maps may cost beyond the body's size: the caps on their entries bound it.
const CONSTANT: usize = 2 * 1024 * 1024;

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn grow(bytes: usize) {
    PEAK.fetch_max(NOW.fetch_add(bytes, SeqCst) + bytes, SeqCst);
}

#[expect(unsafe_code, reason = "a global allocator is an unsafe trait")]
// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller keeps the contract, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller keeps the contract, which is the same one.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While it moves, both are there.
        grow(size);
        NOW.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller keeps the contract, which is the same one.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One measurement at a time.
static MEASURING: Mutex<()> = Mutex::new(());

/// The most memory that `work` has at once, beyond what there was before.
fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(SeqCst);
    PEAK.store(before, SeqCst);
    let result = work();
    (result, PEAK.load(SeqCst) - before)
}

/// Decodes a body and drops what comes of it; says whether it was a message.
#[track_caller]
fn assert_cheap(body: Bytes) -> bool {
    let size = body.len();
    assert!(size <= MAX_MESSAGE_SIZE, "the body has {size} bytes");
    let (is_message, peak) = peak_of(|| match Request::decode(body.clone()) {
        Err(error) if error.code() == ErrorCode::UnsupportedMessage => Reply::decode(body).is_ok(),
        request => request.is_ok(),
    });
    // The body itself was there before, and is one of the two.
    assert!(peak <= size + CONSTANT, "{peak} bytes for a body of {size}");
    is_message
}

/// A body of about `size` bytes: `head`, then an array or map of as many `entry` as that takes.
fn filled(size: usize, head: &[u8], marker: u8, entry: &[u8]) -> Bytes {
    let count = (size - head.len() - 5) / entry.len();
    let length = u32::try_from(count).expect("fewer than 2^32").to_be_bytes();
    [head, &[marker], &length, &entry.repeat(count)]
        .concat()
        .into()
}

const ARRAY: u8 = 0xdd;
const MAP: u8 = 0xdf;
const NIL: &[u8] = b"\xc0";
const EMPTY_MAP: &[u8] = b"\x80";
const EMPTY_STRING: &[u8] = b"\xa0";

/// As much as fits beside the other fields.
const HUGE: usize = MAX_MESSAGE_SIZE - 1000;

/// The begin of each message up to the value of a field that holds a list, a map or anything.
fn open_ends() -> Vec<Vec<u8>> {
    let mut heads = vec![Vec::new()];
    for field in [
        "environment",
        "labels",
        "args",
        "agents",
        "limits",
        "unknown",
    ] {
        heads.push([&head("spawn_request", "config"), &b"\x81"[..], &text(field)].concat());
    }
    for (kind, field) in [
        ("spawn_request", "metadata"),
        ("spawn_request", "config"),
        ("control_command", "payload"),
        ("custom_action_request", "params"),
        ("batch_control_command", "agent_ids"),
        ("health_check_request", "unknown"),
        ("list_agents_response", "agents"),
        ("output_query_response", "lines"),
        ("batch_control_response", "results"),
        ("events_response", "events"),
        ("stats_response", "stats"),
    ] {
        heads.push(head(kind, field));
    }
    heads
}

/// A message of three fields, up to the value of the last.
fn head(kind: &str, field: &str) -> Vec<u8> {
    [
        &b"\x83\xaarequest_id\xa2r1\xa4type"[..],
        &text(kind),
        &text(field),
    ]
    .concat()
}

/// A string of fewer than 32 bytes.
fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[0xa0 | length], text.as_bytes()].concat()
}

fn spawn(config: AgentConfig) -> Bytes {
    Request::from(SpawnRequest {
        config,
        ..SpawnRequest::default()
    })
    .encode()
}

#[test]
fn small_values_cost_no_more_than_large_ones_in_any_field() {
    const SIZE: usize = 512 * 1024;
    let _guard = MEASURING.lock();
    for head in open_ends() {
        for entry in [NIL, EMPTY_MAP, EMPTY_STRING] {
            assert_cheap(filled(SIZE, &head, ARRAY, entry));
        }
        for pair in [b"\xa0\xa0", b"\xa0\x80"] {
            assert_cheap(filled(SIZE, &head, MAP, pair));
        }
    }
}

#[test]
fn ten_mebibytes_of_small_values_cost_no_more_than_large_ones() {
    let _guard = MEASURING.lock();
    for (kind, field, entry) in [
        ("health_check_request", "unknown", NIL),
        ("custom_action_request", "params", EMPTY_MAP),
        ("output_query_response", "lines", EMPTY_STRING),
    ] {
        assert_cheap(filled(MAX_MESSAGE_SIZE, &head(kind, field), ARRAY, entry));
    }
}

#[test]
fn full_lists_and_maps_cost_little_more_than_their_size() {
    let _guard = MEASURING.lock();
    let tags: StringMap = (0..4096)
        .map(|key| (key.to_string(), String::new()))
        .collect();
    let environment = AgentConfig {
        environment: tags.clone(),
        ..AgentConfig::default()
    };
    assert!(assert_cheap(spawn(environment)));
    let labels = AgentConfig {
        labels: Some(tags),
        ..AgentConfig::default()
    };
    assert!(assert_cheap(spawn(labels)));
    let args = AgentConfig {
        args: Some(vec![String::new(); 4096]),
        ..AgentConfig::default()
    };
    assert!(assert_cheap(spawn(args)));
    let batch = Request::from(BatchControlCommand {
        request_id: String::new(),
        agent_ids: vec![AgentId::generate(); 65_536],
        command_type: "stop".into(),
        payload: None,
        fail_fast: false,
    });
    assert!(assert_cheap(batch.encode()));
}

#[test]
fn a_huge_text_is_held_once_beside_the_body() {
    let _guard = MEASURING.lock();
    let task = AgentConfig {
        task: "x".repeat(HUGE),
        ..AgentConfig::default()
    };
    assert!(assert_cheap(spawn(task)));
    let args = AgentConfig {
        args: Some(vec!["x".repeat(2500); 4096]),
        ..AgentConfig::default()
    };
    assert!(assert_cheap(spawn(args)));
}

#[test]
fn huge_input_for_an_agent_is_not_copied() {
    let _guard = MEASURING.lock();
    let body = Request::from(ControlCommand {
        request_id: String::new(),
        agent_id: AgentId::generate(),
        command_type: "write_stdin".into(),
        payload: Some(MapWriter::new().bin("data", &vec![b'x'; HUGE]).finish()),
    });
    let body = body.encode();
    let (command, peak) = peak_of(|| {
        let Ok(Request::Control(control)) = Request::decode(body) else {
            panic!("the body is a control command");
        };
        Command::parse(&control.command_type, control.payload.as_ref())
    });
    let Ok(Command::WriteStdin { data, .. }) = command else {
        panic!("the command writes");
    };
    assert_eq!(data.len(), HUGE);
    assert!(peak < 4096, "{peak} bytes");
}
