//! Backends: named command templates, and what one spawn makes of them.
//!
//! A client names a backend and gives texts; the operator's configuration decides which program
//! runs, with which arguments and in which environment. The built-in backends are a commented TOML
//! file compiled in (`backend/default.toml`), which is also the reference of every key.
//!
//! ```text
//! default.toml --+
//!                +-- merge, validate --> Backends --get--> Backend --launch--> Launch
//! [backends.*] --+                                            (request, host environment)
//! ```
//!
//! Nothing here starts a process, and nothing is read from the environment of this one except by
//! [`HostEnv::from_process`].

mod config;
mod environment;
mod error;
mod launch;
mod program;
mod reader;
mod signal;
mod stdin;
mod suggest;
mod template;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table, Value};

pub use environment::HostEnv;
pub use error::{ConfigFault, LaunchError, Problem, Refusal, Unavailable};
pub use launch::{
    ARGUMENT_BYTES_MAX, ClientStdin, ENVIRONMENT_BYTES_MAX, Launch, LaunchRequest, StdinPlan,
};
pub use suggest::nearest;

use crate::parser::ParserKind;
use environment::NamePattern;
use signal::PauseSignals;
use stdin::Stdin;
use template::Arguments;

/// The built-in backends, with a comment for every key: what users read to write their own.
pub const DEFAULT_TOML: &str = include_str!("backend/default.toml");

/// All backends that a client may name.
#[derive(Clone)]
pub struct Backends {
    /// As configured, for merging and for showing what is in force.
    raw: BTreeMap<String, Table>,
    ready: BTreeMap<String, Backend>,
}

/// One backend, validated.
#[derive(Clone)]
pub struct Backend {
    name: String,
    command: String,
    args: Arguments,
    env: BTreeMap<String, String>,
    pass_env: Vec<NamePattern>,
    client_env: Vec<NamePattern>,
    client_args_allowed: bool,
    stdin: Stdin,
    parser: ParserKind,
    stop_signal: i32,
    pause: Option<PauseSignals>,
    tool_levels: BTreeMap<String, ToolLevel>,
}

impl fmt::Debug for Backends {
    /// Names only: what backends set may be secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.ready.keys()).finish()
    }
}

impl fmt::Debug for Backend {
    /// Without the values of variables.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Backend")
            .field("name", &self.name)
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// What one tool level adds to a backend.
#[derive(Clone, Default)]
struct ToolLevel {
    args: Vec<String>,
    env: BTreeMap<String, String>,
}

impl Backends {
    /// The built-in backends alone.
    ///
    /// # Panics
    ///
    /// Never in a build that passes its tests: the file is compiled in.
    #[must_use]
    pub fn builtin() -> Self {
        let file: Table = DEFAULT_TOML.parse().expect("default.toml is TOML");
        let empty = Self {
            raw: BTreeMap::new(),
            ready: BTreeMap::new(),
        };
        let Some(Value::Table(backends)) = file.get("backends") else {
            unreachable!("default.toml has a table `backends`");
        };
        empty
            .with_config(backends)
            .expect("the backends of default.toml are valid")
    }

    /// These backends, changed by the operator's table `backends`: a known name is changed key by
    /// key, a new one is added, `enabled = false` removes one.
    ///
    /// # Errors
    ///
    /// Every fault that the table has, not just the first.
    pub fn with_config(mut self, backends: &Table) -> Result<Self, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        for (name, value) in backends {
            self.configure(name, value, &mut faults);
        }
        if faults.is_empty() {
            Ok(self)
        } else {
            Err(faults)
        }
    }

    /// The backend of this name.
    ///
    /// # Errors
    ///
    /// [`LaunchError::UnknownBackend`], which names the ones that there are.
    pub fn get(&self, name: &str) -> Result<&Backend, LaunchError> {
        self.ready
            .get(name)
            .ok_or_else(|| LaunchError::unknown_backend(name, self.names()))
    }

    /// The names of all backends, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.ready.keys().map(String::as_str)
    }

    /// The table `backends` that is in force: the built-in file with the operator's changes.
    #[must_use]
    pub fn to_table(&self) -> Table {
        let entries = self.raw.iter();
        entries
            .map(|(name, table)| (name.clone(), Value::Table(table.clone())))
            .collect()
    }

    fn configure(&mut self, name: &str, value: &Value, faults: &mut Vec<ConfigFault>) {
        let path = format!("backends.{name}");
        let Value::Table(changes) = value else {
            return faults.push(ConfigFault::wrong_type(path, "a table"));
        };
        let mut table = self.raw.get(name).cloned().unwrap_or_default();
        merge(&mut table, changes);
        let Some(configured) = config::read(name, &table, self.names(), faults) else {
            return;
        };
        if configured.enabled {
            self.raw.insert(name.to_owned(), table);
            self.ready.insert(name.to_owned(), configured.backend);
        } else {
            self.raw.remove(name);
            self.ready.remove(name);
        }
    }
}

impl Backend {
    /// The name by which clients ask for it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What reads the agent's standard output.
    #[must_use]
    pub fn parser(&self) -> ParserKind {
        self.parser
    }
}

/// Tables are merged, everything else is replaced.
fn merge(into: &mut Table, changes: &Table) {
    for (key, change) in changes {
        match (into.get_mut(key), change) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), change.clone());
            }
        }
    }
}
