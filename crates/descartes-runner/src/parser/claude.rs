//! Claude Code's `stream-json`, which Qwen Code speaks too.
//!
//! `system/init` names session and model; `assistant` and `user` carry content blocks; `result` ends a
//! turn. A conversation has several turns, so usage is summed over results; each `assistant` line
//! repeats usage and is not counted. The cost of a result is already the session's total.

use serde_json::Value;

use super::sink::Sink;
use super::{Usage, add, cost, kind, text, tokens};

#[derive(Debug, Default)]
pub(super) struct Claude {
    usage: Usage,
}

impl Claude {
    pub(super) fn event(&mut self, event: &Value, sink: &mut Sink) {
        match kind(event) {
            "system" => system(event, sink),
            "assistant" => {
                sink.turn_goes_on();
                assistant(event, sink);
            }
            "user" => {
                sink.turn_goes_on();
                sink.working();
            }
            "result" => self.result(event, sink),
            _ => {}
        }
    }

    fn result(&mut self, event: &Value, sink: &mut Sink) {
        sink.session(text(event, "/session_id"));
        add(
            &mut self.usage.input_tokens,
            tokens(event, "/usage/input_tokens"),
        );
        add(
            &mut self.usage.output_tokens,
            tokens(event, "/usage/output_tokens"),
        );
        add(
            &mut self.usage.cache_read_tokens,
            tokens(event, "/usage/cache_read_input_tokens"),
        );
        self.usage.cost_usd = cost(event, "/total_cost_usd").or(self.usage.cost_usd);
        sink.usage(self.usage);
        // A failed request to the model has `subtype: success` all the same.
        let is_error = event["is_error"].as_bool().unwrap_or(false);
        let answer = text(event, "/result")
            .or_else(|| text(event, "/error/message"))
            .or_else(|| text(event, "/errors/0"))
            .or_else(|| text(event, "/subtype"));
        sink.result(is_error, answer.unwrap_or_default());
    }
}

fn system(event: &Value, sink: &mut Sink) {
    match text(event, "/subtype") {
        Some("init") => {
            sink.session(text(event, "/session_id"));
            sink.model(text(event, "/model"));
        }
        Some("thinking_tokens") => sink.thinking(),
        _ => {}
    }
}

fn assistant(event: &Value, sink: &mut Sink) {
    let blocks = event.pointer("/message/content").and_then(Value::as_array);
    for block in blocks.into_iter().flatten() {
        match kind(block) {
            "thinking" | "redacted_thinking" => sink.thinking(),
            _ => sink.working(),
        }
    }
}
