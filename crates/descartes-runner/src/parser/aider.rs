//! Aider's plain text.
//!
//! Aider exits with 0 when the model's API refuses; a line that begins with an exception of its API
//! library, `litellm.…Error`, is what tells. It retries some errors, and ends each answer with a line of
//! tokens, so an error before such a line is over. The tokens themselves are rounded and are not read.

use super::sink::Sink;

const MODEL: &str = "Model: ";
const MODEL_END: &str = " with ";
const API_LIBRARY: &str = "litellm.";
const TOKENS: &str = "Tokens: ";

#[derive(Debug, Default)]
pub(super) struct Aider {
    failing: bool,
}

impl Aider {
    pub(super) fn line(&mut self, line: &[u8], sink: &mut Sink) {
        let Ok(line) = std::str::from_utf8(line.trim_ascii_end()) else {
            return;
        };
        if let Some(model) = line.strip_prefix(MODEL) {
            sink.model(model.split(MODEL_END).next());
        } else if is_api_error(line) {
            self.failing = true;
            sink.result(true, line);
        } else if self.failing && line.starts_with(TOKENS) {
            self.failing = false;
            sink.result(false, "");
        }
    }
}

fn is_api_error(line: &str) -> bool {
    let Some(rest) = line.strip_prefix(API_LIBRARY) else {
        return false;
    };
    let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    rest[..end.unwrap_or(rest.len())].ends_with("Error")
}
