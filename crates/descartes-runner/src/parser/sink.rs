//! Collects observations, and keeps back what was said before.

use super::{Observation, RESULT_BYTES_MAX, Usage};

/// The longest session id and model name that are believed, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What has been observed: all that it takes to say only what is new.
#[derive(Debug, Default)]
pub(super) struct Sink {
    out: Vec<Observation>,
    session: Option<String>,
    model: Option<String>,
    thinking: bool,
    has_result: bool,
}

impl Sink {
    pub(super) fn session(&mut self, id: Option<&str>) {
        if let Some(id) = news(&mut self.session, id) {
            self.out.push(Observation::Session(id));
        }
    }

    pub(super) fn model(&mut self, name: Option<&str>) {
        if let Some(name) = news(&mut self.model, name) {
            self.out.push(Observation::Model(name));
        }
    }

    /// A turn is under way: what came before is not its result.
    pub(super) fn turn_goes_on(&mut self) {
        self.has_result = false;
    }

    pub(super) fn thinking(&mut self) {
        if !self.thinking {
            self.thinking = true;
            self.out.push(Observation::Thinking);
        }
    }

    pub(super) fn working(&mut self) {
        if self.thinking {
            self.thinking = false;
            self.out.push(Observation::Working);
        }
    }

    pub(super) fn usage(&mut self, usage: Usage) {
        self.out.push(Observation::Usage(usage));
    }

    pub(super) fn result(&mut self, is_error: bool, text: &str) {
        self.working();
        self.has_result = true;
        let text = cut(text).to_owned();
        self.out.push(Observation::Result { is_error, text });
    }

    pub(super) fn saw_result(&self) -> bool {
        self.has_result
    }

    pub(super) fn take(&mut self) -> Vec<Observation> {
        std::mem::take(&mut self.out)
    }
}

/// As much of a result's text as is kept.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(RESULT_BYTES_MAX)]
}

fn news(known: &mut Option<String>, said: Option<&str>) -> Option<String> {
    let said = said.filter(|said| (1..=NAME_BYTES_MAX).contains(&said.len()))?;
    if known.as_deref() == Some(said) {
        return None;
    }
    *known = Some(said.to_owned());
    known.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(RESULT_BYTES_MAX);
        let odd = format!("x{text}");
        assert_eq!(cut(&text).len(), RESULT_BYTES_MAX);
        assert_eq!(cut(&odd).len(), RESULT_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn what_was_said_before_is_no_news() {
        let mut sink = Sink::default();
        sink.session(Some("a"));
        sink.session(Some("a"));
        sink.session(Some(""));
        sink.working();
        sink.thinking();
        sink.thinking();
        let expected = [Observation::Session("a".into()), Observation::Thinking];
        assert_eq!(sink.take(), expected);
    }
}
