//! The log: lines on stderr.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::suggest::did_you_mean;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is logged, and how.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// Directives of `tracing`: a level, or `target=level`, with commas between. Default: `info`.
    pub(crate) level: String,
    /// Default: text.
    pub(crate) format: LogFormat,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// For programs: one object a line.
    Json,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

impl LogSettings {
    /// What is wrong with the level.
    pub(crate) fn fault(&self) -> Option<String> {
        // A lone word that is no level would be a target, and log nothing but that at all levels.
        let lone = |directive: &&str| !directive.contains(['=', '[']);
        let known = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        if let Some(word) = self.directives().filter(lone).find(|word| !known(word)) {
            return Some(format!(
                "`{word}` is none of {}{}; for one target, write TARGET=LEVEL",
                LEVELS.join(", "),
                did_you_mean(word, LEVELS)
            ));
        }
        let parsed = EnvFilter::builder().parse(self.filter());
        parsed.err().map(|error| error.to_string())
    }

    /// Begins to log.
    pub(crate) fn begin(&self) {
        let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(self.filter()))
            .with_writer(io::stderr)
            .with_ansi(colours)
            // It would report a line that it cannot write on the same stderr, and panic.
            .log_internal_errors(false);
        match self.format {
            LogFormat::Text => subscriber.init(),
            LogFormat::Json => subscriber.json().init(),
        }
    }

    /// The level as the filter reads it, which takes a space for a part of a name.
    fn filter(&self) -> String {
        self.directives().collect::<Vec<_>>().join(",")
    }

    fn directives(&self) -> impl Iterator<Item = &str> {
        self.level.split(',').map(str::trim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(level: &str) -> Option<String> {
        let settings = LogSettings {
            level: level.to_owned(),
            ..LogSettings::default()
        };
        settings.fault()
    }

    #[test]
    fn levels_and_targets_are_directives() {
        for level in ["info", "WARN", "off", "info,descartes_core=debug, omq=warn"] {
            assert_eq!(fault(level), None, "{level}");
        }
    }

    #[test]
    fn a_misspelt_level_is_not_taken_for_a_target() {
        let problem = fault("descartes_core=debug,inf").unwrap();
        assert!(problem.contains("did you mean `info`?"), "{problem}");
        assert!(fault("").is_some());
        assert!(fault("descartes_core=loud").is_some());
    }
}
