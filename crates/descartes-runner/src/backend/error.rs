//! What can be wrong with a configured backend, and with a spawn that names one.

use std::fmt;
use std::path::PathBuf;

use thiserror::Error;

/// How much of a client's text an error repeats, in characters.
const SHOWN_CHARS_MAX: usize = 64;

/// One fault of the configuration, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {problem}")]
pub struct ConfigFault {
    /// The key, for instance `backends.mytool.stdin`.
    pub path: String,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

/// What is wrong with one key of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// No such key.
    #[error("unknown key{}", suggestion(.nearest.as_deref()))]
    UnknownKey {
        /// The known key that looks most like it.
        nearest: Option<String>,
    },
    /// A required key is not there.
    #[error("is required{}", suggestion(.nearest.as_deref()))]
    Missing {
        /// The existing backend that the name may have meant.
        nearest: Option<String>,
    },
    /// The value has another type.
    #[error("must be {expected}")]
    WrongType {
        /// What it must be.
        expected: &'static str,
    },
    /// The value is none of the possible ones.
    #[error("`{value}` is none of {}{}", .known.join(", "), suggestion(.nearest.as_deref()))]
    UnknownValue {
        /// The configured value.
        value: String,
        /// All possible values.
        known: Vec<&'static str>,
        /// The one that looks most like it.
        nearest: Option<String>,
    },
    /// A backend's name has other characters than letters, digits, `-` and `_`, or more than 64.
    #[error("a backend's name is 1 to 64 letters, digits, `-` and `_`")]
    BadName,
    /// The command is a relative path.
    #[error("must be a program's name or an absolute path")]
    RelativeCommand,
    /// A template names something that does not exist.
    #[error("unknown placeholder `{{{word}}}`{}", suggestion(.nearest.as_deref()))]
    UnknownPlaceholder {
        /// The word between the braces.
        word: String,
        /// The placeholder that looks most like it.
        nearest: Option<String>,
    },
    /// `{args}` or `{tool_args}` inside a longer string or a group.
    #[error("`{{{word}}}` must be an element of its own, outside of groups")]
    MisplacedList {
        /// The word between the braces.
        word: String,
    },
    /// A group that nothing could ever leave out.
    #[error("a group needs a placeholder; without one, write its elements outside")]
    PointlessGroup,
    /// A tool level has arguments, and the template no place for them.
    #[error("has arguments, but `args` has no element \"{{tool_args}}\"")]
    NoPlaceForToolArgs,
    /// Not a name that a variable can have, or a pattern with a `*` elsewhere than at the end.
    #[error("`{name}` is not the name of a variable")]
    BadVariable {
        /// The configured name or pattern.
        name: String,
    },
    /// A variable that the server itself sets, or that clients may never set.
    #[error("`{name}` cannot be set here")]
    ReservedVariable {
        /// The variable.
        name: String,
    },
    /// A NUL byte, which neither arguments nor variables can hold.
    #[error("must not contain a NUL byte")]
    Nul,
    /// Not a signal of this system.
    #[error("`{name}` is not a signal")]
    UnknownSignal {
        /// The configured name.
        name: String,
    },
    /// Only one of `pause_signal` and `resume_signal` is set.
    #[error("needs `{other}` beside it")]
    LonelySignal {
        /// The key that is missing.
        other: &'static str,
    },
    /// `first_stdin` where standard input is no open pipe.
    #[error("needs stdin = \"pipe\"")]
    FirstStdinWithoutPipe,
}

/// Why a spawn was refused before anything was started.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LaunchError {
    /// No backend has this name.
    #[error("unknown backend `{name}`; this server has: {}", .known.join(", "))]
    UnknownBackend {
        /// The name asked for, cut after 64 characters.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// The backend is configured, but its program cannot be run.
    #[error("backend `{backend}` is unavailable: `{command}` {reason}")]
    BackendUnavailable {
        /// The backend's name.
        backend: String,
        /// Its configured command.
        command: String,
        /// What is wrong with the program.
        #[source]
        reason: Unavailable,
    },
    /// The spawn's content does not fit the backend.
    #[error(transparent)]
    InvalidConfig(#[from] Refusal),
}

/// What keeps a program from being run.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// No folder of the agent's PATH has it.
    #[error(
        "is in no folder of the PATH `{path}`; install it, or give an absolute path as `command`"
    )]
    NotInPath {
        /// The PATH that was searched.
        path: String,
    },
    /// There is no such file.
    #[error("does not exist")]
    Missing,
    /// It is there, but is not a file that this user may execute.
    #[error("is not executable ({})", .file.display())]
    NotExecutable {
        /// The file that was found.
        file: PathBuf,
    },
}

