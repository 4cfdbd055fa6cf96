//! The config file: servers by name.
//!
//! ```toml
//! default = "build"
//!
//! [servers.build]
//! endpoint = "tcp://build.example:5555"
//! pub_endpoint = "tcp://build.example:5556"
//! server_key = "…"
//! public_key = "…"
//! secret_key = "…"
//! ```
//!
//! It is `$XDG_CONFIG_HOME/descartes/config.toml`, or below `~/.config`. A server has all three keys, or none.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use descartes_client::ClientBundle;
use serde::Deserialize;
use toml_edit::{DocumentMut, Item, Table, TomlError, value};

use crate::error::{CliError, Result};
use crate::private;
use crate::server::LOCAL;

/// The config file, as it is written.
pub(crate) struct ConfigFile {
    path: PathBuf,
    document: DocumentMut,
    /// What the file held when it was read; `None` where there was none.
    before: Option<String>,
}

/// A server of the config file.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NamedServer {
    pub(crate) endpoint: String,
    #[serde(default)]
    pub(crate) pub_endpoint: String,
    pub(crate) server_key: Option<String>,
    pub(crate) public_key: Option<String>,
    pub(crate) secret_key: Option<String>,
}

impl std::fmt::Debug for NamedServer {
    /// Without its keys, of which one is secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("NamedServer")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    default: Option<String>,
    #[serde(default)]
    servers: BTreeMap<String, NamedServer>,
}

impl NamedServer {
    /// The keys, if it has them.
    pub(crate) fn into_bundle(self) -> Option<ClientBundle> {
        Some(ClientBundle {
            endpoint: self.endpoint,
            pub_endpoint: self.pub_endpoint,
            server_key: self.server_key?,
            public_key: self.public_key?,
            secret_key: self.secret_key?,
        })
    }

    fn has_some_keys(&self) -> bool {
        let keys = [&self.server_key, &self.public_key, &self.secret_key];
        let present = keys.iter().filter(|key| key.is_some()).count();
        present != 0 && present != keys.len()
    }
}

impl ConfigFile {
    /// One without servers, which is never written.
    pub(crate) fn empty() -> Self {
        Self {
            path: PathBuf::new(),
            document: DocumentMut::new(),
            before: None,
        }
    }

