//! `descartes servers add`.

use std::path::Path;

use clap::Args;
use descartes_client::ClientBundle;
use descartes_client::transport::Endpoint;
use serde_json::json;

use super::check::{about, ask, in_words};
use super::check_name;
use crate::commands::keys::public_key;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::own_key;
use crate::server::Server;
use crate::server::config::{ConfigFile, NamedServer};

/// Give a server a name, and keep what it takes to reach it
///
/// Either with a client bundle, the client.toml that the server made; or with the server's endpoint and public key, and
/// this user's own key pair (`descartes keygen`); or with an endpoint alone, for a server that does not encrypt.
#[derive(Debug, Args)]
pub(super) struct Add {
    /// What to call it
    name: String,

    /// A client bundle's path, or an endpoint like tcp://HOST:PORT
    #[arg(value_name = "BUNDLE|ENDPOINT")]
    source: String,

    /// The server's public key, from server.pub or `descartes keys` on its host
    // A key may begin with a hyphen.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    server_key: Option<String>,

    /// Where to reach the server, if not where the bundle says
    #[arg(long, value_name = "ENDPOINT", conflicts_with = "server_key")]
    endpoint: Option<String>,

    /// Make it the default
    #[arg(long)]
    default: bool,

    /// Put it in the place of one with this name
    #[arg(long)]
    force: bool,
}

impl Add {
    pub(super) async fn run(self, mut file: ConfigFile, format: Format) -> Result<u8> {
        check_name(&self.name)?;
        if !self.force && file.server(&self.name)?.is_some() {
            let problem = format!("there is a server named {:?} already", self.name);
            return Err(CliError::usage(problem).hint("--force puts this one in its place"));
        }
        let server = self.server()?;
        file.put(&self.name, &server)?;
        if self.default {
            file.set_default(&self.name)?;
        }
        self.tell(&file, server, format).await?;
        Ok(exit::DONE)
    }

    fn server(&self) -> Result<NamedServer> {
        let is_endpoint = self.source.contains("://");
        match &self.server_key {
            _ if !is_endpoint => self.of_bundle(),
            _ if self.endpoint.is_some() => Err(CliError::usage(
                "--endpoint is for bundles; here the endpoint is given already",
            )),
            Some(key) => self.with_own_key(key),
            None => Ok(NamedServer {
                endpoint: endpoint(&self.source)?.to_string(),
                pub_endpoint: String::new(),
                server_key: None,
                public_key: None,
                secret_key: None,
            }),
        }
    }

    fn of_bundle(&self) -> Result<NamedServer> {
        if self.server_key.is_some() {
            return Err(
                CliError::usage("--server-key goes with an endpoint, and this is none")
                    .hint("an endpoint is tcp://HOST:PORT or ipc:///PATH"),
            );
        }
        let path = Path::new(&self.source);
        let bundle = ClientBundle::load(path).map_err(|error| {
            let error = CliError::usage(error.to_string());
            if path.exists() {
                error
            } else {
                error.hint("an endpoint is tcp://HOST:PORT or ipc:///PATH")
            }
        })?;
        bundle.security().map_err(|fault| {
            CliError::usage(format!("{} is not valid: {fault}", path.display()))
        })?;
        let (wanted, pub_endpoint) = match &self.endpoint {
            // The bundle's event socket is at the address that is not the right one.
            Some(endpoint) => (endpoint, String::new()),
            None => (&bundle.endpoint, bundle.pub_endpoint),
        };
        if wanted.is_empty() {
            return Err(
                CliError::usage(format!("{} names no endpoint", path.display()))
                    .hint("the server fills it in when it starts; or name it with --endpoint"),
            );
        }
        Ok(NamedServer {
            endpoint: endpoint(wanted)?.to_string(),
            pub_endpoint,
            server_key: Some(bundle.server_key),
            public_key: Some(bundle.public_key),
            secret_key: Some(bundle.secret_key),
        })
    }

    fn with_own_key(&self, server_key: &str) -> Result<NamedServer> {
        let server_key = public_key(server_key)?;
        let Some(own) = own_key::load()? else {
            return Err(CliError::usage("you have no key pair yet").hint(
                "`descartes keygen` makes one; have the server list its public key with `descartes keys add`",
            ));
        };
        if own.public == server_key {
            return Err(
                CliError::usage("this is your own public key, not the server's")
                    .hint("`descartes keys` shows the server's, on its host"),
            );
        }
        Ok(NamedServer {
            endpoint: endpoint(&self.source)?.to_string(),
            pub_endpoint: String::new(),
            server_key: Some(server_key.to_z85()),
            public_key: Some(own.public.to_z85()),
            secret_key: Some(own.secret_z85()),
        })
    }

    /// Says what was added, and whether it can be reached: that it cannot is no reason not to keep it.
    async fn tell(&self, file: &ConfigFile, server: NamedServer, format: Format) -> Result<()> {
        let is_encrypted = server.server_key.is_some();
        let warning = warning(&server);
        let server = Server::of(&self.name, server);
        let answer = ask(&server).await;
        if format == Format::Json {
            let mut object = about(Some(&self.name), &server.endpoint, &answer);
            object["encrypted"] = json!(is_encrypted);
            object["default"] = json!(file.default_name()?.as_ref() == Some(&self.name));
            object["path"] = json!(file.path().display().to_string());
            object["warning"] = json!(warning);
            return output::json(&object);
        }
        let kind = if is_encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        output::line(format_args!("{}  {}  {kind}", self.name, server.endpoint))?;
        output::note(format_args!("added to {}", file.path().display()));
        if !self.source.contains("://") {
            output::note(format_args!(
                "{} holds a secret key, and is not needed here any more",
                self.source
            ));
        }
        if let Some(warning) = warning {
            output::note(format_args!("warning: {warning}"));
        }
        match &answer {
            Ok(_) => output::note(format_args!("it answers: {}", in_words(&answer))),
            Err(error) => {
                output::note(format_args!("it does not answer: {}", in_words(&answer)));
                if let Some(hint) = &error.hint {
                    output::note(format_args!("hint: {hint}"));
                }
            }
        }
        Ok(())
    }
}

/// What a person may not have meant.
fn warning(server: &NamedServer) -> Option<&'static str> {
    let is_local = |endpoint: Endpoint| endpoint.is_local_only();
    if server.server_key.is_some() || server.endpoint.parse().is_ok_and(is_local) {
        return None;
    }
    Some("without --server-key everything goes over the network in plain text")
}

/// An endpoint that a client can connect to.
fn endpoint(text: &str) -> Result<Endpoint> {
    let endpoint: Endpoint = text
        .parse()
        .map_err(|error| CliError::usage(format!("{error}")))?;
    if endpoint.is_wildcard() || endpoint.port() == Some(0) {
        let problem = format!("{endpoint} is for a server to listen on, not to connect to");
        return Err(CliError::usage(problem).hint("name the server's host and its port"));
    }
    Ok(endpoint)
}