/// What a backend does not accept of a spawn. Values never appear, since they may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The backend's template has no place for this field.
    #[error("backend `{backend}` takes no `{field}`")]
    NoPlace {
        /// The backend's name.
        backend: String,
        /// The field of the spawn.
        field: &'static str,
    },
    /// The backend's template cannot do without this field.
    #[error("backend `{backend}` needs a `{field}`")]
    Needed {
        /// The backend's name.
        backend: String,
        /// The field of the spawn.
        field: &'static str,
    },
    /// The backend does not define this tool level.
    #[error("backend `{backend}` has no tool level `{level}`; it has: {}", .known.join(", "))]
    ToolLevel {
        /// The backend's name.
        backend: String,
        /// The level asked for, cut after 64 characters.
        level: String,
        /// The levels that it has.
        known: Vec<String>,
    },
    /// The backend does not let clients add arguments.
    #[error("backend `{backend}` does not allow `args`; its `allow_args` is false")]
    ArgsNotAllowed {
        /// The backend's name.
        backend: String,
    },
    /// A value that the program would take for an option.
    #[error("`{field}` must not begin with `-`")]
    OptionLike {
        /// The field of the spawn.
        field: &'static str,
    },
    /// A NUL byte in something that becomes an argument.
    #[error("an argument must not contain a NUL byte")]
    Nul,
    /// One argument is longer than the kernel takes.
    #[error(
        "an argument has {bytes} bytes; this backend passes the task as one, which can have {bytes_max}"
    )]
    ArgumentTooLong {
        /// Its length.
        bytes: usize,
        /// The longest that can be passed.
        bytes_max: usize,
    },
    /// One variable is longer than the kernel takes.
    #[error(
        "environment variable `{name}` has {bytes} bytes with its name; it can have {bytes_max}"
    )]
    VariableTooLong {
        /// The variable.
        name: String,
        /// The length of name, `=` and value.
        bytes: usize,
        /// The longest that can be passed.
        bytes_max: usize,
    },
    /// Arguments and environment together are more than the kernel takes.
    #[error("arguments and environment have {bytes} bytes together; they can have {bytes_max}")]
    TooLarge {
        /// Their length.
        bytes: usize,
        /// The most that can be passed.
        bytes_max: usize,
    },
    /// Standard input is to be null, but the backend gets its task there.
    #[error("backend `{backend}` reads its task from standard input, so `stdin` cannot be `null`")]
    StdinNeeded {
        /// The backend's name.
        backend: String,
    },
    /// The template needs the working directory as text.
    #[error("the working directory's name is not UTF-8")]
    WorkingDirNotText,
    /// Not a name that a variable can have.
    #[error("`{name}` is not the name of an environment variable")]
    VariableName {
        /// The name, cut after 64 characters.
        name: String,
    },
    /// A NUL byte in a variable's value.
    #[error("environment variable `{name}` must not contain a NUL byte")]
    VariableNul {
        /// The variable.
        name: String,
    },
    /// A variable that no client may set.
    #[error("environment variable `{name}` cannot be set by a client")]
    VariableReserved {
        /// The variable.
        name: String,
    },
    /// A variable that this backend's `client_env` does not let clients set.
    #[error("backend `{backend}` does not let a client set environment variable `{name}`")]
    VariableNotAllowed {
        /// The backend's name.
        backend: String,
        /// The variable.
        name: String,
    },
    /// A variable to which the backend's own `env` gives another value.
    #[error("environment variable `{name}` is fixed by backend `{backend}`")]
    VariableFixed {
        /// The backend's name.
        backend: String,
        /// The variable.
        name: String,
    },
}

impl ConfigFault {
    pub(super) fn new(path: String, problem: Problem) -> Self {
        Self { path, problem }
    }

    pub(super) fn wrong_type(path: String, expected: &'static str) -> Self {
        Self::new(path, Problem::WrongType { expected })
    }
}

impl LaunchError {
    pub(super) fn unknown_backend<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::UnknownBackend {
            name: shown(name),
            known: known.map(str::to_owned).collect(),
        }
    }
}

/// As much of a client's text as an error may repeat.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

fn suggestion(nearest: Option<&str>) -> impl fmt::Display {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{nearest}`?")
    })
}
