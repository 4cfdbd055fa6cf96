//! The bodies of the corpus, made by another implementation, are what this one writes and reads.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{
    Command, CommandResponse, ControlCommand, HealthCheckRequest, LogStream, MapWriter, OutputTime,
    Reply, Request, StatusUpdate, StdinPosition, Stream,
};

use crate::samples;

fn golden(name: &str) -> Bytes {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    std::fs::read(path).expect("a file of the corpus").into()
}

#[track_caller]
fn assert_writes(kind: &str, form: &str, written: &Bytes) {
    assert_eq!(
        written,
        &golden(&format!("{kind}.{form}.bin")),
        "{kind}.{form}"
    );
}

#[test]
fn a_health_check_is_these_bytes() {
    let request_id = "7c0".to_owned();
    let request = Request::from(HealthCheckRequest { request_id });
    let body = b"\x82\xa4type\xb4health_check_request\xaarequest_id\xa37c0";
    assert_eq!(request.encode(), &body[..]);
    let positional = b"\x92\xb4health_check_request\xa37c0";
    assert_eq!(Request::decode(Bytes::from_static(positional)), Ok(request));
}

#[test]
fn requests_are_written_as_the_golden_maps() {
    for sample in samples::requests() {
        let kind = sample.full.message_type();
        assert_writes(kind, "map", &sample.full.encode());
        assert_writes(kind, "least", &sample.least.encode());
    }
}

#[test]
fn requests_are_read_from_every_golden_form() {
    for sample in samples::requests() {
        let kind = sample.full.message_type();
        for (form, expected) in [
            ("map", &sample.full),
            ("positional", &sample.full),
            ("least", &sample.least),
        ] {
            let read = Request::decode(golden(&format!("{kind}.{form}.bin")));
            assert_eq!(read.as_ref(), Ok(expected), "{kind}.{form}");
        }
    }
}

#[test]
fn replies_are_written_as_the_golden_maps() {
    for sample in samples::replies() {
        let kind = sample.full.message_type();
        assert_writes(kind, "map", &sample.full.encode());
        assert_writes(kind, "least", &sample.least.encode());
    }
}

#[test]
fn replies_are_read_from_every_golden_form() {
    for sample in samples::replies() {
        let kind = sample.full.message_type();
        for (form, expected) in [
            ("map", &sample.full),
            ("positional", &sample.full),
            ("least", &sample.least),
        ] {
            let read = Reply::decode(golden(&format!("{kind}.{form}.bin")));
            assert_eq!(read.as_ref(), Ok(expected), "{kind}.{form}");
        }
    }
}

#[test]
fn status_updates_are_the_golden_bytes() {
    let sample = samples::status_update();
    assert_writes("status_update", "map", &sample.full.encode());
    assert_writes("status_update", "least", &sample.least.encode());
    for (form, expected) in [
        ("map", &sample.full),
        ("positional", &sample.full),
        ("least", &sample.least),
    ] {
        let read = StatusUpdate::decode(golden(&format!("status_update.{form}.bin")));
        assert_eq!(read.as_ref(), Ok(expected), "{form}");
    }
}

#[test]
fn pieces_of_output_are_the_golden_bytes() {
    let sample = samples::log_stream();
    assert_writes("log_stream", "map", &sample.encode());
    for form in ["map", "positional"] {
        let read = LogStream::decode(golden(&format!("log_stream.{form}.bin")));
        assert_eq!(read.as_ref(), Ok(&sample), "{form}");
    }
}

/// Commands whose payloads hold more than scalars.
fn commands() -> [Command; 2] {
    let id = "w-1".parse().expect("short enough");
    let write = Command::WriteStdin {
        data: Bytes::from_static(b"y\n"),
        close: true,
        position: StdinPosition::Writer { id, offset: 300 },
    };
    let read = Command::Read {
        stream: Stream::Stderr,
        offset: Some(7),
        max_bytes: Some(100),
        wait: Duration::ZERO,
        since: Some(samples::TIME),
        times: true,
    };
    [write, read]
}

#[test]
fn payloads_are_the_golden_bytes() {
    for command in commands() {
        let kind = command.command_type();
        let golden = golden(&format!("control_command.{kind}.bin"));
        let Ok(Request::Control(request)) = Request::decode(golden.clone()) else {
            panic!("{kind}: no control command");
        };
        let read = Command::parse(kind, request.payload.as_ref());
        assert_eq!(read.as_ref(), Ok(&command));
        let written = Request::Control(ControlCommand {
            payload: command.payload(),
            ..request
        });
        assert_eq!(written.encode(), golden, "{kind}");
    }
}

#[test]
fn times_of_output_are_the_golden_bytes() {
    let golden = golden("command_response.read_stderr.bin");
    let Ok(Reply::Command(reply)) = Reply::decode(golden.clone()) else {
        panic!("no command response");
    };
    let data = reply.data.clone().expect("data");
    let times = data.get("times").and_then(|times| times.as_output_times());
    let time = samples::TIME;
    let expected = [7, 9].map(|offset| OutputTime { offset, time });
    assert_eq!(times.as_deref(), Some(&expected[..]));
    let bytes = data
        .get("data")
        .and_then(|data| data.as_bin())
        .expect("data");
    let written = MapWriter::new().bin("data", &bytes);
    let written = written.output_times("times", &expected).finish();
    let reply = Reply::Command(CommandResponse {
        data: Some(written),
        ..reply
    });
    assert_eq!(reply.encode(), golden);
}

#[test]
fn every_message_has_its_golden_bytes() {
    let messages = samples::requests().len() + samples::replies().len() + 2;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let files = std::fs::read_dir(folder).unwrap();
    let bodies = files.filter(|file| {
        file.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|it| it == "bin")
    });
    assert_eq!(bodies.count(), messages * 3 + commands().len() + 1);
}
