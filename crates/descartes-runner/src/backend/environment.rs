//! The environment of an agent: little of the server's, and of the client's what is harmless.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::{Refusal, shown};
use super::{Backend, ToolLevel};

/// Marks every process of an agent's tree.
pub(super) const AGENT_ID: &str = "DESCARTES_AGENT_ID";

/// What every program needs, handed on from the server's own environment.
const BASE: &[&str] = &[
    "PATH", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "USER", "LOGNAME", "SHELL",
];

/// Where programs are searched if the server has no PATH.
const PATH_DEFAULT: &str = "/usr/local/bin:/usr/bin:/bin";

/// Set by Claude Code for the processes it starts, and by Descartes for its own: a wildcard never
/// hands these on, since an agent would take itself for a part of whoever started the server.
const NOT_BY_WILDCARD: &[&str] = &["CLAUDECODE", "CLAUDE_CODE_*", "DESCARTES_*"];

/// What no client sets: each of these makes a loader, an interpreter, a shell or git run or load
/// something of the client's choice before the agent has had a say (ld.so(8), bash(1), node(1),
/// python(1), perlrun(1), ruby(1), git(1), java(1)), or is the server's own.
const RESERVED: &[&str] = &[
    "PATH",
    "LD_*",
    "DYLD_*",
    "GLIBC_TUNABLES",
    "MALLOC_*",
    "GCONV_PATH",
    "LOCPATH",
    "SHELL",
    "IFS",
    "ENV",
    "BASH_ENV",
    "SHELLOPTS",
    "BASHOPTS",
    "PS4",
    "PROMPT_COMMAND",
    "ZDOTDIR",
    "NODE_OPTIONS",
    "NODE_PATH",
    "BUN_OPTIONS",
    "BUN_INSPECT*",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONUSERBASE",
    "PYTHONBREAKPOINT",
    "PERL5LIB",
    "PERLLIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "GIT_SSH*",
    "GIT_EXEC_PATH",
    "GIT_CONFIG*",
    "GIT_EXTERNAL_DIFF",
    "GIT_PROXY_COMMAND",
    "GIT_TEMPLATE_DIR",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CLAUDECODE",
    "CLAUDE_CODE_*",
    "DESCARTES_*",
];

/// The server's environment, taken once: what is not UTF-8 is left out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct HostEnv(BTreeMap<String, String>);

impl std::fmt::Debug for HostEnv {
    /// Names only: values are secrets more often than not.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_set().entries(self.0.keys()).finish()
    }
}

/// A variable's name, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NamePattern {
    Exact(String),
    Prefix(String),
}

impl HostEnv {
    /// The environment of this process, as it is now.
    #[must_use]
    pub fn from_process() -> Self {
        std::env::vars_os().collect()
    }
}

impl FromIterator<(OsString, OsString)> for HostEnv {
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(variables: I) -> Self {
        let text = |(name, value): (OsString, OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(variables.into_iter().filter_map(text).collect())
    }
}

impl NamePattern {
    /// Every name.
    pub(super) fn any() -> Self {
        Self::Prefix(String::new())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_suffix('*') {
            Some("") => Some(Self::any()),
            Some(prefix) => is_variable_name(prefix).then(|| Self::Prefix(prefix.to_owned())),
            None => is_variable_name(text).then(|| Self::Exact(text.to_owned())),
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Prefix(prefix) => name.starts_with(prefix),
        }
    }

    fn hands_on(&self, name: &str) -> bool {
        let by_wildcard = matches!(self, Self::Prefix(_));
        self.matches(name) && !(by_wildcard && matches_any(NOT_BY_WILDCARD, name))
    }
}

/// Whether a shell could name a variable so: `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_variable_name(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let starts_well = name
        .bytes()
        .next()
        .is_some_and(|byte| !byte.is_ascii_digit());
    starts_well && name.bytes().all(valid)
}

/// Whether no client may set this variable, whatever the backend says.
pub(super) fn is_reserved(name: &str) -> bool {
    matches_any(RESERVED, name)
}

/// The whole environment of one agent.
///
/// # Errors
///
/// The first variable of the client's that is refused.
pub(super) fn build(
    backend: &Backend,
    level: &ToolLevel,
    client: &BTreeMap<String, String>,
    host: &HostEnv,
    agent_id: &str,
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut env: BTreeMap<_, _> = inherited(backend, host).collect();
    env.entry("PATH".to_owned())
        .or_insert_with(|| PATH_DEFAULT.to_owned());
    env.insert("TERM".to_owned(), "dumb".to_owned());
    let fixed: BTreeMap<_, _> = backend.env.iter().chain(&level.env).collect();
    for (name, value) in client {
        check_client_variable(backend, &fixed, name, value)?;
        env.insert(name.clone(), value.clone());
    }
    env.extend(
        fixed
            .into_iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    env.insert(AGENT_ID.to_owned(), agent_id.to_owned());
    Ok(env)
}

fn inherited(backend: &Backend, host: &HostEnv) -> impl Iterator<Item = (String, String)> {
    let wanted = |name: &str| {
        let mut patterns = backend.pass_env.iter();
        matches_any(BASE, name) || patterns.any(|pattern| pattern.hands_on(name))
    };
    let host = host.0.iter();
    host.filter(move |(name, _)| wanted(name))
        .map(|(name, value)| (name.clone(), value.clone()))
}

fn check_client_variable(
    backend: &Backend,
    fixed: &BTreeMap<&String, &String>,
    name: &str,
    value: &str,
) -> Result<(), Refusal> {
    let backend_name = || backend.name.clone();
    if !is_variable_name(name) {
        return Err(Refusal::VariableName { name: shown(name) });
    }
    let name_owned = name.to_owned();
    if is_reserved(name) {
        return Err(Refusal::VariableReserved { name: name_owned });
    }
    if !backend
        .client_env
        .iter()
        .any(|pattern| pattern.matches(name))
    {
        return Err(Refusal::VariableNotAllowed {
            backend: backend_name(),
            name: name_owned,
        });
    }
    if value.contains('\0') {
        return Err(Refusal::VariableNul { name: name_owned });
    }
    if fixed.get(&name_owned).is_some_and(|own| *own != value) {
        return Err(Refusal::VariableFixed {
            backend: backend_name(),
            name: name_owned,
        });
    }
    Ok(())
}

/// Whether one of `patterns`, written as in the configuration, matches `name`.
fn matches_any(patterns: &[&str], name: &str) -> bool {
    patterns.iter().any(|pattern| {
        pattern
            .strip_suffix('*')
            .map_or(name == *pattern, |prefix| name.starts_with(prefix))
    })
}
