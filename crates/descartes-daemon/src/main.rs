//! `descartes-server`: the Descartes agent server as a program.
//!
//! It adds to the library what a program needs: a command line, a configuration from file,
//! environment and flags, logs on stderr, signals, and word to systemd. Agents, requests and
//! sockets are none of its business.

mod cli;
mod config;
mod log;
#[cfg(target_env = "gnu")]
mod memory;
mod serve;
mod suggest;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use descartes_core::ServerError;

use cli::Cli;
use config::{Configuration, Sources};
use serve::{ServeError, serve};

/// The server could not start, or failed.
const FAILED: u8 = 1;
/// `EX_USAGE` of sysexits(3).
const WRONG_USAGE: u8 = 64;
/// `EX_CONFIG` of sysexits(3).
const WRONG_CONFIG: u8 = 78;

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    memory::give_back_when_freed();
    match Cli::try_parse() {
        Ok(cli) => run(&cli),
        Err(message) => {
            let code = if message.use_stderr() { WRONG_USAGE } else { 0 };
            // Nobody is left to tell where it cannot be printed.
            let _ = message.print();
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> ExitCode {
    let sources = Sources {
        file: cli.config.clone(),
        environment: std::env::vars_os().collect(),
        flags: cli.flags(),
    };
    let configuration = match Configuration::load(&sources) {
        Ok(configuration) => configuration,
        Err(faults) => {
            for fault in faults {
                complain("error", &fault);
            }
            return ExitCode::from(WRONG_CONFIG);
        }
    };
    if cli.check_config {
        return print("configuration is valid\n");
    }
    if cli.print_config {
        return print(&configuration.show());
    }
    configuration.settings.log.begin();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        config = cli.config.as_deref().map(|path| display(path.display())),
        "starting"
    );
    match serve(configuration.settings.server) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &ServeError) -> ExitCode {
    complain("error", &with_causes(error));
    if let Some(hint) = error.hint() {
        complain("hint", &hint);
    }
    match error {
        ServeError::Server(ServerError::Config(_)) => ExitCode::from(WRONG_CONFIG),
        _ => ExitCode::from(FAILED),
    }
}

/// An error and what it does not say itself of its causes.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = match text.rsplit_once(": ") {
                // "Address already in use (os error 98)" says it all again.
                Some((before, last)) if said.starts_with(last) => format!("{before}: {said}"),
                _ => format!("{text}: {said}"),
            };
        }
        cause = error.source();
    }
    text
}

fn complain(kind: &str, message: &dyn Display) {
    // A closed stderr must not become a panic.
    let _ = writeln!(io::stderr(), "{kind}: {message}");
}

fn print(text: &str) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain("error", &format_args!("failed to write to stdout: {error}"));
            ExitCode::from(FAILED)
        }
    }
}
