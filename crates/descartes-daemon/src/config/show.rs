//! The configuration in force, as TOML that says where each value came from.

use std::fmt::Write as _;

use descartes_core::Backends;
use descartes_core::transport::Endpoint;
use toml::{Table, Value};

use super::keys::KEYS;
use super::origin::Origin;
use super::{Configuration, Settings};

/// The text. It is a configuration itself, except for values that nobody should see.
pub(super) fn show(configuration: &Configuration) -> String {
    let mut text = Text(String::new());
    show_keys(configuration, &mut text);
    show_backends(configuration, &mut text);
    text.0
}

fn show_keys(configuration: &Configuration, text: &mut Text) {
    let mut settings = configuration.settings.clone();
    let mut current = "";
    for key in KEYS {
        let (table, name) = key.name.rsplit_once('.').unwrap_or(("", key.name));
        if table != current {
            text.line(&format!("\n[{table}]"));
            current = table;
        }
        let origin = configuration.origins.of(key.name);
        let value = (key.slot)(&mut settings).value();
        let value = value.or_else(|| derived(key.name, &configuration.settings));
        text.line(&format!("# {}", key.help));
        match value {
            Some(value) => text.value(name, &value, &origin),
            None => text.line(&format!("# {name} is unset # {}", origin.note())),
        }
    }
}

/// What an unset key comes to, where another setting decides it.
fn derived(key: &str, settings: &Settings) -> Option<Value> {
    let server = &settings.server;
    let keys_dir = || {
        let dir = server.security.keys_dir.clone();
        dir.unwrap_or_else(|| server.state_dir().join("keys"))
    };
    let path = match key {
        "pub_endpoint" => {
            let endpoint: Endpoint = server.endpoint.parse().ok()?;
            return Some(Value::String(endpoint.default_pub().ok()?.to_string()));
        }
        "state_dir" => server.state_dir(),
        "security.keys_dir" => keys_dir(),
        "security.authorized_clients" => keys_dir().join("authorized_clients.toml"),
        _ => return None,
    };
    Some(Value::String(path.display().to_string()))
}

fn show_backends(configuration: &Configuration, text: &mut Text) {
    let in_force = configuration.settings.server.backends.to_table();
    let builtin = Backends::builtin().to_table();
    let builtin = leaves(&builtin);
    for (name, backend) in &in_force {
        text.line(&format!("\n[backends.{}]", quoted(name)));
        let Value::Table(backend) = backend else {
            continue;
        };
        for (path, value) in leaves(backend) {
            let key = path_text(&path);
            let in_builtin = |(known, builtin): &(Vec<&str>, &Value)| {
                known.split_first() == Some((&name.as_str(), path.as_slice())) && *builtin == value
            };
            let origin = origin(configuration, name, &path);
            if is_environment(&path) && !builtin.iter().any(in_builtin) {
                text.line(&format!(
                    "# {key} is set, and not shown # {}",
                    origin.note()
                ));
            } else {
                text.value(&key, value, &origin);
            }
        }
    }
    for name in configuration.backends.keys() {
        if !in_force.contains_key(name) {
            let origin = origin(configuration, name, &["enabled"]);
            text.line(&format!("\n[backends.{}]", quoted(name)));
            text.value("enabled", &Value::Boolean(false), &origin);
        }
    }
}

fn origin(configuration: &Configuration, backend: &str, path: &[&str]) -> Origin {
    let key = format!("backends.{backend}.{}", path.join("."));
    configuration.origins.of(&key)
}

/// Values of variables may be secrets, and what this prints gets into bug reports.
fn is_environment(path: &[&str]) -> bool {
    path.len() >= 2 && path[path.len() - 2] == "env"
}

/// All values below a table that are no tables with something in them, with their paths.
fn leaves(table: &Table) -> Vec<(Vec<&str>, &Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                for (mut path, value) in leaves(inner) {
                    path.insert(0, name);
                    found.push((path, value));
                }
            }
            value => found.push((vec![name.as_str()], value)),
        }
    }
    found
}

fn path_text(path: &[&str]) -> String {
    let names: Vec<String> = path.iter().map(|name| quoted(name)).collect();
    names.join(".")
}

fn quoted(name: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !name.is_empty() && name.bytes().all(bare) {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

/// The text being written.
struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{line}");
    }

    fn value(&mut self, name: &str, value: &Value, origin: &Origin) {
        self.line(&format!("{name} = {value} # {}", origin.note()));
    }
}
