//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::config::Flag;

const AFTER_HELP: &str = "\
Every key of the configuration can be set, in this order of precedence, by a flag, by the
environment variable DESCARTES_<KEY> (upper case, `__` for a dot, for instance
DESCARTES_RUNNER__OUTPUT_BYTES), and in FILE. The variables SERVER_ENDPOINT and MAX_AGENTS count
less than those with the prefix. --print-config shows every key with its meaning, its value and
where that comes from.

Signals:
  SIGTERM, SIGINT  shut down as `on_shutdown` says; a second one skips the agents' time to end
  SIGHUP           nothing: the configuration is read at the start only

Exit codes:
  0   stopped as asked, or the configuration is valid
  1   the server could not start, or failed
  64  the command line is wrong
  78  the configuration is wrong";

// Not doc comments: those would be Markdown, with marks that a terminal shows.
const SET_HELP: &str = "Set any key, for instance runner.output_bytes=1048576; repeatable. A flag of \
                        the key's own overrules it";
const ENDPOINT_HELP: &str = "Where requests come in: tcp://HOST:PORT or ipc:///PATH";

/// Runs CLI agents for clients that ask over ZeroMQ.
#[derive(Debug, Parser)]
#[command(name = "descartes-server", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    /// The configuration, in TOML; without it, defaults
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Say whether the configuration is valid, and start nothing
    #[arg(long, conflicts_with = "print_config")]
    pub(crate) check_config: bool,

    /// Print the whole configuration in force, and start nothing
    #[arg(long)]
    pub(crate) print_config: bool,

    #[arg(long, value_name = "KEY=VALUE", value_parser = assignment, help = SET_HELP)]
    set: Vec<(String, String)>,

    #[arg(long, value_name = "ENDPOINT", help = ENDPOINT_HELP)]
    endpoint: Option<String>,

    /// Where events go out; default: the port after `endpoint`'s; "": nowhere
    #[arg(long, value_name = "ENDPOINT")]
    pub_endpoint: Option<String>,

    /// What the server is called; default: the host's name
    #[arg(long, value_name = "ID")]
    server_id: Option<String>,

    /// The folder that holds the agents, their output and the keys
    #[arg(long, value_name = "DIR")]
    state_dir: Option<String>,

    /// Most agents that run at once
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    max_agents: Option<String>,

    /// What a shutdown does with running agents: stop or detach
    #[arg(long, value_name = "WHAT")]
    on_shutdown: Option<String>,

    /// Where agents work that name no directory
    #[arg(long, value_name = "DIR")]
    working_dir: Option<String>,

    /// Whether connections are encrypted: auto, curve or none
    #[arg(long, value_name = "MODE")]
    security_mode: Option<String>,

    /// What is logged: off, error, warn, info, debug, trace, or TARGET=LEVEL, with commas
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,

    /// How it is logged: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
}

impl Cli {
    /// The keys that are set, in the order in which they count.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let general = self.set.iter().map(|(key, value)| Flag {
            name: "--set",
            key: key.clone(),
            value: value.clone(),
        });
        let own = [
            ("--endpoint", "endpoint", &self.endpoint),
            ("--pub-endpoint", "pub_endpoint", &self.pub_endpoint),
            ("--server-id", "server_id", &self.server_id),
            ("--state-dir", "state_dir", &self.state_dir),
            ("--max-agents", "max_agents", &self.max_agents),
            ("--on-shutdown", "on_shutdown", &self.on_shutdown),
            ("--working-dir", "runner.working_dir", &self.working_dir),
            ("--security-mode", "security.mode", &self.security_mode),
            ("--log-level", "log.level", &self.log_level),
            ("--log-format", "log.format", &self.log_format),
        ];
        let own = own.into_iter().filter_map(|(name, key, value)| {
            Some(Flag {
                name,
                key: key.to_owned(),
                value: value.clone()?,
            })
        });
        general.chain(own).collect()
    }
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok((key.trim().to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_may_hold_equals_signs() {
        let cli = Cli::parse_from(["descartes-server", "--set", "log.level=omq=warn,info"]);
        let flags = cli.flags();
        assert_eq!(flags[0].key, "log.level");
        assert_eq!(flags[0].value, "omq=warn,info");
    }
}
