//! `opencode run --format json`.
//!
//! Every event carries `sessionID`. Each step ends with its own tokens and cost, which are summed. There
//! is no last event: a step that ends for another reason than calling a tool ends the turn, an `error`
//! fails it, and the exit of the process is the end.

use serde_json::Value;

use super::sink::{Sink, cut};
use super::{Usage, add, cost, kind, text, tokens};

#[derive(Debug, Default)]
pub(super) struct Opencode {
    usage: Usage,
    last_text: String,
}

impl Opencode {
    pub(super) fn event(&mut self, event: &Value, sink: &mut Sink) {
        sink.session(text(event, "/sessionID"));
        match kind(event) {
            "step_start" => {
                sink.turn_goes_on();
                sink.working();
            }
            "reasoning" => sink.thinking(),
            "text" => {
                cut(text(event, "/part/text").unwrap_or_default()).clone_into(&mut self.last_text);
                sink.working();
            }
            "tool_use" => sink.working(),
            "step_finish" => self.step_finish(event, sink),
            "error" => {
                let message = text(event, "/error/data/message")
                    .or_else(|| text(event, "/error/message"))
                    .or_else(|| text(event, "/error/name"));
                sink.result(true, message.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn step_finish(&mut self, event: &Value, sink: &mut Sink) {
        add(
            &mut self.usage.input_tokens,
            tokens(event, "/part/tokens/input"),
        );
        add(
            &mut self.usage.output_tokens,
            tokens(event, "/part/tokens/output"),
        );
        add(
            &mut self.usage.cache_read_tokens,
            tokens(event, "/part/tokens/cache/read"),
        );
        if let Some(cost) = cost(event, "/part/cost") {
            *self.usage.cost_usd.get_or_insert(0.0) += cost;
        }
        sink.usage(self.usage);
        if text(event, "/part/reason") != Some("tool-calls") {
            sink.result(false, &self.last_text);
        }
    }
}
