//! Which server a command is for, and the connection to it.
//!
//! In this order: what `--server` or `DESCARTES_SERVER` names; the default of the config file; the server that runs on
//! this host; `tcp://127.0.0.1:5555`. A name is looked up in the config file, but `local`, which is the server on this
//! host; a text with `://` is an endpoint; a path is a client bundle.

pub(crate) mod config;
pub(crate) mod local;

use std::path::Path;

use descartes_client::{
    ClientBundle, ClientError, ServerAddress, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig,
};

use crate::error::{CliError, Result};
use crate::exit;
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
}

impl Server {
    /// The server that is meant.
    pub(crate) fn find(name: Option<&str>) -> Result<Self> {
        let file = ConfigFile::load()?;
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
            // The keys of a named server with this endpoint, so that an endpoint alone is enough.
            let known = file.servers()?.into_values();
            let same = known.into_iter().find(|server| server.endpoint == name);
            return Ok(Self {
                endpoint: name.to_owned(),
                bundle: same.and_then(NamedServer::into_bundle),
                source: Source::Endpoint,
            });
        }
        let path = Path::new(name);
        if name.contains('/')
            || path
                .extension()
                .is_some_and(|extension| extension == "toml")
        {
            let bundle = ClientBundle::load(path)
                .map_err(|error| CliError::new(exit::USAGE, error.to_string()))?;
            return Ok(Self {
                endpoint: bundle.endpoint.clone(),
                bundle: Some(bundle),
                source: Source::Bundle,
            });
        }
        Err(file.unknown(name))
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
            .hint("choose one with --server ENDPOINT"));
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
                Persistence::Endless => u32::MAX,
            },
            ..defaults
        });
        match client.connect().await {
            Ok(()) => Ok(client),
            Err(error) => Err(self.explain(error)),
        }
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
