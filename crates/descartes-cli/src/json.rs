//! What `--json` prints: one object a line. Keys are those of the wire protocol, all of them always there and null
//! where nothing is known; times are RFC 3339 in UTC. They are documented in `docs/cli.md`, and only added to.

use descartes_client::protocol::{
    AgentInfo, AgentStatus, EndReason, PauseMode, Raw, StatusUpdate, Timestamp,
};
use serde_json::{Map, Value, json};

use crate::time::rfc3339;

/// An agent.
pub(crate) fn agent(info: &AgentInfo) -> Value {
    json!({
        "id": info.id.to_string(),
        "name": info.name,
        "status": info.status.as_str(),
        "model_backend": info.model_backend,
        "server_id": info.server_id,
        "task": info.task,
        "started_at": rfc3339(info.started_at),
        "finished_at": time(info.finished_at),
        "paused_at": time(info.paused_at),
        "pause_mode": info.pause_mode.map(PauseMode::as_str),
        "pid": info.pid,
        "exit_code": info.exit_code,
        "exit_signal": info.exit_signal,
        "end_reason": info.end_reason.map(EndReason::as_str),
        "labels": info.labels.clone().unwrap_or_default(),
        "metadata": info.metadata.clone().unwrap_or_default(),
        "session_id": info.session_id,
        "model": info.model,
        "usage": info.usage.map(|usage| json!({
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
            "cost_usd": usage.cost_usd,
        })),
        "result": info.result.as_ref().map(|result| json!({
            "is_error": result.is_error,
            "text": result.text,
        })),
        "output": {
            "stdout_bytes": info.output.stdout_bytes,
            "stderr_bytes": info.output.stderr_bytes,
            "stdout_lost_bytes": info.output.stdout_lost_bytes.unwrap_or(0),
            "stderr_lost_bytes": info.output.stderr_lost_bytes.unwrap_or(0),
        },
    })
}

/// An event.
pub(crate) fn event(update: &StatusUpdate) -> Value {
    json!({
        "time": rfc3339(update.timestamp),
        "agent_id": update.agent_id.to_string(),
        "update_type": update.update_type.as_str(),
        "status": update.status.map(AgentStatus::as_str),
        "message": update.message,
        "data": update.data.as_ref().map_or(Value::Null, raw),
        "server_id": update.server_id,
        "epoch": update.epoch,
        "sequence": update.sequence,
        "agent_sequence": update.agent_sequence,
    })
}

/// Any value of the wire. Bytes become text, with U+FFFD for what is none.
pub(crate) fn raw(value: &Raw) -> Value {
    if let Some(text) = value.as_str() {
        return text.into();
    }
    if let Some(number) = value.as_i64() {
        return number.into();
    }
    if let Some(number) = value.as_u64() {
        return number.into();
    }
    if let Some(truth) = value.as_bool() {
        return truth.into();
    }
    if let Some(time) = timestamp(value) {
        return rfc3339(time).into();
    }
    if value.is_map() {
        let entries = value
            .entries()
            .map(|(key, value)| (key.to_owned(), raw(&value)));
        return Value::Object(entries.collect::<Map<_, _>>());
    }
    if let Some(number) = value.as_f64() {
        return number.into();
    }
    if value.is_array() {
        return value.items().map(|item| raw(&item)).collect();
    }
    let bytes = value.as_bin();
    bytes.map_or(Value::Null, |bytes| String::from_utf8_lossy(&bytes).into())
}

fn timestamp(value: &Raw) -> Option<Timestamp> {
    Some(Timestamp {
        secs_since_epoch: value.get("secs_since_epoch")?.as_u64()?,
        nanos_since_epoch: value.get("nanos_since_epoch")?.as_u64()?.try_into().ok()?,
    })
}

fn time(time: Option<Timestamp>) -> Option<String> {
    time.and_then(rfc3339)
}
