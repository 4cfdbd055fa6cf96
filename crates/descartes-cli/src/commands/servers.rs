//! `descartes servers`.

mod add;
mod check;

use clap::{Args, Subcommand};
use descartes_client::ServerAddress;
use serde_json::json;

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::server::config::{ConfigFile, NamedServer};
use crate::server::local;
use crate::table::Table;
use add::Add;
use check::Check;

/// List, add and check servers
///
/// A server with a name in the config file can be named with --server. Servers of this user that run on this host are
/// listed as well.
#[derive(Debug, Args)]
pub(crate) struct Servers {
    #[command(subcommand)]
    command: Option<ServersCommand>,
}

#[derive(Debug, Subcommand)]
enum ServersCommand {
    /// List the servers
    List,
    Add(Add),
    /// Forget a server, and the keys for it
    Remove {
        /// The server's name in the config file
        name: String,
    },
    #[command(name = "default")]
    Choose(Choose),
    Check(Check),
}

/// Choose the server that commands are for unless they name another
#[derive(Debug, Args)]
struct Choose {
    /// The server's name in the config file
    #[arg(required_unless_present = "none")]
    name: Option<String>,

    /// Have no default: the server on this host is meant
    #[arg(long, conflicts_with = "name")]
    none: bool,
}

/// A server of the config file, or one that runs on this host.
#[derive(Debug)]
struct Known {
    name: Option<String>,
    endpoint: String,
    /// Whether this client has keys for it: without them it speaks in plain text.
    is_encrypted: bool,
    is_default: bool,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The config file; and it runs on this host if it is also found there.
    Config {
        server: NamedServer,
        here: Option<ServerAddress>,
    },
    Host(ServerAddress),
}

impl Servers {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let file = ConfigFile::load()?;
        let format = context.format;
        match self.command.unwrap_or(ServersCommand::List) {
            ServersCommand::List => list(&file, format),
            ServersCommand::Add(add) => add.run(file, format).await,
            ServersCommand::Remove { name } => remove(file, &name, format),
            ServersCommand::Choose(choose) => choose.run(file, format),
            ServersCommand::Check(check) => check.run(&file, format).await,
        }
    }
}

impl Known {
    /// All of them: those with names first.
    fn all(file: &ConfigFile) -> Result<Vec<Self>> {
        let mut running = local::running();
        let default = file.default_name()?;
        let mut all = Vec::new();
        for (name, server) in file.servers()? {
            let is_same = |address: &ServerAddress| address.endpoint == server.endpoint;
            let here = running.iter().position(is_same);
            all.push(Self {
                is_default: default.as_ref() == Some(&name),
                name: Some(name),
                endpoint: server.endpoint.clone(),
                is_encrypted: server.server_key.is_some(),
                origin: Origin::Config {
                    server,
                    here: here.map(|index| running.remove(index)),
                },
            });
        }
        let is_only_one = running.len() == 1 && !all.iter().any(Self::runs_here);
        all.extend(running.into_iter().map(|address| Self {
            name: None,
            endpoint: address.endpoint.clone(),
            is_encrypted: address.client_bundle.is_some(),
            is_default: default.is_none() && is_only_one,
            origin: Origin::Host(address),
        }));
        Ok(all)
    }

    /// The address that it has left on this host, if it runs here.
    fn here(&self) -> Option<&ServerAddress> {
        match &self.origin {
            Origin::Config { here, .. } => here.as_ref(),
            Origin::Host(address) => Some(address),
        }
    }

    fn runs_here(&self) -> bool {
        self.here().is_some()
    }
}

fn list(file: &ConfigFile, format: Format) -> Result<u8> {
    let all = Known::all(file)?;
    if format == Format::Json {
        for known in &all {
            output::json(&json!({
                "name": known.name,
                "endpoint": known.endpoint,
                "encrypted": known.is_encrypted,
                "default": known.is_default,
                "on_this_host": known.runs_here(),
                "server_id": known.here().map(|address| &address.server_id),
            }))?;
        }
        return Ok(exit::DONE);
    }
    let mut table = Table::new(["NAME", "ENDPOINT", "ENCRYPTED", "DEFAULT", "ON THIS HOST"]);
    for known in &all {
        let here = known.here().map(|address| address.server_id.as_str());
        table.row([
            known.name.as_deref().unwrap_or("-").into(),
            known.endpoint.as_str().into(),
            yes_or_no(known.is_encrypted).into(),
            yes_or_no(known.is_default).into(),
            here.unwrap_or("-").into(),
        ]);
    }
    table.print()?;
    if all.is_empty() {
        output::note(
            "no server has a name, and none runs on this host; `descartes servers add` gives one a name",
        );
    }
    if let Some(default) = file.default_name()?
        && file.server(&default)?.is_none()
    {
        output::note(format_args!("the default, {default:?}, is none of them"));
    }
    Ok(exit::DONE)
}

fn remove(mut file: ConfigFile, name: &str, format: Format) -> Result<u8> {
    let was_default = file.default_name()?.as_deref() == Some(name);
    if !file.remove(name)? {
        return Err(file.unknown(name));
    }
    match format {
        Format::Json => output::json(&json!({ "name": name, "was_default": was_default }))?,
        Format::Text if was_default => output::note(format_args!(
            "removed {name}, which was the default: there is none now"
        )),
        Format::Text => output::note(format_args!("removed {name}")),
    }
    Ok(exit::DONE)
}

impl Choose {
    fn run(self, mut file: ConfigFile, format: Format) -> Result<u8> {
        match &self.name {
            Some(name) => file.set_default(name)?,
            None => {
                file.clear_default()?;
            }
        }
        match (format, &self.name) {
            (Format::Json, name) => output::json(&json!({ "default": name }))?,
            (Format::Text, Some(name)) => output::note(format_args!("{name} is the default now")),
            (Format::Text, None) => output::note("there is no default now"),
        }
        Ok(exit::DONE)
    }
}

/// A name that a server may be added with.
fn check_name(name: &str) -> Result<()> {
    if crate::server::config::is_name(name) {
        return Ok(());
    }
    let problem = format!("{name:?} is no name for a server");
    Err(CliError::usage(problem)
        .hint("a name has no slash and no space, does not end in .toml, and is not `local`; it stands before the endpoint"))
}

fn yes_or_no(truth: bool) -> &'static str {
    if truth { "yes" } else { "no" }
}
