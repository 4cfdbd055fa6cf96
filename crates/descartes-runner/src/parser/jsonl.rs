//! Any program's JSON lines: the few fields that [`ParserKind::Jsonl`](super::ParserKind) promises.

use serde_json::Value;

use super::sink::Sink;
use super::{Usage, cost, kind, text, tokens};

pub(super) fn event(event: &Value, sink: &mut Sink) {
    sink.session(text(event, "/session_id"));
    sink.model(text(event, "/model"));
    match kind(event) {
        "thinking" => sink.thinking(),
        "running" => sink.working(),
        "result" => result(event, sink),
        _ => {}
    }
}

fn result(event: &Value, sink: &mut Sink) {
    if event["usage"].is_object() {
        sink.usage(Usage {
            input_tokens: tokens(event, "/usage/input_tokens"),
            output_tokens: tokens(event, "/usage/output_tokens"),
            cache_read_tokens: tokens(event, "/usage/cache_read_tokens"),
            cost_usd: cost(event, "/total_cost_usd"),
        });
    }
    let is_error = event["is_error"].as_bool().unwrap_or(false);
    sink.result(is_error, text(event, "/result").unwrap_or_default());
}
