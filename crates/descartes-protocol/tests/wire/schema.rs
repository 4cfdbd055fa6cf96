//! The protocol's tables once more, independent of the crate's, and random messages made from them.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use crate::value::Value;

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Uint,
    Uint32,
    Int32,
    Float,
    Bool,
    Id,
    Bytes,
    Name(&'static [&'static str]),
    Tags,
    Any,
    AnyMap,
    Struct(&'static [Field]),
    List(&'static Kind),
    Message(&'static Schema),
}

/// A field's name, what it holds, and whether it has to be there.
pub(crate) type Field = (&'static str, Kind, Need);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Required,
    Optional,
}

#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) kind: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A struct's fields in order; `None` for one that is left out.
pub(crate) type Fields = Vec<(&'static str, Option<Value>)>;

use Kind::{
    Any, AnyMap, Bool, Float, Id, Int32, List, Message, Name, Struct, Tags, Text, Uint, Uint32,
};
use Need::{Optional as May, Required as Must};

const STATUS: Kind = Name(&[
    "idle",
    "initializing",
    "running",
    "thinking",
    "paused",
    "completed",
    "failed",
    "terminated",
]);
const END_REASON: Kind = Name(&[
    "exited",
    "lost",
    "memory_limit",
    "stopped",
    "killed",
    "timeout",
    "idle_timeout",
    "server_shutdown",
    "orphaned",
]);
const ERROR_CODE: Kind = Name(&[
    "malformed_message",
    "unsupported_message",
    "unsupported_command",
    "message_too_large",
    "invalid_config",
    "unknown_backend",
    "backend_unavailable",
    "max_agents_reached",
    "busy",
    "rate_limited",
    "shutting_down",
    "spawn_failed",
    "request_conflict",
    "agent_not_found",
    "invalid_state",
    "timeout",
    "permission_denied",
    "internal",
]);
const UPDATE_TYPE: Kind = Name(&[
    "status_changed",
    "output_available",
    "error",
    "completed",
    "terminated",
    "heartbeat",
]);
const TIME: Kind = Struct(&[
    ("secs_since_epoch", Uint, Must),
    ("nanos_since_epoch", Uint32, Must),
]);

const CONFIG: Kind = Struct(&[
    ("name", Text, Must),
    ("model_backend", Text, Must),
    ("task", Text, Must),
    ("context", Text, May),
    ("system_prompt", Text, May),
    ("environment", Tags, Must),
    ("model", Text, May),
    ("tool_level", Text, May),
    ("agents", AnyMap, May),
    ("working_dir", Text, May),
    ("args", List(&Text), May),
    ("stdin", Name(&["null", "pipe"]), May),
    ("resume_session", Text, May),
    ("labels", Tags, May),
    (
        "limits",
        Struct(&[
            ("max_runtime_secs", Uint, May),
            ("idle_timeout_secs", Uint, May),
            ("memory_bytes", Uint, May),
            ("cpu_percent", Uint, May),
            ("pids", Uint, May),
            ("output_bytes", Uint, May),
        ]),
        May,
    ),
]);

const INFO: Kind = Struct(&[
    ("id", Id, Must),
    ("name", Text, Must),
    ("status", STATUS, Must),
    ("model_backend", Text, Must),
    ("started_at", TIME, Must),
    ("task", Text, Must),
    ("paused_at", TIME, May),
    ("pause_mode", Name(&["cooperative", "forced"]), May),
    ("attach_info", Any, May),
    ("server_id", Text, Must),
    ("pid", Uint32, May),
    ("exit_code", Int32, May),
    ("exit_signal", Int32, May),
    ("end_reason", END_REASON, May),
    ("finished_at", TIME, May),
    ("metadata", Tags, May),
    ("labels", Tags, May),
    ("session_id", Text, May),
    ("model", Text, May),
    (
        "usage",
        Struct(&[
            ("input_tokens", Uint, Must),
            ("output_tokens", Uint, Must),
            ("cache_read_tokens", Uint, Must),
            ("cost_usd", Float, Must),
        ]),
        May,
    ),
    (
        "result",
        Struct(&[("is_error", Bool, Must), ("text", Text, Must)]),
        May,
    ),
    (
        "output",
        Struct(&[
            ("stdout_bytes", Uint, Must),
            ("stderr_bytes", Uint, Must),
            ("stdout_lost_bytes", Uint, May),
            ("stderr_lost_bytes", Uint, May),
        ]),
        Must,
    ),
    ("agent_sequence", Uint, Must),
]);

const BATCH_RESULT: Kind = Struct(&[
    ("agent_id", Id, Must),
    ("success", Bool, Must),
    ("status", STATUS, May),
    ("error", Text, May),
    ("error_code", ERROR_CODE, May),
]);

const REQUEST_ID: Field = ("request_id", Text, Must);
const AGENT_ID: Field = ("agent_id", Id, Must);
const SUCCESS: Field = ("success", Bool, Must);
const ERROR: Field = ("error", Text, May);
const CODE: Field = ("error_code", ERROR_CODE, May);

const STATUS_UPDATE: Schema = Schema {
    kind: "status_update",
    fields: &[
        AGENT_ID,
        ("update_type", UPDATE_TYPE, Must),
        ("status", STATUS, May),
        ("message", Text, May),
        ("data", Any, May),
        ("timestamp", TIME, Must),
        ("server_id", Text, Must),
        ("epoch", Text, Must),
        ("sequence", Uint, May),
        ("agent_sequence", Uint, May),
    ],
};

macro_rules! schemas {
    ($($kind:literal: $($field:expr),+;)*) => {
        &[$(Schema { kind: $kind, fields: &[$($field),+] },)* STATUS_UPDATE]
    };
}

/// Every message.
pub(crate) const SCHEMAS: &[Schema] = schemas! {
    "spawn_request": REQUEST_ID, ("config", CONFIG, Must), ("timeout_secs", Uint, May), ("metadata", Tags, May);
    "spawn_response": REQUEST_ID, SUCCESS, ("agent_info", INFO, May), ERROR, ("server_id", Text, May), CODE;
    "control_command": REQUEST_ID, AGENT_ID, ("command_type", Text, Must), ("payload", AnyMap, May);
    "command_response": REQUEST_ID, AGENT_ID, SUCCESS, ("status", STATUS, May), ("data", AnyMap, May), ERROR, CODE;
    "list_agents_request": REQUEST_ID, ("filter_status", STATUS, May), ("limit", Uint, May), ("after", Id, May),
        ("include_finished", Bool, May);
    "list_agents_response": REQUEST_ID, SUCCESS, ("agents", List(&INFO), Must), ERROR, CODE, ("has_more", Bool, Must),
        ("epoch", Text, Must), ("sequence", Uint, Must);
    "health_check_request": REQUEST_ID;
    "health_check_response": REQUEST_ID, ("healthy", Bool, Must), ("protocol_version", Text, Must),
        ("uptime_secs", Uint, May), ("active_agents", Uint, May), ("metadata", Tags, May);
    "stats_request": REQUEST_ID;
    "stats_response": REQUEST_ID, ("stats", AnyMap, Must);
    "custom_action_request": REQUEST_ID, AGENT_ID, ("action", Text, Must), ("params", Any, May),
        ("timeout_secs", Uint, May);
    "batch_control_command": REQUEST_ID, ("agent_ids", List(&Id), Must), ("command_type", Text, Must),
        ("payload", AnyMap, May), ("fail_fast", Bool, Must);
    "batch_control_response": REQUEST_ID, SUCCESS, ("results", List(&BATCH_RESULT), Must), ("successful", Uint, Must),
        ("failed", Uint, Must);
    "output_query_request": REQUEST_ID, AGENT_ID, ("stream", Name(&["stdout", "stderr", "both"]), Must),
        ("filter", Text, May), ("limit", Uint, May), ("offset", Uint, May), ("tail", Bool, May),
        ("count", Bool, May), ("from_offset", Uint, May);
    "output_query_response": REQUEST_ID, AGENT_ID, SUCCESS, ("lines", List(&Text), Must), ("total_lines", Uint, May),
        ("has_more", Bool, Must), ERROR, CODE, ("next_offset", Uint, May), ("lost_bytes", Uint, May);
    "events_request": REQUEST_ID, ("epoch", Text, Must), ("after_sequence", Uint, Must), ("limit", Uint, May),
        ("agent_id", Id, May), ("wait_ms", Uint, May);
    "events_response": REQUEST_ID, ("epoch", Text, Must), ("events", List(&Message(&STATUS_UPDATE)), Must),
        ("next_sequence", Uint, Must), ("gap", Bool, Must);
    "error_response": REQUEST_ID, ("error", Text, Must), ("error_code", ERROR_CODE, Must);
    "log_stream": AGENT_ID, ("stream_type", Name(&["stdout", "stderr"]), Must), ("data", Kind::Bytes, Must),
        ("timestamp", TIME, Must), ("sequence", Uint, Must), ("offset", Uint, Must);
};

/// A message with random fields.
pub(crate) fn message() -> impl Strategy<Value = (&'static Schema, Fields)> {
    (0..SCHEMAS.len()).prop_flat_map(|index| {
        fields(SCHEMAS[index].fields).prop_map(move |it| (&SCHEMAS[index], it))
    })
}

/// The map form, with the fields in the given order.
pub(crate) fn as_map(kind: Option<&str>, fields: &Fields) -> Value {
    let kind = kind.map(|kind| ("type".into(), kind.into()));
    let present = fields
        .iter()
        .filter_map(|(name, value)| Some(((*name).into(), value.clone()?)));
    Value::Map(kind.into_iter().chain(present).collect())
}

fn fields(table: &'static [Field]) -> BoxedStrategy<Fields> {
    let fields = table.iter().map(|&(name, kind, need)| {
        let value = value(kind);
        let value = match need {
            Must => value.prop_map(Some).boxed(),
            May => proptest::option::of(value).boxed(),
        };
        value.prop_map(move |value| (name, value)).boxed()
    });
    fields.collect::<Vec<_>>().boxed()
}

fn value(kind: Kind) -> BoxedStrategy<Value> {
    match kind {
        Text => text().boxed(),
        Uint => uint().boxed(),
        Uint32 => any::<u32>()
            .prop_map(|value| Value::UInt(value.into()))
            .boxed(),
        Int32 => any::<i32>()
            .prop_map(|value| Value::Int(value.into()))
            .boxed(),
        Float => any::<f64>().prop_map(Value::Float).boxed(),
        Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Id => "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
            .prop_map(Value::Str)
            .boxed(),
        Kind::Bytes => vec(any::<u8>(), 0..300).prop_map(Value::Bin).boxed(),
        Name(names) => proptest::sample::select(names)
            .prop_map(Value::from)
            .boxed(),
        Tags => btree_map(".{0,8}", ".{0,40}", 0..20)
            .prop_map(|tags| {
                Value::Map(
                    tags.into_iter()
                        .map(|(key, value)| (Value::Str(key), Value::Str(value)))
                        .collect(),
                )
            })
            .boxed(),
        Any => any_value()
            .prop_filter("nil is absent", |value| *value != Value::Nil)
            .boxed(),
        AnyMap => any_map(any_value()).boxed(),
        Struct(table) => fields(table)
            .prop_map(|fields| as_map(None, &fields))
            .boxed(),
        List(kind) => vec(value(*kind), 0..4).prop_map(Value::Array).boxed(),
        Message(schema) => fields(schema.fields)
            .prop_map(|fields| as_map(Some(schema.kind), &fields))
            .boxed(),
    }
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![3 => ".{0,12}", 1 => ".{0,80}", 1 => "[a-z]{250,256}"]
        .prop_filter("short enough for a request_id", |text| text.len() <= 256)
        .prop_map(Value::Str)
}

fn uint() -> impl Strategy<Value = Value> {
    (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| Value::UInt(value >> shift))
}

/// Any value, a few levels deep.
pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        Just(Value::Nil),
        any::<bool>().prop_map(Value::Bool),
        uint(),
        (i64::MIN..0).prop_map(Value::Int),
        any::<f64>().prop_map(Value::Float),
        text(),
        vec(any::<u8>(), 0..40).prop_map(Value::Bin),
    ];
    scalar.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            any_map(inner)
        ]
    })
}

fn any_map(values: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    vec((text(), values), 0..4).prop_map(Value::Map)
}
