//! Where a value comes from, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody set it.
    Default,
    /// The configuration file.
    File {
        /// As it was named on the command line.
        path: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// An option of the command line.
    Flag(&'static str),
}

impl Origin {
    /// The origin as `--print-config` notes it beside a value.
    pub(crate) fn note(&self) -> String {
        match self {
            Self::Default => self.to_string(),
            Self::File { .. } => format!("file:{self}"),
            Self::Environment(_) => format!("env:{self}"),
            Self::Flag(_) => format!("flag:{self}"),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => formatter.write_str(name),
            Self::Flag(name) => formatter.write_str(name),
        }
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The file cannot be read.
    #[error("failed to read {}: {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// Something that is there has no meaning: text that is no TOML, a variable that is no key's.
    #[error("{origin}: {problem}")]
    Source {
        /// Where it is.
        origin: Origin,
        /// What is wrong with it.
        problem: String,
    },
    /// A key, or its value, is wrong.
    #[error("{origin}: {key}: {problem}")]
    Key {
        /// Where it was set.
        origin: Origin,
        /// The key, with dots.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// The origins of all keys that somebody set.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Notes who set `key` last. The tables that it is in belong to whoever named them first.
    pub(crate) fn note(&mut self, key: &str, origin: &Origin) {
        for (at, _) in key.match_indices('.') {
            let table = self.0.entry(key[..at].to_owned());
            table.or_insert_with(|| origin.clone());
        }
        self.0.insert(key.to_owned(), origin.clone());
    }

    /// Who set exactly this key.
    pub(crate) fn of(&self, key: &str) -> Origin {
        self.0.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Who is to be told of a fault at `key`, which may be missing in a table that somebody set.
    pub(crate) fn responsible(&self, key: &str) -> Origin {
        let mut path = key;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin.clone();
            }
            match path.rsplit_once('.') {
                Some((table, _)) => path = table,
                None => return Origin::Default,
            }
        }
    }
}
