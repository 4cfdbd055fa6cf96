//! Where a server's keys are, and how clients reach that server.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_client::transport::{Endpoint, PublicKey};
use descartes_client::{ClientBundle, ServerAddress, ZmqRunnerConfig};

use crate::error::{CliError, Result};
use crate::exit;
use crate::private;
use crate::server::config::is_name;
use crate::server::local;

/// The longest that a change of the list goes unnoticed by a running server, as `docs/security.md` says.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The folder of a server's keys.
#[derive(Debug)]
pub(crate) struct KeysFolder {
    pub(crate) dir: PathBuf,
    pub(crate) server_key: PublicKey,
    /// The server's, if it runs.
    address: Option<ServerAddress>,
}

/// How a client gets to the server.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) endpoint: String,
    /// What the client may call it.
    pub(crate) server_name: String,
    /// What may keep a client from getting there.
    pub(crate) warning: Option<String>,
}

#[derive(Debug)]
struct Candidate {
    dir: PathBuf,
    address: Option<ServerAddress>,
}

impl KeysFolder {
    /// The folder that is meant, or that of the one server on this host. Servers that run go before those that do not.
    pub(crate) fn find(dir: Option<&Path>) -> Result<Self> {
        let mut found = on_this_host();
        if let Some(dir) = dir {
            let same = |candidate: &Candidate| is_same(&candidate.dir, dir);
            let address = found.into_iter().find(same).and_then(|found| found.address);
            return Self::open(dir.to_owned(), address);
        }
        if found.iter().any(|candidate| candidate.address.is_some()) {
            found.retain(|candidate| candidate.address.is_some());
        }
        if found.len() > 1 {
            let dirs: Vec<String> = found
                .iter()
                .map(|candidate| candidate.dir.display().to_string())
                .collect();
            let problem = format!("several servers have keys here: {}", dirs.join(", "));
            return Err(CliError::usage(problem).hint("choose one with --keys-dir DIR"));
        }
        match found.pop() {
            Some(Candidate { dir, address }) => Self::open(dir, address),
            None => Err(nothing_found()),
        }
    }

    fn open(dir: PathBuf, address: Option<ServerAddress>) -> Result<Self> {
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        let path = dir.join("server.pub");
        let Some(text) = private::read(&path)? else {
            let problem = format!("there is no server.pub in {}", dir.display());
            return Err(CliError::usage(problem).hint(HOW_KEYS_ARE_MADE));
        };
        let server_key = PublicKey::from_z85(text.trim()).map_err(|error| {
            CliError::usage(format!("{} is not valid: {error}", path.display()))
        })?;
        Ok(Self {
            dir,
            server_key,
            address,
        })
    }

    /// The file that lists the clients.
    pub(crate) fn clients(&self) -> PathBuf {
        self.dir.join("authorized_clients.toml")
    }

    /// Waits until the server, if it runs, has read the list again, so that whoever comes next finds it changed.
    pub(crate) fn wait_for_server(&self) {
        if self.address.is_some() {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Whether the bundle in this folder is that of the client with this key.
    pub(crate) fn bundle_is_of(&self, public_key: &str) -> bool {
        let bundle = self.bundle();
        bundle.is_some_and(|bundle| bundle.public_key == public_key)
    }

    /// How a client gets to the server. The first client's bundle knows what the server tells others; without it, it
    /// is a guess.
    pub(crate) fn way(&self) -> Way {
        let bundle = self.bundle();
        let told = bundle.as_ref().map(|bundle| bundle.endpoint.clone());
        let told = told.filter(|endpoint| !endpoint.is_empty());
        let endpoint = told.clone().unwrap_or_else(|| self.guess());
        let is_plain = self
            .address
            .as_ref()
            .is_some_and(|address| address.client_bundle.is_none() && bundle.is_some());
        let is_local = |endpoint: Endpoint| endpoint.is_local_only();
        let warning = if is_plain {
            Some("the server that runs here does not use its keys: it was started without encryption".to_owned())
        } else if told.is_none() {
            Some(format!(
                "the endpoint {endpoint} is a guess: the server's client.toml is not here any more"
            ))
        } else if endpoint.parse().is_ok_and(is_local) {
            Some("the server listens for clients on this host only".to_owned())
        } else {
            None
        };
        Way {
            server_name: self.server_name(&endpoint),
            endpoint,
            warning,
        }
    }

    fn bundle(&self) -> Option<ClientBundle> {
        ClientBundle::load(&self.dir.join("client.toml")).ok()
    }

    fn guess(&self) -> String {
        let address = self.address.as_ref();
        let here = address.map_or_else(
            || ZmqRunnerConfig::default().endpoint,
            |address| address.endpoint.clone(),
        );
        let uname = rustix::system::uname();
        let remote = here.parse().ok().and_then(|here: Endpoint| {
            let host = uname.nodename().to_str().ok()?;
            if here.is_local_only() {
                here.with_host(host).ok()
            } else {
                None
            }
        });
        remote.map_or(here, |remote| remote.to_string())
    }

    fn server_name(&self, endpoint: &str) -> String {
        let id = self
            .address
            .as_ref()
            .map(|address| address.server_id.as_str());
        let host = endpoint.strip_prefix("tcp://");
        let host = host.and_then(|rest| rest.rsplit_once(':'));
        let names = [id, host.map(|(host, _)| host)].into_iter().flatten();
        let name = names.into_iter().find(|name| is_name(name));
        name.unwrap_or("server").to_owned()
    }
}

const HOW_KEYS_ARE_MADE: &str = "a server makes its keys when it first starts with encryption, for instance with \
     `descartes-server --endpoint tcp://0.0.0.0:5555`; --keys-dir names their folder";

fn on_this_host() -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    for state_dir in local::state_dirs() {
        // A folder that cannot be read is none of this user's servers.
        let address = ServerAddress::read(&state_dir).ok().flatten();
        let named = address
            .as_ref()
            .and_then(|address| Some(address.client_bundle.as_ref()?.parent()?.to_owned()));
        let dir = named.unwrap_or_else(|| state_dir.join("keys"));
        let is_known = found.iter().any(|candidate| is_same(&candidate.dir, &dir));
        if dir.join("server.pub").is_file() && !is_known {
            let address = address.filter(|address| local::is_alive(address.pid));
            found.push(Candidate { dir, address });
        }
    }
    found
}

fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

fn nothing_found() -> CliError {
    let closed = local::state_dirs().into_iter().find(|dir| {
        let opened = fs::read_dir(dir);
        opened.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    });
    let problem = "no server on this host has keys that can be found";
    let error = CliError::new(exit::REFUSED, problem);
    match closed {
        Some(dir) => error.hint(format!(
            "{} is another user's: run this as that user, or as root",
            dir.display()
        )),
        None => error.hint(HOW_KEYS_ARE_MADE),
    }
}
