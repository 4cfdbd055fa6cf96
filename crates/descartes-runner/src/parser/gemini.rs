//! Gemini CLI's `stream-json`.
//!
//! `init` names session and model; the answer comes in deltas; `result` ends the run with a status and
//! the totals. A run without `result` was interrupted, even where its exit code is 0. Thoughts are not
//! in this output.

use serde_json::Value;

use super::sink::Sink;
use super::{RESULT_BYTES_MAX, Usage, kind, text, tokens};

#[derive(Debug, Default)]
pub(super) struct Gemini {
    /// What the model said since its last tool.
    answer: String,
}

impl Gemini {
    pub(super) fn event(&mut self, event: &Value, sink: &mut Sink) {
        match kind(event) {
            "init" => {
                sink.session(text(event, "/session_id"));
                sink.model(text(event, "/model"));
            }
            "message" if text(event, "/role") == Some("assistant") => {
                self.message(event);
                sink.turn_goes_on();
            }
            "tool_use" | "tool_result" => self.answer.clear(),
            "result" => self.result(event, sink),
            _ => {}
        }
    }

    fn message(&mut self, event: &Value) {
        if event["delta"] != Value::Bool(true) {
            self.answer.clear();
        }
        let said = text(event, "/content").unwrap_or_default();
        let room = RESULT_BYTES_MAX - self.answer.len();
        self.answer
            .push_str(&said[..said.floor_char_boundary(room)]);
    }

    fn result(&self, event: &Value, sink: &mut Sink) {
        sink.usage(Usage {
            input_tokens: tokens(event, "/stats/input_tokens"),
            output_tokens: tokens(event, "/stats/output_tokens"),
            cache_read_tokens: tokens(event, "/stats/cached"),
            cost_usd: None,
        });
        if text(event, "/status") == Some("success") {
            sink.result(false, &self.answer);
        } else {
            sink.result(true, text(event, "/error/message").unwrap_or_default());
        }
    }
}
