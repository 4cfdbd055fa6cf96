//! Which server a command is for, and the connection to it.
//!
//! In this order: what `--server` or `DESCARTES_SERVER` names; the default of the config file; the server that runs on
//! this host; `tcp://127.0.0.1:5555`. A name is looked up in the config file, but `local`, which is the server on this
//! host; a text with `://` is an endpoint; a path is a client bundle.

pub(crate) mod config;
pub(crate) mod local;

use std::path::Path;

use descartes_client::{
    ClientBundle, ClientError, Connectivity, ServerAddress, ZmqAgentRunner, ZmqClient,
    ZmqRunnerConfig,
};

use tokio::sync::watch;

use crate::error::{CliError, Result};
use crate::exit;
use crate::output;
use crate::progress;
use config::{ConfigFile, NamedServer};

/// Stands for the server on this host, whatever the config file's default is.
pub(crate) const LOCAL: &str = "local";

/// Attempts to get back to a server, a second apart, that a person waits for.
const BRIEF_ATTEMPTS: u32 = 5;

/// A server, and how it was found.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) endpoint: String,
    pub(crate) bundle: Option<ClientBundle>,
    source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Named(String),
    Endpoint,
    Bundle,
    /// It has left its address on this host.
    Local,
    /// Nothing else was found.
    Fallback,
}

/// How long a command tries to get back to a server that it has lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// Some attempts: an answer is due.
    Brief,
    /// As long as it takes: it follows something that goes on meanwhile.
    Endless,
    /// As long as it takes, and without a word: it shows by itself how the connection is.
    Shown,
}

impl Server {
    /// The server that is meant.
    pub(crate) fn find(name: Option<&str>) -> Result<Self> {
        let file = match ConfigFile::load() {
            // Where the server is named in full, a config file that cannot be had is no hindrance.
            Err(_) if name.is_some_and(is_named_in_full) => ConfigFile::empty(),
            file => file?,
        };
        match name {
            Some(name) => Self::named(name, &file),
            None => match file.default_server()? {
                Some((name, server)) => Ok(Self::of(&name, server)),
                None => Self::on_this_host(),
            },
        }
    }

    fn named(name: &str, file: &ConfigFile) -> Result<Self> {
        if name == LOCAL {
            return Self::on_this_host();
        }
        if let Some(server) = file.server(name)? {
            return Ok(Self::of(name, server));
        }
        if name.contains("://") {
            // The keys of a named server with this endpoint, or of one on this host, so that an endpoint is enough.
            let known = file.servers()?.into_values();
            let same = known.into_iter().find(|server| server.endpoint == name);
            if let Some(bundle) = same.and_then(NamedServer::into_bundle) {
                return Ok(Self {
                    endpoint: name.to_owned(),
                    bundle: Some(bundle),
                    source: Source::Endpoint,
                });
            }
            let mut here = local::running().into_iter();
            return match here.find(|address| address.endpoint == name) {
                Some(address) => Self::at(address),
                None => Ok(Self {
                    endpoint: name.to_owned(),
                    bundle: None,
                    source: Source::Endpoint,
                }),
            };
        }
        if is_named_in_full(name) {
            let bundle = ClientBundle::load(Path::new(name))
                .map_err(|error| CliError::new(exit::USAGE, error.to_string()))?;
            return Ok(Self {
                endpoint: bundle.endpoint.clone(),
                bundle: Some(bundle),
                source: Source::Bundle,
            });
        }
        let mut here = local::running().into_iter();
        match here.find(|address| address.server_id == name) {
            Some(address) => Self::at(address),
            None => Err(file.unknown(name)),
        }
    }

    /// A server of the config file.
    pub(crate) fn of(name: &str, server: NamedServer) -> Self {
        Self {
            endpoint: server.endpoint.clone(),
            bundle: server.into_bundle(),
            source: Source::Named(name.to_owned()),
        }
    }

    fn on_this_host() -> Result<Self> {
        let mut running = local::running();
        if running.len() > 1 {
            let names: Vec<String> = running
                .iter()
                .map(|address| format!("{} ({})", address.server_id, address.endpoint))
                .collect();
            return Err(CliError::usage(format!(
                "several servers run on this host: {}",
                names.join(", ")
            ))
            .hint("choose one by its name: --server NAME"));
        }
        let Some(address) = running.pop() else {
            return Ok(Self {
                endpoint: ZmqRunnerConfig::default().endpoint,
                bundle: None,
                source: Source::Fallback,
            });
        };
        Self::at(address)
    }

    /// A server of this host.
    pub(crate) fn at(address: ServerAddress) -> Result<Self> {
        let keys = address.client_bundle.as_deref().map(ClientBundle::load);
        let bundle = keys
            .transpose()
            .map_err(|error| CliError::new(exit::NO_SERVER, error.to_string()))?;
        Ok(Self {
            endpoint: address.endpoint,
            bundle,
            source: Source::Local,
        })
    }

    /// Connects, so that a server that is not there is told in the words that help most.
    pub(crate) async fn connect(&self, persistence: Persistence) -> Result<ZmqClient> {
        let defaults = ZmqRunnerConfig::default();
        let client = ZmqClient::new(ZmqRunnerConfig {
            endpoint: self.endpoint.clone(),
            bundle: self.bundle.clone(),
            max_reconnect_attempts: match persistence {
                Persistence::Brief => BRIEF_ATTEMPTS,
                Persistence::Endless | Persistence::Shown => u32::MAX,
            },
            ..defaults
        });
        let waiting = format!("waiting for the server at {}", self.endpoint);
        if let Err(error) = progress::during(&waiting, client.connect()).await {
            return Err(self.explain(error));
        }
        if persistence == Persistence::Endless {
            tokio::spawn(tell(client.connectivity()));
        }
        Ok(client)
    }

    fn explain(&self, error: ClientError) -> CliError {
        let is_unreachable = matches!(error, ClientError::Unreachable { .. });
        let error = CliError::from(error);
        match &self.source {
            Source::Fallback if is_unreachable => error.hint(
                "no server seems to run on this host: start one with `descartes-server`, or name another with --server",
            ),
            Source::Local if is_unreachable => {
                error.hint("its state folder says that it serves there; the server's log may say more")
            }
            Source::Named(name) => CliError {
                message: format!("{} (server {name})", error.message),
                ..error
            },
            _ => error,
        }
    }
}

/// Whether this is an endpoint or the path of a bundle, and not a name.
fn is_named_in_full(name: &str) -> bool {
    let extension = Path::new(name).extension();
    name.contains('/') || extension.is_some_and(|extension| extension == "toml")
}

/// Tells a person when the connection breaks, and when it is back.
async fn tell(mut connection: watch::Receiver<Connectivity>) {
    connection.mark_unchanged();
    while connection.changed().await.is_ok() {
        match &*connection.borrow_and_update() {
            Connectivity::Connected => output::note("the server is back"),
            Connectivity::Lost { reason } => {
                output::note(format_args!(
                    "lost the server, and trying to get back to it: {reason}"
                ));
            }
            // Whatever needed it says why it is gone.
            Connectivity::Idle => {}
        }
    }
}
