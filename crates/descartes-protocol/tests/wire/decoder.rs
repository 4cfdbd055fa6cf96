//! What the decoder takes, what it refuses, and what it says about it.

use bytes::Bytes;
use descartes_protocol::{
    AgentId, DecodeError, ErrorCode, LogStream, Reply, Request, StatusUpdate,
};

use crate::value::{Value, map, spawn_with};

const AGENT: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

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
fn an_unknown_type_is_unsupported_and_keeps_its_request() {
    let error = refused(&map([("request_id", "r1".into()), ("type", "fly".into())]));
    assert_eq!(error.code(), ErrorCode::UnsupportedMessage);
    assert_eq!(error.to_string(), "unsupported message type \"fly\"");
    assert_eq!(error.request_id.as_deref(), Some("r1"));
}

#[test]
fn a_reply_is_no_request() {
    let body = map([
        ("type", "stats_response".into()),
        ("request_id", "r1".into()),
    ]);
    assert_eq!(refused(&body).code(), ErrorCode::UnsupportedMessage);
}

#[test]
fn an_event_of_another_type_is_unsupported() {
    let body = map([
        ("type", "stats_request".into()),
        ("request_id", "r1".into()),
    ])
    .body();
    assert_eq!(
        StatusUpdate::decode(body.clone()).unwrap_err().code(),
        ErrorCode::UnsupportedMessage
    );
    assert_eq!(
        LogStream::decode(body).unwrap_err().code(),
        ErrorCode::UnsupportedMessage
    );
}

#[test]
fn a_message_needs_a_type_that_is_a_string_and_is_given_once() {
    assert_malformed(&map([("request_id", "r1".into())]), "type: missing");
    let twice = map([
        ("type", "stats_request".into()),
        ("request_id", "r1".into()),
        ("type", "health_check_request".into()),
    ]);
    assert_malformed(&twice, "type: given twice");
    let number = map([("request_id", "r1".into()), ("type", 5.into())]);
    assert_malformed(&number, "type: expected a string, found an integer");
}

#[test]
fn what_is_no_map_and_no_array_is_malformed() {
    for value in [
        Value::Nil,
        "health_check_request".into(),
        7.into(),
        Value::Bin(vec![1]),
    ] {
        assert_eq!(refused(&value).code(), ErrorCode::MalformedMessage);
    }
}

#[test]
fn a_key_given_twice_is_malformed() {
    let request = map([
        ("type", "stats_request".into()),
        ("request_id", "r1".into()),
        ("request_id", "r2".into()),
    ]);
    assert_malformed(&request, "request_id: given twice");
    let environment = map([("HOME", "/a".into()), ("HOME", "/b".into())]);
    assert_malformed(
        &spawn_with("environment", environment),
        "config.environment: the key \"HOME\" is given twice",
    );
}

#[test]
fn a_key_that_is_no_string_is_malformed() {
    let body = Value::Map(vec![
        ("type".into(), "stats_request".into()),
        (1.into(), 2.into()),
    ]);
    assert_eq!(
        refused(&body).to_string(),
        "expected a string as key, found an integer"
    );
}

#[test]
fn a_fault_names_the_path_of_its_field() {
    for (field, value, message) in [
        (
            "environment",
            3.into(),
            "config.environment: expected a map, found an integer",
        ),
        (
            "environment",
            map([("A", Value::Nil)]),
            "config.environment.A: expected a string, found nil",
        ),
        (
            "environment",
            Value::Nil,
            "config.environment: expected a map, found nil",
        ),
        (
            "args",
            Value::Array(vec!["a".into(), true.into()]),
            "config.args[1]: expected a string, found a boolean",
        ),
        (
            "limits",
            map([("pids", Value::Int(-1))]),
            "config.limits.pids: expected an integer of 0 or more, found -1",
        ),
        (
            "limits",
            map([("pids", Value::Float(1.0))]),
            "config.limits.pids: expected an integer, found a float",
        ),
        (
            "stdin",
            "file".into(),
            "config.stdin: \"file\" is no kind of stdin",
        ),
        (
            "agents",
            Value::Array(vec![]),
            "config.agents: expected a map, found an array",
        ),
        (
            "context",
            Value::Bin(vec![65]),
            "config.context: expected a string, found bytes",
        ),
    ] {
        assert_malformed(&spawn_with(field, value), message);
    }
}

