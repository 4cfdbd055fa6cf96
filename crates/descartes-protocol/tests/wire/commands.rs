//! Commands and their payloads.

use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{
    Command, CommandError, ErrorCode, MapWriter, PauseRequest, Raw, SignalNumber, SignalScope,
    StdinPosition, Stream, Timestamp,
};
use proptest::prelude::*;

use crate::value::{Value, map};

pub(crate) fn parse<const N: usize>(
    name: &str,
    payload: [(&str, Value); N],
) -> Result<Command, CommandError> {
    Command::parse(
        name,
        Some(&Raw::from_encoded(map(payload).body()).expect("a map")),
    )
}

#[track_caller]
pub(crate) fn assert_refused(
    result: Result<Command, CommandError>,
    code: ErrorCode,
    message: &str,
) {
    let error = result.expect_err("the command is refused");
    assert_eq!((error.code(), error.to_string().as_str()), (code, message));
}

#[test]
fn an_absent_payload_and_an_empty_one_are_the_same() {
    for name in [
        "pause",
        "resume",
        "stop",
        "kill",
        "close_stdin",
        "read_stdout",
        "read_stderr",
        "get_status",
        "query_output",
        "stream_logs",
    ] {
        let absent = Command::parse(name, None).unwrap();
        assert_eq!(absent.command_type(), name);
        assert_eq!(parse(name, []), Ok(absent.clone()));
        assert_eq!(Command::parse(name, Some(&Raw::nil())), Ok(absent));
    }
}

#[test]
fn what_is_not_given_has_its_default() {
    let command = |name| Command::parse(name, None).unwrap();
    assert_eq!(
        command("pause"),
        Command::Pause {
            mode: PauseRequest::Auto
        }
    );
    assert_eq!(
        command("stop"),
        Command::Stop {
            grace: None,
            wait: true
        }
    );
    let read = Command::Read {
        stream: Stream::Stderr,
        offset: None,
        max_bytes: None,
        wait: Duration::ZERO,
        since: None,
        times: false,
    };
    assert_eq!(command("read_stderr"), read);
    let query = Command::QueryOutput {
        stdout: true,
        stderr: false,
        max_lines: None,
        tail: false,
    };
    assert_eq!(command("query_output"), query);
}

#[test]
fn an_unknown_command_is_unsupported() {
    let error = Command::parse("levitate", None);
    assert_refused(
        error,
        ErrorCode::UnsupportedCommand,
        "unsupported command \"levitate\"",
    );
}

#[test]
fn a_payload_that_is_no_map_is_malformed() {
    let list = Raw::from_encoded(Bytes::from_static(b"\x90")).unwrap();
    for name in ["kill", "stop"] {
        let error = Command::parse(name, Some(&list));
        assert_refused(
            error,
            ErrorCode::MalformedMessage,
            "payload: expected a map, found an array",
        );
    }
}

#[test]
fn unknown_keys_of_a_payload_are_ignored() {
    let command = parse("stop", [("why", "because".into()), ("wait", false.into())]);
    assert_eq!(
        command,
        Ok(Command::Stop {
            grace: None,
            wait: false
        })
    );
}

#[test]
fn a_pause_is_forced_by_mode_or_by_flag() {
    let mode = |mode| Ok(Command::Pause { mode });
    assert_eq!(
        parse("pause", [("mode", "cooperative".into())]),
        mode(PauseRequest::Cooperative)
    );
    assert_eq!(
        parse("pause", [("force", true.into())]),
        mode(PauseRequest::Forced)
    );
    assert_eq!(
        parse("pause", [("force", false.into())]),
        mode(PauseRequest::Auto)
    );
    let both = parse("pause", [("force", true.into()), ("mode", "auto".into())]);
    assert_eq!(both, mode(PauseRequest::Auto));
}

#[test]
fn grace_is_a_number_of_seconds_up_to_a_day() {
    for (secs, grace) in [
        (Value::UInt(0), Duration::ZERO),
        (Value::UInt(86_400), Duration::from_hours(24)),
        (Value::Float(0.5), Duration::from_millis(500)),
        (Value::Float(-0.0), Duration::ZERO),
    ] {
        let stop = Command::Stop {
            grace: Some(grace),
            wait: true,
        };
        assert_eq!(parse("stop", [("grace_secs", secs)]), Ok(stop));
    }
    for secs in [
        Value::UInt(86_401),
        Value::UInt(u64::MAX),
        Value::Int(-1),
        Value::Float(86_400.5),
        Value::Float(-0.1),
        Value::Float(f64::NAN),
        Value::Float(f64::INFINITY),
        Value::Float(f64::MAX),
    ] {
        let error = parse("stop", [("grace_secs", secs)]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedMessage);
        assert!(
            error
                .to_string()
                .starts_with("payload.grace_secs: expected 0 to 86400 seconds"),
            "{error}"
        );
    }
}