    /// Reads it. One that does not exist is empty.
    pub(crate) fn load() -> Result<Self> {
        let path = folder()?.join("config.toml");
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                let path = path.display();
                return Err(CliError::usage(format!("failed to read {path}: {error}")));
            }
        };
        let document = before.as_deref().unwrap_or_default().parse();
        let file = Self {
            document: document.map_err(|error: TomlError| {
                let text = before.as_deref().unwrap_or_default();
                invalid(&path, at_line(text, error.span(), error.message()))
            })?,
            path,
            before,
        };
        file.check()?;
        Ok(file)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The server with this name.
    pub(crate) fn server(&self, name: &str) -> Result<Option<NamedServer>> {
        Ok(self.servers()?.remove(name))
    }

    /// All servers, by name.
    pub(crate) fn servers(&self) -> Result<BTreeMap<String, NamedServer>> {
        Ok(self.content()?.servers)
    }

    /// The name of the default server.
    pub(crate) fn default_name(&self) -> Result<Option<String>> {
        Ok(self.content()?.default)
    }

    /// The default server.
    pub(crate) fn default_server(&self) -> Result<Option<(String, NamedServer)>> {
        let Content {
            default,
            mut servers,
        } = self.content()?;
        let Some(name) = default else {
            return Ok(None);
        };
        let server = servers.remove(&name).ok_or_else(|| self.unknown(&name))?;
        Ok(Some((name, server)))
    }

    /// Adds a server, or puts it in the place of one with this name.
    pub(crate) fn put(&mut self, name: &str, server: &NamedServer) -> Result<()> {
        let mut table = Table::new();
        table["endpoint"] = value(&server.endpoint);
        if !server.pub_endpoint.is_empty() {
            table["pub_endpoint"] = value(&server.pub_endpoint);
        }
        let keys = [
            ("server_key", &server.server_key),
            ("public_key", &server.public_key),
            ("secret_key", &server.secret_key),
        ];
        for (key, text) in keys {
            if let Some(text) = text {
                table[key] = value(text);
            }
        }
        let servers = self.document.entry("servers").or_insert_with(|| {
            let mut servers = Table::new();
            servers.set_implicit(true);
            Item::Table(servers)
        });
        let servers = servers.as_table_like_mut();
        let servers = servers.ok_or_else(|| invalid(&self.path, "servers is no table"))?;
        servers.insert(name, Item::Table(table));
        self.save()
    }

    /// Removes a server, and the default if it was that one. Returns whether there was one.
    pub(crate) fn remove(&mut self, name: &str) -> Result<bool> {
        let servers = self.document.get_mut("servers");
        let removed = servers
            .and_then(Item::as_table_like_mut)
            .and_then(|servers| servers.remove(name));
        if removed.is_none() {
            return Ok(false);
        }
        if self.default_name()?.as_deref() == Some(name) {
            self.document.remove("default");
        }
        self.save()?;
        Ok(true)
    }

    /// Makes a server the default.
    pub(crate) fn set_default(&mut self, name: &str) -> Result<()> {
        if self.server(name)?.is_none() {
            return Err(self.unknown(name));
        }
        self.document["default"] = value(name);
        self.save()
    }

    /// Makes no server the default. Returns whether one was.
    pub(crate) fn clear_default(&mut self) -> Result<bool> {
        if self.document.remove("default").is_none() {
            return Ok(false);
        }
        self.save()?;
        Ok(true)
    }

    /// The error for a name that is not in the file.
    pub(crate) fn unknown(&self, name: &str) -> CliError {
        let names: Vec<String> = self
            .servers()
            .map(|servers| servers.into_keys().collect())
            .unwrap_or_default();
        let near = names
            .iter()
            .map(|known| (strsim::damerau_levenshtein(name, known), known))
            .min()
            .filter(|(distance, _)| *distance <= 2);
        let error = CliError::usage(format!("there is no server named {name:?}"));
        match near {
            Some((_, known)) => error.hint(format!("did you mean {known:?}?")),
            None if name.contains(':') => error.hint(format!("did you mean tcp://{name}?")),
            None if names.is_empty() => error.hint(format!(
                "none has a name yet: write an endpoint like tcp://{name}:5555, or use `descartes servers add {name} ENDPOINT`"
            )),
            None => error.hint(format!("those with a name are {}", names.join(", "))),
        }
    }

    fn content(&self) -> Result<Content> {
        let text = self.document.to_string();
        toml::from_str(&text)
            .map_err(|error| invalid(&self.path, at_line(&text, error.span(), error.message())))
    }

    fn check(&self) -> Result<()> {
        let servers = self.servers()?;
        if let Some(name) = servers.keys().find(|name| !is_name(name)) {
            return Err(invalid(
                &self.path,
                format!("{name:?} cannot be a server's name"),
            ));
        }
        if let Some((name, _)) = servers.iter().find(|(_, server)| server.has_some_keys()) {
            let problem =
                format!("server {name:?} needs all of server_key, public_key, secret_key, or none");
            return Err(invalid(&self.path, problem));
        }
        let holds_secrets = servers.values().any(|server| server.secret_key.is_some());
        let mode = fs::metadata(&self.path).map_or(0, |metadata| metadata.mode() & 0o777);
        if holds_secrets && mode & 0o077 != 0 {
            let path = self.path.display();
            return Err(CliError::usage(format!(
                "{path} holds secret keys and is open to other users (mode {mode:o})"
            ))
            .hint(format!("chmod 600 {path}")));
        }
        Ok(())
    }

    fn save(&mut self) -> Result<()> {
        let text = self.document.to_string();
        private::replace(&self.path, self.before.as_deref(), &text)?;
        self.before = Some(text);
        Ok(())
    }
}

/// Whether `--server` would take this for a server's name, and not for an endpoint or a file.
pub(crate) fn is_name(name: &str) -> bool {
    let is_odd = |char: char| char == '/' || char.is_whitespace() || char.is_control();
    !name.is_empty()
        && name != LOCAL
        && !name.starts_with('-')
        && !name.contains(is_odd)
        && Path::new(name)
            .extension()
            .is_none_or(|extension| extension != "toml")
}

/// A fault in a TOML text, with its line but without what stands there, which may be secret.
pub(crate) fn at_line(text: &str, span: Option<Range<usize>>, problem: &str) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    match before {
        Some(before) => format!("line {}: {problem}", before.matches('\n').count() + 1),
        None => problem.to_owned(),
    }
}

/// The folder of this user's settings and keys.
pub(crate) fn folder() -> Result<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    let home = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let home = home.ok_or_else(|| {
        CliError::usage("there is no place for the config file: HOME is not set")
            .hint("set HOME or XDG_CONFIG_HOME")
    })?;
    Ok(home.join("descartes"))
}

fn invalid(path: &Path, problem: impl std::fmt::Display) -> CliError {
    CliError::usage(format!("{} is not valid: {problem}", path.display()))
}
