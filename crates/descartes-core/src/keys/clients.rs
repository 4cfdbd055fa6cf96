//! The file that lists the clients, read again whenever it changes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use descartes_protocol::{Raw, Request};
use descartes_transport::PublicKey;
use serde::Deserialize;

use super::{parse_key, read_private};
use crate::error::KeyError;

/// The longest that a change of the file goes unnoticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Look: lists, status, output, events, health.
    Observe,
    /// Look, and start and command agents.
    Control,
    /// Everything.
    Admin,
}

impl Role {
    /// Whether a client in this role may send this request.
    #[must_use]
    pub fn allows(self, request: &Request) -> bool {
        self != Self::Observe || only_looks(request)
    }
}

/// Whether a request changes nothing, for an agent or for another client.
fn only_looks(request: &Request) -> bool {
    let looks = |command: &str, payload: Option<&Raw>| match command {
        "get_status" | "query_output" | "stream_logs" => true,
        // A read that does not say where it begins moves the cursor that all clients share.
        "read_stdout" | "read_stderr" => payload.is_some_and(|payload| {
            let says = |key| payload.get(key).is_some_and(|value: Raw| !value.is_nil());
            says("offset") || says("since")
        }),
        _ => false,
    };
    match request {
        Request::ListAgents(_)
        | Request::HealthCheck(_)
        | Request::Stats(_)
        | Request::OutputQuery(_)
        | Request::Events(_) => true,
        Request::Control(command) => looks(&command.command_type, command.payload.as_ref()),
        Request::BatchControl(batch) => looks(&batch.command_type, batch.payload.as_ref()),
        Request::Spawn(_) | Request::CustomAction(_) => false,
    }
}

/// The clients that may connect.
#[derive(Debug)]
pub struct AuthorizedClients {
    path: PathBuf,
    clients: RwLock<HashMap<PublicKey, Client>>,
    /// When the file was looked at last, and which it was then.
    seen: Mutex<(Instant, Option<Stamp>)>,
    generation: AtomicU64,
}

#[derive(Debug, Clone)]
struct Client {
    name: String,
    role: Role,
}

/// What changes when a file does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    client: Vec<RawClient>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClient {
    name: String,
    public_key: String,
    role: Role,
}

impl AuthorizedClients {
    /// Reads the file.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let stamp = stamp(path);
        let clients = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            clients: RwLock::new(clients),
            seen: Mutex::new((Instant::now(), stamp)),
            generation: AtomicU64::new(0),
        })
    }

    /// What the client with this key may do; `None` where it is not listed.
    #[must_use]
    pub fn role(&self, key: &PublicKey) -> Option<Role> {
        self.look_again();
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.get(key).map(|client| client.role)
    }

    /// What the operator calls the client with this key.
    #[must_use]
    pub fn name(&self, key: &PublicKey) -> Option<String> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        clients.get(key).map(|client| client.name.clone())
    }

    /// How often the clients have changed. It is what a change is noticed by.
    pub(crate) fn generation(&self) -> u64 {
        self.look_again();
        self.generation.load(Ordering::Acquire)
    }

    /// Reads the file again if it has changed. One that is not valid keeps the clients as they
    /// were and says so in the log; one that is gone lets nobody in.
    fn look_again(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0.elapsed() < LOOK_INTERVAL {
            return;
        }
        let stamp = stamp(&self.path);
        let changed = seen.1 != stamp;
        *seen = (Instant::now(), stamp);
        drop(seen);
        if !changed {
            return;
        }
        match read(&self.path) {
            Ok(clients) => {
                tracing::info!(path = %self.path.display(), clients = clients.len(), "read the authorized clients again");
                if clients.is_empty() {
                    tracing::warn!(path = %self.path.display(), "no client is listed: nobody can connect");
                }
                *self.clients.write().unwrap_or_else(PoisonError::into_inner) = clients;
                self.generation.fetch_add(1, Ordering::Release);
            }
            Err(error) => {
                tracing::error!(%error, "the authorized clients stay as they were");
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn read(path: &Path) -> Result<HashMap<PublicKey, Client>, KeyError> {
    let Some(text) = read_private(path)? else {
        return Ok(HashMap::new());
    };
    let raw: RawFile = toml::from_str(&text).map_err(|error| KeyError::Invalid {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let mut clients = HashMap::new();
    for client in raw.client {
        let key = parse_key(path, &client.public_key)?;
        let RawClient { name, role, .. } = client;
        clients.insert(key, Client { name, role });
    }
    Ok(clients)
}

/// The file that a first start makes.
pub(super) fn first_file(key: &PublicKey) -> String {
    format!(
        "# The clients that may connect, by their public keys. Changes count from the next second on.\n\
         # role: \"observe\" may look, \"control\" may also start and command agents, \"admin\" may do everything.\n\
         \n\
         [[client]]\n\
         name = \"first\"\n\
         public_key = \"{key}\"\n\
         role = \"admin\"\n"
    )
}
