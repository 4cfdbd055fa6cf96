//! Variables that set keys: `DESCARTES_` and the key in upper case, with `__` for a dot; and
//! `SERVER_ENDPOINT` and `MAX_AGENTS`, which the former ones overrule.

use std::ffi::{OsStr, OsString};

use super::draft::Draft;
use super::keys::KEYS;
use super::origin::{Fault, Origin};
use crate::suggest::did_you_mean;

const PREFIX: &str = "DESCARTES_";

/// Ours, but not keys: what an agent is told, and which server a client asks. A server may be
/// started by either.
const NOT_KEYS: [&str; 2] = ["DESCARTES_AGENT_ID", "DESCARTES_SERVER"];

const GENERAL: [(&str, &str); 2] = [
    ("SERVER_ENDPOINT", "endpoint"),
    ("MAX_AGENTS", "max_agents"),
];

/// Reads the environment.
pub(super) fn read(environment: &[(OsString, OsString)], draft: &mut Draft) {
    for (name, key) in GENERAL {
        let set = environment.iter().find(|(variable, _)| variable == name);
        if let Some((_, value)) = set {
            read_one(name, key, value, draft);
        }
    }
    // What is not UTF-8 in a name is no part of a key either.
    let mut ours: Vec<(String, &OsStr)> = environment
        .iter()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.as_os_str()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .filter(|(name, _)| !NOT_KEYS.contains(&name.as_str()))
        .collect();
    ours.sort();
    let links = service_links(&ours);
    for (name, value) in ours {
        match key(&name) {
            Some(key) => read_one(&name, &key, value, draft),
            None if links.iter().any(|link| name.starts_with(link)) => {}
            None => draft.report(Fault::Source {
                problem: unknown(&name),
                origin: Origin::Environment(name),
            }),
        }
    }
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The key that a variable sets.
fn key(name: &str) -> Option<String> {
    let path = name.strip_prefix(PREFIX)?;
    if path.starts_with("BACKENDS__") {
        return Some(backend_key(path));
    }
    let known = KEYS.iter().find(|key| variable(key.name) == name);
    known.map(|key| key.name.to_owned())
}

/// What comes after `env` is the name of a variable, which keeps its case.
fn backend_key(path: &str) -> String {
    let (keys, variable) = match path.split_once("__ENV__") {
        Some((keys, variable)) => (format!("{keys}__ENV"), Some(variable)),
        None => (path.to_owned(), None),
    };
    let mut key = keys.to_lowercase().replace("__", ".");
    if let Some(variable) = variable {
        key.push('.');
        key.push_str(variable);
    }
    key
}

fn read_one(name: &str, key: &str, value: &OsStr, draft: &mut Draft) {
    let origin = Origin::Environment(name.to_owned());
    let set = match value.to_str() {
        Some(text) => draft.set_text(key, text, &origin),
        None => Err("must be UTF-8".to_owned()),
    };
    if let Err(problem) = set {
        draft.fault(key, origin, problem);
    }
}

/// How the variables begin that Kubernetes makes for a service whose name begins with
/// `descartes`: nobody has chosen them (Kubernetes documentation, "Discovering services").
fn service_links(ours: &[(String, &OsStr)]) -> Vec<String> {
    ours.iter()
        .filter_map(|(name, _)| name.strip_suffix("_SERVICE_HOST"))
        .flat_map(|service| [format!("{service}_SERVICE_"), format!("{service}_PORT")])
        .collect()
}

fn unknown(name: &str) -> String {
    let known: Vec<String> = KEYS.iter().map(|key| variable(key.name)).collect();
    let suggestion = did_you_mean(name, known.iter().map(String::as_str));
    format!("sets no key{suggestion}")
}
