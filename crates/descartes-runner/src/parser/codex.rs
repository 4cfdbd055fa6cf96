//! `codex exec --json`.
//!
//! `thread.started` names the session; items come and go; `turn.completed` with usage or
//! `turn.failed` ends a turn. An `error` is a notice: codex goes on trying. It does not say its model.

use serde_json::Value;

use super::sink::{Sink, cut};
use super::{Usage, kind, text, tokens};

#[derive(Debug, Default)]
pub(super) struct Codex {
    last_message: String,
}

impl Codex {
    pub(super) fn event(&mut self, event: &Value, sink: &mut Sink) {
        match kind(event) {
            "thread.started" => sink.session(text(event, "/thread_id")),
            "turn.started" => {
                self.last_message.clear();
                sink.turn_goes_on();
            }
            "item.started" | "item.updated" | "item.completed" => self.item(&event["item"], sink),
            "turn.completed" => {
                sink.usage(Usage {
                    input_tokens: tokens(event, "/usage/input_tokens"),
                    output_tokens: tokens(event, "/usage/output_tokens"),
                    cache_read_tokens: tokens(event, "/usage/cached_input_tokens"),
                    cost_usd: None,
                });
                sink.result(false, &self.last_message);
            }
            "turn.failed" => sink.result(true, text(event, "/error/message").unwrap_or_default()),
            _ => {}
        }
    }

    fn item(&mut self, item: &Value, sink: &mut Sink) {
        match kind(item) {
            "reasoning" => sink.thinking(),
            "error" => {}
            "agent_message" => {
                cut(text(item, "/text").unwrap_or_default()).clone_into(&mut self.last_message);
                sink.working();
            }
            _ => sink.working(),
        }
    }
}
