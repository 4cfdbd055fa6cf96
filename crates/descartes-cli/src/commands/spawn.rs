//! `descartes spawn`.

mod config;

use std::io::{self, IsTerminal};

use clap::Args;
use descartes_client::ZmqClient;
use descartes_client::protocol::AgentInfo;

use crate::cli::Context;
use crate::commands::send::send_input;
use crate::error::Result;
use crate::exit;
use crate::json;
use crate::output::{self, Format};
use crate::progress;
use crate::session::printer::{Errors, Layout, Printer, Render};
use crate::session::{Session, Stdin, both_streams, code_of};
use config::AgentOptions;

/// Start an agent
///
/// Prints the agent's id, and leaves it to itself. With --wait or --follow the command ends with the agent, with
/// its exit code. With --follow, Ctrl-C asks whether to stop the agent or to leave it running; with --wait it
/// leaves it running.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  descartes spawn claude \"fix the failing test\" --cwd /src/app --follow
  descartes spawn codex --name tidy --label team=web \"tidy up\" --max-runtime 30m
  git diff | descartes spawn claude - --wait")]
pub(crate) struct Spawn {
    #[command(flatten)]
    agent: AgentOptions,

    /// Wait for the agent's end
    #[arg(short, long, overrides_with_all = ["follow", "detach"])]
    wait: bool,

    /// Print the agent's output as it comes, until its end
    #[arg(short, long, overrides_with_all = ["wait", "detach"])]
    follow: bool,

    /// Do neither, which is the default; undoes an earlier --wait or --follow
    #[arg(short, long, overrides_with_all = ["wait", "follow"])]
    detach: bool,

    /// Turn the events of known agents into text
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Render::Auto)]
    render: Render,
}

impl Spawn {
    pub(crate) fn ends_with_agent(&self) -> bool {
        self.wait || self.follow
    }

    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let request = self.agent.request()?;
        let client = if self.ends_with_agent() {
            context.connect_to_follow().await?
        } else {
            context.connect().await?
        };
        let agent = progress::during("starting the agent", client.spawn(request)).await?;
        if self.follow {
            return self.follow(context, &client, agent).await;
        }
        // First of all: whatever goes wrong from here on, there is an agent.
        match context.format {
            Format::Text => output::line(agent.id)?,
            Format::Json if !self.wait => output::json(&json::agent(&agent))?,
            Format::Json => {}
        }
        let fed = self.feed(&client, &agent).await;
        if !self.wait {
            return fed.map(|()| exit::DONE);
        }
        if let Err(error) = fed {
            let problem = &error.message;
            output::note(format_args!("not all input reached the agent: {problem}"));
        }
        let info = progress::during("waiting for the agent's end", client.wait(agent.id)).await?;
        if context.format == Format::Json {
            output::json(&json::agent(&info))?;
        }
        Ok(code_of(&info))
    }

    async fn follow(self, context: &Context, client: &ZmqClient, agent: AgentInfo) -> Result<u8> {
        let layout = match context.format {
            Format::Text => self.render.layout(),
            Format::Json => Layout::Json,
        };
        let printer = Printer::new(agent.id, layout, Errors::Apart);
        let stdin = if self.agent.has_stdin() {
            Stdin::Forwarded
        } else {
            Stdin::Unused
        };
        let readers = both_streams(client, &agent);
        let session = Session::begin(client, agent.clone(), readers, printer, stdin)?;
        if output::stderr_is_terminal() {
            output::note(format_args!("agent {} is {}", agent.name, agent.id));
        }
        let end = session.run().await?;
        if let (crate::session::End::Ended(info), Format::Json) = (&end, context.format) {
            output::json(&json::agent(info))?;
        }
        Ok(end.exit_code(&agent))
    }

    /// Gives the agent all of this side's standard input, where that was asked for and is not typed by somebody.
    async fn feed(&self, client: &ZmqClient, agent: &AgentInfo) -> Result<()> {
        if !self.agent.has_stdin() || io::stdin().is_terminal() {
            return Ok(());
        }
        let mut stdin = client.stdin(agent.id);
        send_input(&mut stdin).await?;
        Ok(stdin.close().await?)
    }
}
