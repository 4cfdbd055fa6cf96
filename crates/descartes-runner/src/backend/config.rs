//! From a TOML table to a validated [`Backend`].

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::environment::{self, NamePattern};
use super::error::{ConfigFault, Problem};
use super::reader::Reader;
use super::signal::{self, PauseSignals};
use super::stdin::{FirstStdin, Stdin};
use super::suggest;
use super::template::Arguments;
use super::{Backend, ToolLevel};
use crate::parser::ParserKind;

/// The levels that a client can ask for.
const TOOL_LEVELS: [&str; 3] = ["read_only", "edit", "full"];
const NAME_CHARS_MAX: usize = 64;
const STOP_SIGNAL: &str = "SIGTERM";

const PARSERS: &[(&str, ParserKind)] = &[
    ("claude", ParserKind::Claude),
    ("codex", ParserKind::Codex),
    ("opencode", ParserKind::Opencode),
    ("gemini", ParserKind::Gemini),
    ("copilot", ParserKind::Copilot),
    ("aider", ParserKind::Aider),
    ("jsonl", ParserKind::Jsonl),
    ("text", ParserKind::Text),
];

/// A validated backend, and whether clients may use it.
pub(super) struct Configured {
    pub(super) backend: Backend,
    pub(super) enabled: bool,
}

/// Reads `[backends.name]`; `existing` are the names to suggest where a new one lacks its command.
/// Nothing where there was a fault, which is then in `faults`.
pub(super) fn read<'a>(
    name: &str,
    table: &Table,
    existing: impl Iterator<Item = &'a str>,
    faults: &mut Vec<ConfigFault>,
) -> Option<Configured> {
    let faults_before = faults.len();
    let path = format!("backends.{name}");
    if !is_backend_name(name) {
        faults.push(ConfigFault::new(path.clone(), Problem::BadName));
    }
    let mut reader = Reader::new(table, path, faults);
    let enabled = reader.switch("enabled").unwrap_or(true);
    if !table.contains_key("command") {
        let nearest = suggest::nearest(name, existing);
        reader.fault("command", Problem::Missing { nearest });
    }
    let backend = read_backend(name, &mut reader);
    reader.finish();
    (faults.len() == faults_before).then_some(Configured { backend, enabled })
}

fn is_backend_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(valid)
}

/// A faulty key reads as its default: the fault alone keeps the result from being used.
fn read_backend(name: &str, reader: &mut Reader<'_>) -> Backend {
    let command = read_command(reader);
    let args = read_args(reader);
    let tool_levels = read_tool_levels(reader, &args);
    Backend {
        name: name.to_owned(),
        command,
        args,
        env: read_env(reader),
        pass_env: read_patterns(reader, "pass_env").unwrap_or_default(),
        client_env: read_client_env(reader),
        client_args_allowed: reader.switch("allow_args").unwrap_or(false),
        stdin: read_stdin(reader),
        parser: reader.choice("parser", PARSERS).unwrap_or(ParserKind::Text),
        stop_signal: read_signal(reader, "stop_signal")
            .or_else(|| signal::signal_number(STOP_SIGNAL))
            .unwrap_or_default(),
        pause: read_pause(reader),
        tool_levels,
    }
}

fn read_command(reader: &mut Reader<'_>) -> String {
    let Some(command) = reader.text("command") else {
        return String::new();
    };
    let relative = command.contains('/') && !command.starts_with('/');
    if command.is_empty() || relative {
        reader.fault("command", Problem::RelativeCommand);
    }
    command.to_owned()
}

fn read_args(reader: &mut Reader<'_>) -> Arguments {
    const EXPECTED: &str = "a list of strings and of lists of strings";
    let Some(value) = reader.value("args") else {
        return Arguments::default();
    };
    let Some(list) = value.as_array() else {
        reader.wrong_type("args", EXPECTED);
        return Arguments::default();
    };
    let mut args = Arguments::default();
    for element in list {
        let added = match element {
            Value::String(text) => args.push(text),
            Value::Array(group) => match group.iter().map(Value::as_str).collect() {
                Some(group) => args.push_group(group),
                None => Err(Problem::WrongType { expected: EXPECTED }),
            },
            _ => Err(Problem::WrongType { expected: EXPECTED }),
        };
        if let Err(problem) = added {
            reader.fault("args", problem);
        }
    }
    args
}

