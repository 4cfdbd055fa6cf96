//! `descartes wait`.

use std::time::Duration;

use clap::Args;
use descartes_client::ZmqClient;
use descartes_client::protocol::{AgentId, AgentInfo};

use crate::cli::Context;
use crate::describe::how_it_ended;
use crate::error::{CliError, Result};
use crate::exit;
use crate::json;
use crate::output::{self, Format};
use crate::progress;
use crate::select::{Doing, Targets, count};
use crate::session::code_of;
use crate::table::plain;
use crate::time;

/// Wait until agents have ended
///
/// Prints each as it ends. The exit code is that of the agent; of several, the first that is not 0, in the order
/// in which they end. --all and --label mean the agents that run.
#[derive(Debug, Args)]
#[command(mut_arg("yes", |yes| yes.hide(true)))]
pub(crate) struct Wait {
    #[command(flatten)]
    targets: Targets,

    /// Wait only until the first of them has ended
    #[arg(long)]
    any: bool,

    /// Give up after this time; the exit code is 124 then
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration)]
    timeout: Option<Duration>,
}

impl Wait {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = context.connect_to_follow().await?;
        let agents = self.targets.find(&client, Doing::Watching).await?;
        let ids: Vec<AgentId> = agents.iter().map(|info| info.id).collect();
        let have_ended = agents.iter().filter(|info| info.status.is_final()).count();
        let is_over = have_ended == agents.len() || (self.any && have_ended > 0);
        let waiting = self.wait(&client, &ids, context.format);
        match self.timeout {
            Some(limit) if !is_over => {
                tokio::time::timeout(limit, waiting)
                    .await
                    .unwrap_or_else(|_| {
                        let error = CliError::new(exit::TIMED_OUT, "not all agents ended in time");
                        Err(error.hint("they run on: `descartes ls` lists them"))
                    })
            }
            _ => waiting.await,
        }
    }

    async fn wait(&self, client: &ZmqClient, ids: &[AgentId], format: Format) -> Result<u8> {
        let mut ends = client.ends(ids).await?;
        let mut code = exit::DONE;
        let what = format!("waiting for {}", count(ids.len()));
        while let Some(info) = progress::during(&what, ends.next()).await? {
            print(&info, format)?;
            if code == exit::DONE {
                code = code_of(&info);
            }
            if self.any {
                break;
            }
        }
        Ok(code)
    }
}

fn print(info: &AgentInfo, format: Format) -> Result<()> {
    match format {
        Format::Json => output::json(&json::agent(info)),
        Format::Text => {
            let how = how_it_ended(info).map_or_else(String::new, |how| format!(" ({how})"));
            output::line(format_args!("{} {}{how}", plain(&info.name), info.status))
        }
    }
}
