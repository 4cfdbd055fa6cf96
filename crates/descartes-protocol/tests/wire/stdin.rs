//! What goes to an agent's standard input, and where it begins.

use bytes::Bytes;
use descartes_protocol::{Command, CommandError, ErrorCode, Raw, StdinPosition};

use crate::commands::{assert_refused, parse};
use crate::value::{Value, map};

#[test]
fn input_is_bytes_or_text_or_base64() {
    let write = |data: &'static [u8]| {
        Ok(Command::WriteStdin {
            data: Bytes::from_static(data),
            close: false,
            position: StdinPosition::Next,
        })
    };
    assert_eq!(
        parse("write_stdin", [("data", Value::Bin(vec![0xff, 0]))]),
        write(b"\xff\0")
    );
    assert_eq!(
        parse("write_stdin", [("data", "é\n".into())]),
        write("é\n".as_bytes())
    );
    assert_eq!(
        parse(
            "write_stdin",
            [("data", "é".into()), ("encoding", "utf8".into())]
        ),
        write("é".as_bytes())
    );
    for text in ["/wA=", "/wA"] {
        assert_eq!(
            parse(
                "write_stdin",
                [("data", text.into()), ("encoding", "base64".into())]
            ),
            write(b"\xff\0")
        );
    }
}

#[test]
fn input_that_is_not_what_it_says_is_malformed() {
    let code = ErrorCode::MalformedMessage;
    let base64 = parse(
        "write_stdin",
        [("data", "#".into()), ("encoding", "base64".into())],
    );
    assert_refused(base64, code, "payload.data: not valid base64");
    let encoding = parse(
        "write_stdin",
        [("data", "a".into()), ("encoding", "rot13".into())],
    );
    assert_refused(encoding, code, "payload.encoding: \"rot13\" is no encoding");
    assert_refused(parse("write_stdin", []), code, "payload.data: missing");
    let number = parse("write_stdin", [("data", 1.into())]);
    assert_refused(
        number,
        code,
        "payload.data: expected bytes or a string, found an integer",
    );
}

#[test]
fn input_begins_anywhere_or_after_bytes_of_stdin_or_after_bytes_of_a_writer() {
    let position = |payload: Vec<(&str, Value)>| -> Result<StdinPosition, CommandError> {
        let data = [("data", Value::from("x"))];
        let entries = data.into_iter().chain(payload);
        let entries = entries.map(|(key, value)| (key.into(), value)).collect();
        let payload = Raw::from_encoded(Value::Map(entries).body()).expect("a map");
        match Command::parse("write_stdin", Some(&payload))? {
            Command::WriteStdin { position, .. } => Ok(position),
            other => panic!("{other:?}"),
        }
    };
    let writer = |id: &str| map([("offset", 7.into()), ("id", id.into()), ("more", 1.into())]);
    assert_eq!(position(vec![]), Ok(StdinPosition::Next));
    assert_eq!(
        position(vec![("offset", 7.into()), ("writer", Value::Nil)]),
        Ok(StdinPosition::Offset(7))
    );
    let longest = "é".repeat(32);
    let id = longest.parse().unwrap();
    assert_eq!(
        position(vec![("writer", writer(&longest))]),
        Ok(StdinPosition::Writer { id, offset: 7 })
    );
    for (payload, message) in [
        (
            vec![("writer", writer("me")), ("offset", 7.into())],
            "payload.writer: not together with offset",
        ),
        (
            vec![("writer", writer(""))],
            "payload.writer.id: a writer's id has 1 to 64 bytes, not 0",
        ),
        (
            vec![("writer", writer(&"x".repeat(65)))],
            "payload.writer.id: a writer's id has 1 to 64 bytes, not 65",
        ),
        (
            vec![("writer", map([("id", "me".into())]))],
            "payload.writer.offset: missing",
        ),
        (
            vec![("writer", "me".into())],
            "payload.writer: expected a map or an array, found a string",
        ),
    ] {
        let error = position(payload).expect_err(message);
        assert_eq!(error.to_string(), message);
        assert_eq!(error.code(), ErrorCode::MalformedMessage);
    }
}