#[test]
fn strings_have_to_be_utf_8_even_where_they_are_not_decoded() {
    for body in [
        &b"\x82\xa4type\xadstats_request\xaarequest_id\xa2\xff\xfe"[..],
        b"\x83\xa4type\xadstats_request\xaarequest_id\xa2r1\xa1x\x91\xa1\xff",
    ] {
        let error = Request::decode(Bytes::copy_from_slice(body)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedMessage);
        assert!(
            error.to_string().ends_with("a string is not UTF-8"),
            "{error}"
        );
    }
}

#[test]
fn bytes_after_the_message_are_malformed() {
    let mut body = map([
        ("type", "stats_request".into()),
        ("request_id", "r1".into()),
    ])
    .body()
    .to_vec();
    body.push(0xc0);
    let error = Request::decode(body.into()).unwrap_err();
    assert_eq!(error.to_string(), "1 bytes follow the end of the message");
    assert_eq!(error.request_id.as_deref(), Some("r1"));
}

#[test]
fn the_reserved_marker_and_lengths_beyond_the_body_are_malformed() {
    for body in [
        &b"\xc1"[..],
        b"\xdf\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\x91\xdb\xff\xff\xff\xff",
        b"\x91\xc9\xff",
    ] {
        let error = Request::decode(Bytes::copy_from_slice(body)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::MalformedMessage);
    }
}

#[test]
fn integers_are_read_in_every_encoding() {
    for (encoding, value) in [
        (&b"\x07"[..], 7),
        (b"\xcc\x07", 7),
        (b"\xcd\x00\x07", 7),
        (b"\xce\x00\x00\x00\x07", 7),
        (b"\xcf\x00\x00\x00\x00\x00\x00\x00\x07", 7),
        (b"\xd0\x07", 7),
        (b"\xd1\x00\x07", 7),
        (b"\xd2\x00\x00\x00\x07", 7),
        (b"\xd3\x00\x00\x00\x00\x00\x00\x00\x07", 7),
        (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", u64::MAX),
    ] {
        let head = b"\x83\xa4type\xb3list_agents_request\xaarequest_id\xa2r1\xa5limit";
        let body = [&head[..], encoding].concat();
        let Ok(Request::ListAgents(request)) = Request::decode(body.into()) else {
            panic!("{encoding:x?} is an integer");
        };
        assert_eq!(request.limit, Some(value), "{encoding:x?}");
    }
}

#[test]
fn an_agent_is_named_by_a_string_or_by_16_bytes() {
    let agent: AgentId = AGENT.parse().unwrap();
    let request = |id| {
        map([
            ("type", "events_request".into()),
            ("request_id", "r1".into()),
            ("epoch", "e".into()),
            ("after_sequence", 0.into()),
            ("agent_id", id),
        ])
    };
    for id in [
        AGENT.into(),
        AGENT.to_uppercase().as_str().into(),
        AGENT.replace('-', "").as_str().into(),
        Value::Bin(agent.as_bytes().to_vec()),
    ] {
        let Ok(Request::Events(read)) = Request::decode(request(id).body()) else {
            panic!("the id is one");
        };
        assert_eq!(read.agent_id, Some(agent));
    }
    for id in [
        "",
        "42",
        "urn:uuid:01890a5d-ac96-774b-bcce-b302099a8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
    ] {
        assert_eq!(
            refused(&request(id.into())).to_string(),
            format!("agent_id: expected a UUID, found \"{id}\"")
        );
    }
    let short = refused(&request(Value::Bin(vec![0; 15])));
    assert_eq!(
        short.to_string(),
        "agent_id: expected a UUID, found 15 bytes"
    );
}

#[test]
fn an_error_code_of_a_newer_server_reads_as_internal() {
    let body = map([
        ("type", "error_response".into()),
        ("error", "the moon is in the way".into()),
        ("error_code", "eclipse".into()),
    ]);
    let Ok(Reply::Error(reply)) = Reply::decode(body.body()) else {
        panic!("the body is an error response");
    };
    assert_eq!(
        (reply.error_code, reply.request_id),
        (ErrorCode::Internal, None)
    );
}

#[test]
fn a_refused_request_is_answered_under_its_id() {
    let reply = refused(&map([("type", "fly".into()), ("request_id", "r1".into())])).to_reply();
    assert_eq!(reply.request_id(), Some("r1"));
    let read = Reply::decode(reply.encode());
    assert_eq!(read, Ok(reply));
}

#[test]
fn a_long_name_from_outside_is_cut_in_the_message() {
    let error = refused(&map([("type", "é".repeat(500).as_str().into())]));
    assert_eq!(
        error.to_string(),
        format!("unsupported message type \"{}…\"", "é".repeat(64))
    );
}
