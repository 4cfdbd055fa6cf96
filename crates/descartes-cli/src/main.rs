//! `descartes`: start, watch and control CLI agents on Descartes servers.
//!
//! It turns command lines into requests, and answers into tables, lines of JSON and exit codes. What a request is, how
//! often it is sent and what silence means is the client library's.

mod ask;
mod cli;
mod commands;
mod describe;
mod error;
mod exit;
mod ids;
mod input;
mod json;
mod output;
mod own_key;
mod private;
mod progress;
mod select;
mod server;
mod session;
mod shell;
mod sort;
mod table;
mod time;
mod top;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use error::CliError;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(message) => {
            let code = if message.use_stderr() {
                exit::USAGE
            } else {
                exit::DONE
            };
            // Nobody is left to tell where it cannot be printed.
            let _ = message.print();
            ExitCode::from(code)
        }
    }
}

fn run(cli: Cli) -> ExitCode {
    cli.begin_log();
    let context = cli.context();
    let ends_with_agent = cli.command.ends_with_agent();
    // One thread keeps the connection alive while the main one waits for a person, a pipe or a disk.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => {
            let done = runtime.block_on(cli.command.run(&context));
            // A thread that still reads the terminal does not keep the process.
            runtime.shutdown_background();
            done
        }
        Err(error) => Err(CliError::new(
            exit::REFUSED,
            format!("failed to set up the runtime: {error}"),
        )),
    };
    let code = done.unwrap_or_else(|error| {
        output::complain(&error, context.format);
        match error.exit {
            exit::REFUSED | exit::NO_SERVER | exit::NO_AGENT if ends_with_agent => {
                exit::OWN_FAILURE
            }
            code => code,
        }
    });
    ExitCode::from(code)
}
