//! What holds for every message and for every sequence of bytes.

use bytes::Bytes;
use descartes_protocol::{
    Command, DecodeError, ErrorCode, LogStream, Raw, Reply, Request, StatusUpdate,
};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::schema::{Fields, Need, Schema, any_value, as_map, message};
use crate::value::Value;

#[derive(Debug, PartialEq)]
enum Any {
    Request(Request),
    Reply(Reply),
    StatusUpdate(StatusUpdate),
    LogStream(LogStream),
}

impl Any {
    fn decode(kind: &str, body: Bytes) -> Result<Self, DecodeError> {
        match kind {
            "status_update" => StatusUpdate::decode(body).map(Self::StatusUpdate),
            "log_stream" => LogStream::decode(body).map(Self::LogStream),
            reply if reply.ends_with("_response") => Reply::decode(body).map(Self::Reply),
            _ => Request::decode(body).map(Self::Request),
        }
    }

    fn encode(&self) -> Bytes {
        match self {
            Self::Request(message) => message.encode(),
            Self::Reply(message) => message.encode(),
            Self::StatusUpdate(message) => message.encode(),
            Self::LogStream(message) => message.encode(),
        }
    }
}

/// The positional form; absent fields are nil, those at the end are cut off.
fn positional(kind: &str, fields: &Fields) -> Vec<Value> {
    let present = fields.iter().rposition(|(_, value)| value.is_some());
    let given = &fields[..present.map_or(0, |last| last + 1)];
    let values = given
        .iter()
        .map(|(_, value)| value.clone().unwrap_or(Value::Nil));
    std::iter::once(kind.into()).chain(values).collect()
}

fn required(schema: &Schema) -> Vec<&'static str> {
    let required = schema
        .fields
        .iter()
        .filter(|field| field.2 == Need::Required);
    required.map(|field| field.0).collect()
}

/// A message as a shuffled map with keys that mean nothing among the others.
fn shuffled() -> impl Strategy<Value = (&'static Schema, Fields, Value)> {
    (message(), any_value()).prop_flat_map(|((schema, fields), surplus)| {
        let Value::Map(mut entries) = as_map(Some(schema.kind), &fields) else {
            unreachable!("the map form is a map");
        };
        entries.push(("unheard_of".into(), surplus.clone()));
        entries.push(("".into(), surplus));
        Just(entries)
            .prop_shuffle()
            .prop_map(move |entries| (schema, fields.clone(), Value::Map(entries)))
    })
}

proptest! {
    #[test]
    fn a_map_is_read_and_written_back_to_the_byte((schema, fields) in message()) {
        let body = as_map(Some(schema.kind), &fields).body();
        let message = Any::decode(schema.kind, body.clone())?;
        prop_assert_eq!(message.encode(), body);
    }

    #[test]
    fn the_order_of_keys_and_unknown_keys_mean_nothing((schema, fields, body) in shuffled()) {
        let shuffled = Any::decode(schema.kind, body.body())?;
        let ordered = as_map(Some(schema.kind), &fields).body();
        prop_assert_eq!(shuffled.encode(), ordered);
    }

    #[test]
    fn the_positional_form_reads_as_the_map_does((schema, fields) in message()) {
        let array = Value::Array(positional(schema.kind, &fields));
        let message = Any::decode(schema.kind, array.body())?;
        prop_assert_eq!(message.encode(), as_map(Some(schema.kind), &fields).body());
    }

    #[test]
    fn surplus_elements_of_the_positional_form_are_ignored(
        (schema, fields) in message(),
        surplus in any_value(),
    ) {
        let mut array = vec![schema.kind.into()];
        array.extend(fields.iter().map(|(_, value)| value.clone().unwrap_or(Value::Nil)));
        array.push(surplus);
        let message = Any::decode(schema.kind, Value::Array(array).body())?;
        prop_assert_eq!(message.encode(), as_map(Some(schema.kind), &fields).body());
    }

    #[test]
    fn a_nil_field_reads_as_absent((schema, mut fields) in message()) {
        let body = as_map(Some(schema.kind), &fields).body();
        for (_, value) in &mut fields {
            value.get_or_insert(Value::Nil);
        }
        let message = Any::decode(schema.kind, as_map(Some(schema.kind), &fields).body())?;
        prop_assert_eq!(message.encode(), body);
    }

    #[test]
    fn a_missing_field_is_named_together_with_the_request(
        (schema, fields) in message(),
        which in any::<Index>(),
    ) {
        let missing = *which.get(&required(schema));
        // These two may be missing: one has a default, the other is optional.
        prop_assume!(missing != "fail_fast" && (schema.kind, missing) != ("error_response", "request_id"));
        let rest: Fields = fields.into_iter().filter(|(name, _)| *name != missing).collect();
        let error = Any::decode(schema.kind, as_map(Some(schema.kind), &rest).body()).unwrap_err();
        prop_assert_eq!(error.code(), ErrorCode::MalformedMessage);
        prop_assert_eq!(error.to_string(), format!("{missing}: missing"));
        let request = rest.iter().find(|(name, _)| *name == "request_id");
        prop_assert_eq!(error.request_id.is_some(), request.is_some());
    }

    #[test]
    fn a_message_that_ends_early_is_malformed((schema, fields) in message(), at in any::<Index>()) {
        let body = as_map(Some(schema.kind), &fields).body();
        let cut = body.slice(..at.index(body.len()));
        let error = Any::decode(schema.kind, cut).unwrap_err();
        prop_assert_eq!(error.code(), ErrorCode::MalformedMessage);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Request::decode(bytes.clone());
        let _ = Reply::decode(bytes.clone());
        let _ = StatusUpdate::decode(bytes.clone());
        let _ = LogStream::decode(bytes.clone());
        if let Ok(raw) = Raw::from_encoded(bytes) {
            prop_assert!(raw.entries().count() < 400);
        }
    }

    #[test]
    fn no_payload_makes_a_command_panic(payload in any_value(), command in "[a-z_]{0,12}") {
        let payload = Raw::from_encoded(payload.body())?;
        for name in [command.as_str(), "pause", "stop", "write_stdin", "read_stdout", "signal", "query_output"] {
            let _ = Command::parse(name, Some(&payload));
        }
    }
}
