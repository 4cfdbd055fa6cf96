//! The server's configuration, from all of its sources to one set of settings.
//!
//! ```text
//! default < file < environment < flag ──▶ Draft ──▶ Configuration ──▶ the server, --print-config
//!                                           └─────▶ every Fault, with its origin
//! ```
//!
//! What a key means and which values it takes is the library's business, except for `log`.

use std::ffi::OsString;
use std::path::PathBuf;

use descartes_core::ZmqServerConfig;

use crate::log::LogSettings;

mod backends;
mod draft;
mod environment;
mod file;
mod keys;
mod origin;
mod show;
mod slot;
#[cfg(test)]
mod tests;

pub(crate) use origin::Fault;

use draft::Draft;
use origin::{Origin, Origins};

/// Where a configuration comes from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// The environment, whole.
    pub(crate) environment: Vec<(OsString, OsString)>,
    /// The flags, in the order in which they count: the last one wins.
    pub(crate) flags: Vec<Flag>,
}

/// One key set on the command line.
#[derive(Debug, Clone)]
pub(crate) struct Flag {
    /// The option, with its dashes.
    pub(crate) name: &'static str,
    /// The key.
    pub(crate) key: String,
    /// The value, as it was written.
    pub(crate) value: String,
}

/// All that can be configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Those of the library.
    pub(crate) server: ZmqServerConfig,
    /// Those of the program's log.
    pub(crate) log: LogSettings,
}

/// A valid configuration.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// What is in force.
    pub(crate) settings: Settings,
    /// Where it came from.
    origins: Origins,
    /// The operator's own table of backends.
    backends: toml::Table,
}

impl Configuration {
    /// Reads all sources.
    ///
    /// # Errors
    /// Everything that is wrong, not just the first thing.
    pub(crate) fn load(sources: &Sources) -> Result<Self, Vec<Fault>> {
        let mut draft = Draft::default();
        if let Some(path) = &sources.file {
            file::read(path, &mut draft);
        }
        environment::read(&sources.environment, &mut draft);
        for flag in &sources.flags {
            let origin = Origin::Flag(flag.name);
            if let Err(problem) = draft.set_text(&flag.key, &flag.value, &origin) {
                draft.fault(&flag.key, origin, problem);
            }
        }
        draft.finish()
    }

    /// The whole configuration as TOML, each value with its meaning and its origin.
    pub(crate) fn show(&self) -> String {
        show::show(self)
    }
}
