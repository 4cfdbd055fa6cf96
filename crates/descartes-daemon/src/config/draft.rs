//! A configuration in the making: values come in by key, in the order in which they count.

use descartes_core::Backends;
use toml::{Table, Value};

use super::keys::{self, KEYS, Key};
use super::origin::{Fault, Origin, Origins};
use super::{Configuration, Settings, backends};
use crate::suggest::did_you_mean;

/// What has been read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    settings: Settings,
    origins: Origins,
    backends: Table,
    faults: Vec<Fault>,
}

impl Draft {
    /// Sets a key to a value that has its type in itself.
    ///
    /// # Errors
    /// What is wrong with the key or the value.
    pub(super) fn set(&mut self, key: &str, value: &Value, origin: &Origin) -> Result<(), String> {
        let known = keys::find(key).ok_or_else(|| unknown(key))?;
        (known.slot)(&mut self.settings).set(value)?;
        self.origins.note(key, origin);
        Ok(())
    }

    /// Sets a key to what a text means for it.
    ///
    /// # Errors
    /// What is wrong with the key or the text.
    pub(super) fn set_text(
        &mut self,
        key: &str,
        text: &str,
        origin: &Origin,
    ) -> Result<(), String> {
        if let Some(path) = key.strip_prefix("backends.") {
            let value = backends::parse(path, text)?;
            backends::insert(&mut self.backends, path, value);
            self.origins.note(key, origin);
            return Ok(());
        }
        let known = keys::find(key).ok_or_else(|| unknown(key))?;
        let value = (known.slot)(&mut self.settings).parse(text)?;
        self.set(key, &value, origin)
    }

    /// Takes the file's table of backends, which is checked when all of it is known.
    pub(super) fn set_backends(&mut self, table: Table) {
        self.backends = table;
    }

    /// Notes where a key stands that is checked later.
    pub(super) fn note(&mut self, key: &str, origin: &Origin) {
        self.origins.note(key, origin);
    }

    /// Reports a key.
    pub(super) fn fault(&mut self, key: &str, origin: Origin, problem: String) {
        self.faults.push(Fault::Key {
            origin,
            key: key.to_owned(),
            problem,
        });
    }

    /// Reports something that is no key.
    pub(super) fn report(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// The configuration, once everything has come in.
    ///
    /// # Errors
    /// Every fault of every source, and those of the whole.
    pub(super) fn finish(mut self) -> Result<Configuration, Vec<Fault>> {
        let mut found = Vec::new();
        match with_builtin(&self.backends) {
            Ok(backends) => self.settings.server.backends = backends,
            Err(faults) => found.extend(faults),
        }
        let faults = self.settings.server.faults().into_iter();
        found.extend(faults.map(|fault| (fault.key.to_owned(), fault.problem)));
        if let Some(problem) = self.settings.log.fault() {
            found.push(("log.level".to_owned(), problem));
        }
        for (key, problem) in found {
            let origin = self.origins.responsible(&key);
            self.fault(&key, origin, problem);
        }
        if !self.faults.is_empty() {
            return Err(self.faults);
        }
        Ok(Configuration {
            settings: self.settings,
            origins: self.origins,
            backends: self.backends,
        })
    }
}

/// What there is to say of a key that does not exist.
pub(super) fn unknown(key: &str) -> String {
    let last = |key: &'static str| key.rsplit('.').next();
    let elsewhere = |known: &&Key| last(known.name) == key.rsplit('.').next();
    let suggestion = match KEYS.iter().find(elsewhere) {
        Some(known) => format!("; did you mean `{}`?", known.name),
        None => did_you_mean(key, KEYS.iter().map(|known| known.name)),
    };
    format!("unknown key{suggestion}")
}

/// The built-in backends, changed by the operator's table; or its faults, by key.
fn with_builtin(backends: &Table) -> Result<Backends, Vec<(String, String)>> {
    Backends::builtin().with_config(backends).map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|fault| (fault.path, fault.problem.to_string()))
            .collect()
    })
}
