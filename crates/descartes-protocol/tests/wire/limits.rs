//! The sizes, counts and depths at which the decoder stops.

use bytes::Bytes;
use descartes_protocol::limits::{MAX_DEPTH, MAX_MESSAGE_SIZE, MAX_REPLY_DEPTH};
use descartes_protocol::{DecodeError, ErrorCode, Reply, Request};

use crate::value::{Value, map, spawn_with};

const AGENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// An array in an array in an array, so many of them.
fn nested(levels: usize) -> Value {
    (1..levels).fold(Value::Array(vec![]), |inner, _| Value::Array(vec![inner]))
}

fn refused(body: &Value) -> DecodeError {
    Request::decode(body.body()).expect_err("the body is refused")
}

#[track_caller]
fn assert_malformed(body: &Value, message: &str) {
    let error = refused(body);
    assert_eq!(error.to_string(), message);
    assert_eq!(error.code(), ErrorCode::MalformedMessage);
    assert_eq!(error.request_id.as_deref(), Some("r1"));
}

#[test]
fn an_empty_body_is_malformed() {
    let error = Request::decode(Bytes::new()).unwrap_err();
    assert_eq!(error.to_string(), "the message is empty");
    assert_eq!(error.code(), ErrorCode::MalformedMessage);
}

#[test]
fn a_body_above_the_limit_is_refused_unread() {
    let body = Bytes::from(vec![0xc0; 11 * 1024 * 1024]);
    let error = Request::decode(body).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MessageTooLarge);
    assert_eq!(
        error.to_string(),
        "the message has 11534336 bytes, more than the 10485760 allowed"
    );
}

#[test]
fn a_body_of_exactly_the_limit_is_read() {
    let empty = spawn_with("context", Value::Str("x".repeat(70_000)))
        .body()
        .len()
        - 70_000;
    let text = "x".repeat(MAX_MESSAGE_SIZE - empty);
    let body = spawn_with("context", Value::Str(text.clone())).body();
    assert_eq!(body.len(), MAX_MESSAGE_SIZE);
    let Ok(Request::Spawn(request)) = Request::decode(body) else {
        panic!("the body is a spawn request");
    };
    assert_eq!(request.config.context, Some(text));
}

#[test]
fn a_request_id_has_to_be_a_string_of_at_most_256_bytes() {
    let request = |id: Value| map([("type", "stats_request".into()), ("request_id", id)]);
    let longest = Value::Str("x".repeat(256));
    assert!(Request::decode(request(longest).body()).is_ok());
    let error = refused(&request(Value::Str("x".repeat(257))));
    assert_eq!(error.to_string(), "request_id: longer than 256 bytes");
    assert_eq!(error.request_id, None);
    let error = refused(&request(7.into()));
    assert_eq!(
        error.to_string(),
        "request_id: expected a string, found an integer"
    );
}

#[test]
fn a_request_may_nest_to_the_limit_and_no_further() {
    let request = |levels| {
        map([
            ("type", "stats_request".into()),
            ("request_id", "r1".into()),
            ("extra", nested(levels)),
        ])
    };
    assert!(Request::decode(request(MAX_DEPTH - 1).body()).is_ok());
    assert_malformed(&request(MAX_DEPTH), "maps and arrays nest too deep");
}

#[test]
fn a_reply_can_carry_the_deepest_value_of_a_request() {
    let reply = |levels| {
        let data = map([("result", nested(levels))]);
        map([
            ("type", "command_response".into()),
            ("request_id", "r1".into()),
            ("agent_id", AGENT.into()),
            ("success", true.into()),
            ("data", data),
        ])
    };
    let body = reply(MAX_DEPTH - 1).body();
    let read = Reply::decode(body.clone()).unwrap();
    assert_eq!(read.encode(), body);
    assert!(Reply::decode(reply(MAX_REPLY_DEPTH).body()).is_err());
}

#[test]
fn ten_thousand_levels_are_refused() {
    let body = [vec![0x91; 10_000], vec![0xc0]].concat();
    let error = Request::decode(body.into()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::MalformedMessage);
    let maps = [
        b"\x82\xaarequest_id\xa2r1\xa4type".to_vec(),
        b"\x81\xa1a".repeat(10_000),
        vec![0xc0],
    ]
    .concat();
    let error = Request::decode(maps.into()).unwrap_err();
    assert_eq!(error.request_id.as_deref(), Some("r1"));
}

#[test]
fn lists_and_maps_have_a_most() {
    let tags = (0..4097)
        .map(|key| (Value::Str(key.to_string()), "".into()))
        .collect();
    assert_malformed(
        &spawn_with("environment", Value::Map(tags)),
        "config.environment: 4097 entries, more than the 4096 allowed",
    );
    let args = Value::Array(vec!["".into(); 4097]);
    assert_malformed(
        &spawn_with("args", args),
        "config.args: 4097 entries, more than the 4096 allowed",
    );
    let batch = map([
        ("type", "batch_control_command".into()),
        ("request_id", "r1".into()),
        ("command_type", "stop".into()),
        (
            "agent_ids",
            Value::Array(vec![Value::Bin(vec![0; 16]); 65_537]),
        ),
    ]);
    assert_malformed(
        &batch,
        "agent_ids: 65537 entries, more than the 65536 allowed",
    );
}