fn read_env(reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Some(table) = reader.table("env") else {
        return BTreeMap::new();
    };
    let mut env = BTreeMap::new();
    for (name, value) in table {
        let problem = if !environment::is_variable_name(name) {
            Some(Problem::BadVariable { name: name.clone() })
        } else if name == environment::AGENT_ID {
            Some(Problem::ReservedVariable { name: name.clone() })
        } else {
            match value.as_str() {
                None => Some(Problem::WrongType {
                    expected: "a string",
                }),
                Some(text) if text.contains('\0') => Some(Problem::Nul),
                Some(text) => {
                    env.insert(name.clone(), text.to_owned());
                    None
                }
            }
        };
        if let Some(problem) = problem {
            reader.fault(&format!("env.{name}"), problem);
        }
    }
    env
}

fn read_patterns(reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<NamePattern>> {
    let mut patterns = Vec::new();
    for text in reader.texts(key)? {
        match NamePattern::parse(text) {
            Some(pattern) => patterns.push(pattern),
            None => reader.fault(
                key,
                Problem::BadVariable {
                    name: text.to_owned(),
                },
            ),
        }
    }
    Some(patterns)
}

fn read_client_env(reader: &mut Reader<'_>) -> Vec<NamePattern> {
    let Some(patterns) = read_patterns(reader, "client_env") else {
        return vec![NamePattern::any()];
    };
    for pattern in &patterns {
        if let NamePattern::Exact(name) = pattern
            && environment::is_reserved(name)
        {
            let name = name.clone();
            reader.fault("client_env", Problem::ReservedVariable { name });
        }
    }
    patterns
}

fn read_stdin(reader: &mut Reader<'_>) -> Stdin {
    let first = reader.choice(
        "first_stdin",
        &[
            ("none", FirstStdin::Nothing),
            ("task", FirstStdin::Task),
            ("claude_json", FirstStdin::ClaudeJson),
        ],
    );
    let stdin = reader.choice(
        "stdin",
        &[
            ("null", Stdin::Null),
            ("pipe", Stdin::Pipe(first.unwrap_or(FirstStdin::Nothing))),
            ("task", Stdin::Task),
        ],
    );
    let stdin = stdin.unwrap_or(Stdin::Null);
    let unused = !matches!(stdin, Stdin::Pipe(_));
    if unused && first.is_some_and(|first| first != FirstStdin::Nothing) {
        reader.fault("first_stdin", Problem::FirstStdinWithoutPipe);
    }
    stdin
}

fn read_signal(reader: &mut Reader<'_>, key: &'static str) -> Option<i32> {
    let name = reader.text(key)?;
    let number = signal::signal_number(name);
    if number.is_none() {
        let name = name.to_owned();
        reader.fault(key, Problem::UnknownSignal { name });
    }
    number
}

fn read_pause(reader: &mut Reader<'_>) -> Option<PauseSignals> {
    const PAUSE: &str = "pause_signal";
    const RESUME: &str = "resume_signal";
    let pause = read_signal(reader, PAUSE);
    let resume = read_signal(reader, RESUME);
    let lonely = match (reader.value(PAUSE), reader.value(RESUME)) {
        (Some(_), None) => Some((PAUSE, RESUME)),
        (None, Some(_)) => Some((RESUME, PAUSE)),
        _ => None,
    };
    if let Some((key, other)) = lonely {
        reader.fault(key, Problem::LonelySignal { other });
    }
    let (pause, resume) = pause.zip(resume)?;
    Some(PauseSignals { pause, resume })
}

fn read_tool_levels(reader: &mut Reader<'_>, args: &Arguments) -> BTreeMap<String, ToolLevel> {
    let Some(table) = reader.table("tool_levels") else {
        return BTreeMap::new();
    };
    let mut levels = BTreeMap::new();
    let mut reader = reader.inner("tool_levels", table);
    for name in TOOL_LEVELS {
        if let Some(table) = reader.table(name) {
            let mut reader = reader.inner(name, table);
            let level = ToolLevel {
                args: owned(reader.texts("args")),
                env: read_env(&mut reader),
            };
            if !level.args.is_empty() && !args.take_tool_args() {
                reader.fault("args", Problem::NoPlaceForToolArgs);
            }
            reader.finish();
            levels.insert(name.to_owned(), level);
        }
    }
    reader.finish();
    levels
}

fn owned(texts: Option<Vec<&str>>) -> Vec<String> {
    let texts = texts.unwrap_or_default();
    texts.into_iter().map(str::to_owned).collect()
}
