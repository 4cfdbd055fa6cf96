//! Copilot CLI's `--output-format json`.
//!
//! Events of a session have their fields in `data` or beside `type`; both are read. `assistant.message`
//! is a whole answer, `session.error` a failure, and `result` the end, with an exit code.

use serde_json::Value;

use super::sink::{Sink, cut};
use super::{Usage, add, kind, text, tokens};

#[derive(Debug, Default)]
pub(super) struct Copilot {
    usage: Usage,
    last_message: String,
    error: Option<String>,
}

impl Copilot {
    pub(super) fn event(&mut self, event: &Value, sink: &mut Sink) {
        let data = event.get("data").filter(|data| data.is_object());
        let data = data.unwrap_or(event);
        match kind(event) {
            "session.start" | "session.resume" => {
                sink.session(text(data, "/sessionId"));
                sink.model(text(data, "/selectedModel"));
            }
            "session.model_change" => sink.model(text(data, "/newModel")),
            "assistant.reasoning" | "assistant.reasoning_delta" => sink.thinking(),
            "assistant.message_delta" | "tool.execution_start" | "tool.execution_complete" => {
                sink.turn_goes_on();
                sink.working();
            }
            "assistant.message" => self.message(data, sink),
            "assistant.usage" => self.tokens_used(data, sink),
            "session.error" => self.error = Some(cut(message(data)).to_owned()),
            "result" => self.result(event, sink),
            _ => {}
        }
    }

    fn message(&mut self, data: &Value, sink: &mut Sink) {
        // An answer after an error means that a retry got through.
        self.error = None;
        let content = text(data, "/content").filter(|content| !content.is_empty());
        if let Some(content) = content {
            cut(content).clone_into(&mut self.last_message);
        }
        sink.turn_goes_on();
        sink.working();
    }

    fn tokens_used(&mut self, data: &Value, sink: &mut Sink) {
        sink.model(text(data, "/model"));
        add(&mut self.usage.input_tokens, tokens(data, "/inputTokens"));
        add(&mut self.usage.output_tokens, tokens(data, "/outputTokens"));
        add(
            &mut self.usage.cache_read_tokens,
            tokens(data, "/cacheReadTokens"),
        );
        sink.usage(self.usage);
    }

    fn result(&self, event: &Value, sink: &mut Sink) {
        sink.session(text(event, "/sessionId"));
        let exit_code = event["exitCode"].as_i64().unwrap_or(0);
        match &self.error {
            Some(error) => sink.result(true, error),
            None => sink.result(exit_code != 0, &self.last_message),
        }
    }
}

fn message(data: &Value) -> &str {
    text(data, "/message")
        .or_else(|| text(data, "/error/message"))
        .unwrap_or_default()
}
