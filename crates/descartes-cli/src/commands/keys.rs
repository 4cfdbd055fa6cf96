//! `descartes keys`.

mod folder;
mod list;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use descartes_client::transport::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::shell;
use crate::table::{Table, plain};
use folder::KeysFolder;
use list::{Client, ClientList};

/// List and change the clients that may connect, on the server's host
///
/// They are in `authorized_clients.toml` in the server's keys folder. A running server reads it again within a second
/// of a change.
#[derive(Debug, Args)]
pub(crate) struct Keys {
    /// The server's keys folder; default: that of the server on this host
    #[arg(long, global = true, value_name = "DIR")]
    keys_dir: Option<PathBuf>,

    #[command(subcommand)]
    command: Option<KeysCommand>,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the clients, with the server's own public key
    List,
    Add(Add),
    /// Take a client out of the list: it is refused from then on
    Remove {
        /// The client's name in the list
        name: String,
    },
    /// Change what a client may do
    Role {
        /// The client's name in the list
        name: String,
        #[arg(value_enum)]
        role: Role,
    },
}

/// Let a client in, and print what it has to run
#[derive(Debug, Args)]
struct Add {
    /// What to call it
    name: String,

    /// Its public key, as `descartes keygen` prints it there
    // A key may begin with a hyphen.
    #[arg(allow_hyphen_values = true)]
    public_key: String,

    /// What it may do
    #[arg(long, value_enum, default_value_t = Role::Control)]
    role: Role,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Role {
    /// Look: lists, status, output, events
    Observe,
    /// Look, and start and command agents
    Control,
    /// Everything
    Admin,
}

impl Role {
    fn as_str(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Control => "control",
            Self::Admin => "admin",
        }
    }
}

impl Keys {
    pub(crate) fn run(self, context: &Context) -> Result<u8> {
        let folder = KeysFolder::find(self.keys_dir.as_deref())?;
        let list = ClientList::load(&folder.clients())?;
        match self.command.unwrap_or(KeysCommand::List) {
            KeysCommand::List => show(&folder, &list, context.format)?,
            KeysCommand::Add(add) => add.run(&folder, list, context.format)?,
            KeysCommand::Remove { name } => remove(&folder, list, &name, context.format)?,
            KeysCommand::Role { name, role } => change(&folder, list, &name, role, context.format)?,
        }
        Ok(exit::DONE)
    }
}

fn show(folder: &KeysFolder, list: &ClientList, format: Format) -> Result<()> {
    let clients = list.clients()?;
    if format == Format::Json {
        return output::json(&json!({
            "keys_dir": folder.dir.display().to_string(),
            "server_key": folder.server_key.to_z85(),
            "clients": clients,
        }));
    }
    output::line(format_args!("server key   {}", folder.server_key))?;
    output::line(format_args!("keys folder  {}", folder.dir.display()))?;
    output::line("")?;
    if clients.is_empty() {
        output::note("no client is listed: nobody can connect");
    }
    let mut table = Table::new(["NAME", "ROLE", "PUBLIC KEY"]);
    for client in clients {
        let role = client.role.as_str();
        table.row([client.name.into(), role.into(), client.public_key.into()]);
    }
    table.print()
}

impl Add {
    fn run(self, folder: &KeysFolder, mut list: ClientList, format: Format) -> Result<()> {
        let key = public_key(&self.public_key)?;
        if key == folder.server_key {
            return Err(CliError::usage("this is the server's own public key")
                .hint("`descartes keygen` prints the client's, where the client runs"));
        }
        let client = Client {
            name: self.name,
            public_key: key.to_z85(),
            role: self.role,
        };
        list.add(&client)?;
        folder.wait_for_server();
        let way = folder.way();
        let command = format!(
            "descartes servers add {} {} --server-key {}",
            shell::word(&way.server_name),
            shell::word(&way.endpoint),
            shell::word(&folder.server_key.to_z85()),
        );
        if format == Format::Json {
            return output::json(&json!({
                "name": client.name,
                "role": client.role,
                "public_key": client.public_key,
                "path": list.path().display().to_string(),
                "server_key": folder.server_key.to_z85(),
                "endpoint": way.endpoint,
                "client_command": command,
                "warning": way.warning,
            }));
        }
        let (name, role) = (plain(&client.name), client.role.as_str());
        note_change(&list, &format!("{name} is listed with the role {role}"));
        if let Some(warning) = way.warning {
            output::note(warning);
        }
        output::note("to run where the client is:");
        output::line(command)
    }
}

fn remove(folder: &KeysFolder, mut list: ClientList, name: &str, format: Format) -> Result<()> {
    let client = list.remove(name)?;
    folder.wait_for_server();
    let warning = if list.clients()?.is_empty() {
        Some("no client is listed any more: nobody can connect")
    } else if folder.bundle_is_of(&client.public_key) {
        Some("client.toml in the keys folder is this client's: commands on this host used it")
    } else {
        None
    };
    if format == Format::Json {
        return output::json(&json!({
            "name": client.name,
            "role": client.role,
            "public_key": client.public_key,
            "path": list.path().display().to_string(),
            "warning": warning,
        }));
    }
    note_change(&list, &format!("{} is no longer listed", plain(name)));
    if let Some(warning) = warning {
        output::note(warning);
    }
    Ok(())
}

fn change(
    folder: &KeysFolder,
    mut list: ClientList,
    name: &str,
    role: Role,
    format: Format,
) -> Result<()> {
    let client = list.set_role(name, role)?;
    folder.wait_for_server();
    if format == Format::Json {
        return output::json(&json!({
            "name": client.name,
            "role": client.role,
            "public_key": client.public_key,
            "path": list.path().display().to_string(),
        }));
    }
    let (name, role) = (plain(name), role.as_str());
    note_change(&list, &format!("{name} is listed with the role {role}"));
    Ok(())
}

fn note_change(list: &ClientList, change: &str) {
    let path = list.path().display();
    output::note(format_args!(
        "{change} in {path}, which a running server reads within a second"
    ));
}

/// A public key from the command line.
pub(crate) fn public_key(text: &str) -> Result<PublicKey> {
    PublicKey::from_z85(text).map_err(|error| {
        CliError::usage(format!("this is no public key: {error}"))
            .hint("a shell takes a key only in single quotes: 'KEY'")
    })
}
