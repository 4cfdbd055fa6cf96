//! The place in the settings that a key stands for, with its type.

use std::path::PathBuf;

use descartes_core::{OnShutdown, SecurityMode};
use toml::Value;

use crate::log::LogFormat;
use crate::suggest::did_you_mean;

/// A place in the settings. What is `Option` there is unset until somebody sets it.
pub(crate) enum Slot<'a> {
    Text(&'a mut String),
    OptionalText(&'a mut Option<String>),
    OptionalPath(&'a mut Option<PathBuf>),
    Count(&'a mut usize),
    OptionalCount(&'a mut Option<usize>),
    Number(&'a mut u64),
    Switch(&'a mut bool),
    Choice(&'a mut dyn Choice),
}

/// A value that is one of a few words.
pub(crate) trait Choice {
    fn word(&self) -> &'static str;
    fn words(&self) -> Vec<&'static str>;
    /// False where there is no such word.
    fn choose(&mut self, word: &str) -> bool;
}

/// A type with a word for each of its values.
trait Worded: Copy + PartialEq + 'static {
    const WORDS: &'static [(&'static str, Self)];
}

impl Worded for OnShutdown {
    const WORDS: &'static [(&'static str, Self)] =
        &[("stop", Self::Stop), ("detach", Self::Detach)];
}

impl Worded for SecurityMode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("curve", Self::Curve),
        ("none", Self::None),
    ];
}

impl Worded for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

impl<T: Worded> Choice for T {
    fn word(&self) -> &'static str {
        let known = T::WORDS.iter().find(|(_, value)| value == self);
        known.map_or("", |(word, _)| word)
    }

    fn words(&self) -> Vec<&'static str> {
        T::WORDS.iter().map(|(word, _)| *word).collect()
    }

    fn choose(&mut self, word: &str) -> bool {
        let known = T::WORDS.iter().find(|(known, _)| *known == word);
        if let Some((_, value)) = known {
            *self = *value;
        }
        known.is_some()
    }
}

impl Slot<'_> {
    /// The value as TOML; `None` where it is unset.
    pub(crate) fn value(&self) -> Option<Value> {
        match self {
            Self::Text(text) => Some(Value::String((**text).clone())),
            Self::OptionalText(text) => (**text).clone().map(Value::String),
            Self::OptionalPath(path) => path
                .as_ref()
                .map(|path| Value::String(path.display().to_string())),
            Self::Count(count) => Some(integer(**count as u64)),
            Self::OptionalCount(count) => count.map(|count| integer(count as u64)),
            Self::Number(number) => Some(integer(**number)),
            Self::Switch(switch) => Some(Value::Boolean(**switch)),
            Self::Choice(choice) => Some(Value::String(choice.word().to_owned())),
        }
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// What is wrong with the value, which then stays out.
    pub(crate) fn set(self, value: &Value) -> Result<(), String> {
        if value.as_str().is_some_and(|text| text.contains('\0')) {
            return Err("must not contain a NUL byte".to_owned());
        }
        match (self, value) {
            (Self::Text(slot), Value::String(text)) => slot.clone_from(text),
            (Self::OptionalText(slot), Value::String(text)) => *slot = Some(text.clone()),
            (Self::OptionalPath(slot), Value::String(text)) => *slot = Some(path(text)?),
            (Self::Count(slot), Value::Integer(number)) => *slot = unsigned(*number)?,
            (Self::OptionalCount(slot), Value::Integer(number)) => *slot = Some(unsigned(*number)?),
            (Self::Number(slot), Value::Integer(number)) => *slot = unsigned(*number)?,
            (Self::Switch(slot), Value::Boolean(switch)) => *slot = *switch,
            (Self::Choice(slot), Value::String(word)) => choose(slot, word)?,
            (slot, _) => return Err(format!("must be {}", slot.expected())),
        }
        Ok(())
    }

    /// The value that a text stands for, outside of TOML: in a variable or an option.
    ///
    /// # Errors
    /// What it should have been.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Count(_) | Self::OptionalCount(_) | Self::Number(_) => {
                text.parse().ok().map(Value::Integer)
            }
            Self::Switch(_) => text.parse().ok().map(Value::Boolean),
            _ => Some(Value::String(text.to_owned())),
        };
        value.ok_or_else(|| format!("`{text}` must be {}", self.expected()))
    }

    fn expected(&self) -> String {
        match self {
            Self::Text(_) | Self::OptionalText(_) => "a string".to_owned(),
            Self::OptionalPath(_) => "a path".to_owned(),
            Self::Count(_) | Self::OptionalCount(_) | Self::Number(_) => {
                "a whole number, 0 or more".to_owned()
            }
            Self::Switch(_) => "true or false".to_owned(),
            Self::Choice(choice) => format!("one of {}", choice.words().join(", ")),
        }
    }
}

fn choose(choice: &mut dyn Choice, word: &str) -> Result<(), String> {
    if choice.choose(word) {
        return Ok(());
    }
    let words = choice.words();
    Err(format!(
        "`{word}` is none of {}{}",
        words.join(", "),
        did_you_mean(word, words)
    ))
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("must not be empty; leave it out for the default".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn unsigned<T: TryFrom<i64>>(number: i64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{number} must be a whole number, 0 or more"))
}

fn integer(number: u64) -> Value {
    Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}