#[test]
fn a_signal_has_a_name_or_a_number() {
    for signal in [
        Value::from("SIGTERM"),
        "term".into(),
        "sigTerm".into(),
        15.into(),
        "15".into(),
    ] {
        let Ok(Command::Signal { signal, scope }) = parse("signal", [("signal", signal)]) else {
            panic!("the signal is one");
        };
        assert_eq!(
            (signal.number(), signal.name(), scope),
            (15, Some("SIGTERM"), SignalScope::Tree)
        );
    }
    let leader = parse(
        "signal",
        [("signal", 64.into()), ("scope", "leader".into())],
    );
    let signal = SignalNumber::new(64).unwrap();
    assert_eq!(
        leader,
        Ok(Command::Signal {
            signal,
            scope: SignalScope::Leader
        })
    );
}

#[test]
fn an_unknown_signal_is_unsupported() {
    for (signal, text) in [
        (Value::from("SIGWAVE"), "SIGWAVE"),
        ("SIG".into(), "SIG"),
        ("".into(), ""),
        (0.into(), "0"),
        (65.into(), "65"),
        (Value::Int(-9), "-9"),
        (u64::MAX.into(), "18446744073709551615"),
    ] {
        let message = format!("payload.signal: unsupported signal \"{text}\"");
        assert_refused(
            parse("signal", [("signal", signal)]),
            ErrorCode::UnsupportedCommand,
            &message,
        );
    }
    let error = parse("signal", [("signal", true.into())]).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedMessage);
}

#[test]
fn every_named_signal_reads_back_from_its_name() {
    for number in 1..=64 {
        let Some(signal) = SignalNumber::new(number) else {
            assert!(matches!(number, 32 | 33), "{number}");
            continue;
        };
        assert_eq!(signal.to_string().parse(), Ok(signal));
        assert_eq!(signal.name().is_some(), number <= 31);
    }
    // The numbers that kernel and shell agree on everywhere.
    for (name, number) in [
        ("HUP", 1),
        ("INT", 2),
        ("QUIT", 3),
        ("ABRT", 6),
        ("KILL", 9),
        ("ALRM", 14),
        ("TERM", 15),
    ] {
        assert_eq!(name.parse(), Ok(SignalNumber::new(number).unwrap()));
    }
    // And those of Linux on these two architectures.
    for (name, number) in [
        ("USR1", 10),
        ("USR2", 12),
        ("CHLD", 17),
        ("CONT", 18),
        ("STOP", 19),
        ("TSTP", 20),
        ("WINCH", 28),
        ("IO", 29),
        ("SYS", 31),
    ] {
        assert_eq!(name.parse(), Ok(SignalNumber::new(number).unwrap()));
    }
}

fn write() -> impl Strategy<Value = Command> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
    let position = prop_oneof![
        Just(StdinPosition::Next),
        any::<u64>().prop_map(StdinPosition::Offset),
        ("[a-zé]{1,32}", any::<u64>()).prop_map(|(id, offset)| {
            let id = id.parse().expect("short enough");
            StdinPosition::Writer { id, offset }
        }),
    ];
    (bytes, any::<bool>(), position).prop_map(|(data, close, position)| Command::WriteStdin {
        data,
        close,
        position,
    })
}

fn read() -> impl Strategy<Value = Command> {
    let since = (any::<u64>(), 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Timestamp {
        secs_since_epoch: secs,
        nanos_since_epoch: nanos,
    });
    let number = || any::<Option<u64>>();
    let times = any::<bool>();
    let since = proptest::option::of(since);
    let stream = proptest::sample::select(Stream::ALL);
    (stream, number(), number(), any::<u32>(), since, times).prop_map(
        |(stream, offset, max_bytes, ms, since, times)| Command::Read {
            stream,
            offset,
            max_bytes,
            wait: Duration::from_millis(ms.into()),
            since,
            times,
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let offset = || any::<Option<u64>>();
    let grace = proptest::option::of(
        (0..86_400_u64, 0..1_000_000_000_u32).prop_map(|(s, n)| Duration::new(s, n)),
    );
    let modes = PauseRequest::ALL;
    let params =
        proptest::option::of(any::<u64>().prop_map(|n| MapWriter::new().uint("n", n).finish()));
    prop_oneof![
        proptest::sample::select(modes).prop_map(|mode| Command::Pause { mode }),
        (grace, any::<bool>()).prop_map(|(grace, wait)| Command::Stop { grace, wait }),
        write(),
        read(),
        (1..=64, proptest::sample::select(SignalScope::ALL)).prop_filter_map(
            "kept by the C library",
            |(number, scope)| {
                let signal = SignalNumber::new(number)?;
                Some(Command::Signal { signal, scope })
            }
        ),
        (".*", params).prop_map(|(action, params)| Command::CustomAction { action, params }),
        (any::<bool>(), any::<bool>(), offset(), any::<bool>()).prop_map(
            |(stdout, stderr, max_lines, tail)| {
                Command::QueryOutput {
                    stdout,
                    stderr,
                    max_lines,
                    tail,
                }
            }
        ),
        proptest::sample::select(vec![
            Command::Resume,
            Command::Kill,
            Command::CloseStdin,
            Command::GetStatus,
            Command::StreamLogs,
        ]),
    ]
}

proptest! {
    #[test]
    fn a_command_reads_back_from_its_payload(command in command()) {
        let payload = command.payload();
        prop_assert_eq!(Command::parse(command.command_type(), payload.as_ref())?, command);
    }
}
