//! The file that lists a server's clients, changed in place: comments and order stay.

use std::path::{Path, PathBuf};

use descartes_client::transport::PublicKey;
use serde::{Deserialize, Serialize};
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, TomlError, Value, value};

use super::Role;
use crate::error::{CliError, Result};
use crate::private;
use crate::server::config::at_line;
use crate::shell;

/// The file, as it is written.
#[derive(Debug)]
pub(crate) struct ClientList {
    path: PathBuf,
    before: String,
    document: DocumentMut,
}

/// A client that may connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Client {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) public_key: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    client: Vec<Client>,
}

impl ClientList {
    /// Reads it.
    pub(crate) fn load(path: &Path) -> Result<Self> {
        let Some(before) = private::read(path)? else {
            let problem = format!("{} is missing", path.display());
            return Err(CliError::usage(problem).hint(
                "if the server's security.authorized_clients names another file, edit that one",
            ));
        };
        let document = before.parse();
        let list = Self {
            document: document.map_err(|error: TomlError| {
                invalid(path, at_line(&before, error.span(), error.message()))
            })?,
            path: path.to_owned(),
            before,
        };
        list.clients()?;
        Ok(list)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The clients, in the file's order.
    pub(crate) fn clients(&self) -> Result<Vec<Client>> {
        let text = self.document.to_string();
        let Content { client: clients } = toml::from_str(&text)
            .map_err(|error| invalid(&self.path, at_line(&text, error.span(), error.message())))?;
        for client in &clients {
            PublicKey::from_z85(&client.public_key).map_err(|error| {
                let name = &client.name;
                invalid(&self.path, format!("public_key of {name:?}: {error}"))
            })?;
        }
        Ok(clients)
    }

    /// Adds a client, whose name and key must be new.
    pub(crate) fn add(&mut self, client: &Client) -> Result<()> {
        self.check_new(client)?;
        let mut table = Table::new();
        table["name"] = value(&client.name);
        table["public_key"] = value(&client.public_key);
        table["role"] = value(client.role.as_str());
        // What stands at the end of the file stays above what is added.
        let above = self.document.trailing().as_str().unwrap_or_default();
        let is_first = self.before.trim().is_empty();
        let is_apart = is_first || above == "\n" || above.ends_with("\n\n");
        let gap = if is_apart { "" } else { "\n" };
        table.decor_mut().set_prefix(format!("{above}{gap}"));
        self.tables()?.push(table);
        self.document.set_trailing("");
        self.save()
    }

    fn check_new(&self, client: &Client) -> Result<()> {
        let Client { name, role, .. } = client;
        if name.is_empty() || name.contains(char::is_control) {
            return Err(CliError::usage(format!("{name:?} is no name for a client")));
        }
        let clients = self.clients()?;
        let is_same_key = |known: &&Client| known.public_key == client.public_key;
        if let Some(known) = clients.iter().find(is_same_key) {
            let problem = format!("this key is listed already, as {:?}", known.name);
            let (name, role) = (shell::word(&known.name), role.as_str());
            return Err(CliError::usage(problem).hint(format!(
                "`descartes keys role {name} {role}` changes what it may do"
            )));
        }
        if clients.iter().any(|known| known.name == *name) {
            let problem = format!("another client is named {name:?}");
            let name = shell::word(name);
            return Err(CliError::usage(problem).hint(format!(
                "choose another name, or take it out with `descartes keys remove {name}`"
            )));
        }
        Ok(())
    }

    /// Takes a client out.
    pub(crate) fn remove(&mut self, name: &str) -> Result<Client> {
        let (index, client) = self.find(name)?;
        let tables = self.tables()?;
        let removed = tables.remove(index);
        let above = prefix(&removed);
        // A comment that an empty line sets apart is not about this client.
        let kept = above.rfind("\n\n").map_or("", |end| &above[..end + 2]);
        if !kept.trim().is_empty() {
            if let Some(next) = tables.get_mut(index) {
                let below = prefix(next);
                let below = below.trim_start_matches('\n');
                next.decor_mut().set_prefix(format!("{kept}{below}"));
            } else {
                let below = self.document.trailing().as_str().unwrap_or_default();
                self.document.set_trailing(format!("{kept}{below}"));
            }
        }
        self.save()?;
        Ok(client)
    }

    /// Changes what a client may do.
    pub(crate) fn set_role(&mut self, name: &str, role: Role) -> Result<Client> {
        let (index, client) = self.find(name)?;
        let tables = self.tables()?;
        let old = tables
            .get_mut(index)
            .and_then(|table| table.get_mut("role"));
        if let Some(old) = old.and_then(Item::as_value_mut) {
            let decor = old.decor().clone();
            *old = Value::from(role.as_str());
            *old.decor_mut() = decor;
        }
        self.save()?;
        Ok(Client { role, ..client })
    }

    /// The one client with this name.
    fn find(&self, name: &str) -> Result<(usize, Client)> {
        let clients = self.clients()?;
        let mut same = clients
            .iter()
            .enumerate()
            .filter(|(_, client)| client.name == name);
        let Some((index, client)) = same.next() else {
            let problem = format!("no client is named {name:?}");
            let names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
            return Err(CliError::usage(problem).hint(if names.is_empty() {
                "none is listed".to_owned()
            } else {
                format!("those that are listed are {}", names.join(", "))
            }));
        };
        let is_ambiguous = same.next().is_some();
        let is_same_key = |other: &&Client| other.public_key == client.public_key;
        if is_ambiguous || clients.iter().filter(is_same_key).count() > 1 {
            // Whatever is done to one of them, the other would count as well.
            let path = self.path.display();
            let problem = format!("{name:?} is in {path} twice, by its name or its key");
            return Err(CliError::usage(problem).hint("edit the file"));
        }
        Ok((index, client.clone()))
    }

    fn tables(&mut self) -> Result<&mut ArrayOfTables> {
        let item = self
            .document
            .entry("client")
            .or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
        if !item.is_array_of_tables() {
            // Tables within brackets are as valid.
            let tables = std::mem::take(item).into_array_of_tables();
            *item = Item::ArrayOfTables(tables.unwrap_or_default());
        }
        let tables = item.as_array_of_tables_mut();
        tables.ok_or_else(|| invalid(&self.path, "client is no list of tables"))
    }

    fn save(&mut self) -> Result<()> {
        // What is written can be read, whatever the file looked like.
        self.clients()?;
        let text = self.document.to_string();
        private::replace(&self.path, Some(&self.before), &text)?;
        self.before = text;
        Ok(())
    }
}

/// What stands above a table's header.
fn prefix(table: &Table) -> String {
    let prefix = table.decor().prefix();
    let prefix = prefix.and_then(|prefix| prefix.as_str());
    prefix.unwrap_or_default().to_owned()
}

fn invalid(path: &Path, problem: impl std::fmt::Display) -> CliError {
    CliError::usage(format!("{} is not valid: {problem}", path.display()))
}
