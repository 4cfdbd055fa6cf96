//! `descartes servers check`, and how one server is.

use std::time::Duration;

use clap::Args;
use descartes_client::{ServerHealth, ZmqAgentRunner};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Known, Origin};
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::server::config::ConfigFile;
use crate::server::{Persistence, Server};
use crate::table::{Table, plain};

/// A server that has not answered by then does not answer.
const TIME_MAX: Duration = Duration::from_secs(15);

/// Say of each server whether it can be reached and takes work
///
/// The exit code is 0 where all do, and else 1.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Their names in the config file; default: all that `descartes servers` lists
    names: Vec<String>,
}

impl Check {
    pub(super) async fn run(self, file: &ConfigFile, format: Format) -> Result<u8> {
        let mut all = Known::all(file)?;
        if let Some(name) = self.names.iter().find(|name| !is_among(&all, name)) {
            return Err(file.unknown(name));
        }
        if !self.names.is_empty() {
            all.retain(|known| {
                known
                    .name
                    .as_ref()
                    .is_some_and(|name| self.names.contains(name))
            });
        }
        if all.is_empty() && format == Format::Text {
            output::note("no server is known; `descartes servers add` adds one");
        }
        let answers = ask_all(&all).await;
        let is_well =
            |answer: &Result<ServerHealth>| answer.as_ref().is_ok_and(|health| health.healthy);
        let code = if answers.iter().all(is_well) {
            exit::DONE
        } else {
            exit::REFUSED
        };
        print(&all, &answers, format)?;
        Ok(code)
    }
}

fn print(all: &[Known], answers: &[Result<ServerHealth>], format: Format) -> Result<()> {
    let mut table = Table::new(["NAME", "ENDPOINT", "HEALTH"]);
    for (known, answer) in all.iter().zip(answers) {
        if format == Format::Json {
            output::json(&about(known.name.as_deref(), &known.endpoint, answer))?;
            continue;
        }
        table.row([
            known.name.as_deref().unwrap_or("-").into(),
            known.endpoint.as_str().into(),
            in_words(answer).into(),
        ]);
    }
    table.print()
}

/// Connects to a server and asks how it is.
pub(super) async fn ask(server: &Server) -> Result<ServerHealth> {
    let asked = async {
        let client = server.connect(Persistence::Brief).await?;
        Ok(client.health_check().await?)
    };
    tokio::time::timeout(TIME_MAX, asked)
        .await
        .unwrap_or_else(|_| {
            let (endpoint, secs) = (&server.endpoint, TIME_MAX.as_secs());
            let problem = format!("no answer from {endpoint} within {secs} s");
            Err(CliError::new(exit::NO_SERVER, problem))
        })
}

/// How a server is, or why nobody knows, for programs.
pub(super) fn about(name: Option<&str>, endpoint: &str, answer: &Result<ServerHealth>) -> Value {
    let health = answer.as_ref().ok();
    let said = |key: &str| health.and_then(|health| health.metadata.get(key));
    let error = answer.as_ref().err();
    json!({
        "name": name,
        "endpoint": endpoint,
        "healthy": health.map(|health| health.healthy),
        "server_id": said("server_id"),
        "server_version": said("server_version"),
        "error": error.map(|error| &error.message),
        "hint": error.and_then(|error| error.hint.as_ref()),
    })
}

/// How a server is, or why nobody knows.
pub(super) fn in_words(answer: &Result<ServerHealth>) -> String {
    match answer {
        Ok(health) if health.healthy => "healthy".to_owned(),
        Ok(_) => "shutting down".to_owned(),
        Err(error) => plain(&error.message),
    }
}

fn is_among(all: &[Known], name: &str) -> bool {
    all.iter().any(|known| known.name.as_deref() == Some(name))
}

/// Asks all of them at once; the answers are in the order of the servers.
async fn ask_all(all: &[Known]) -> Vec<Result<ServerHealth>> {
    let mut asked = JoinSet::new();
    for (index, known) in all.iter().enumerate() {
        let server = match &known.origin {
            Origin::Config { server, .. } => Ok(Server::of(
                known.name.as_deref().unwrap_or_default(),
                server.clone(),
            )),
            Origin::Host(address) => Server::at(address.clone()),
        };
        asked.spawn(async move {
            match server {
                Ok(server) => (index, ask(&server).await),
                Err(error) => (index, Err(error)),
            }
        });
    }
    let mut answers = asked.join_all().await;
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}
