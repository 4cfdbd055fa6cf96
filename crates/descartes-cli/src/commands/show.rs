//! `descartes show`.

use clap::Args;
use descartes_client::protocol::{AgentInfo, OutputSizes};

use crate::cli::Context;
use crate::describe::{how_it_ended, status_style};
use crate::error::Result;
use crate::exit;
use crate::json;
use crate::output::{self, Format};
use crate::select;
use crate::table::plain;
use crate::time;

/// Show all that is known of an agent
#[derive(Debug, Args)]
pub(crate) struct Show {
    /// Agents: an id, the beginning of one, or a name
    #[arg(value_name = "AGENT", required = true)]
    agents: Vec<String>,
}

impl Show {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = context.connect().await?;
        for (index, agent) in self.agents.iter().enumerate() {
            let info = select::one(&client, agent).await?;
            match context.format {
                Format::Json => output::json(&json::agent(&info))?,
                Format::Text => {
                    if index > 0 {
                        output::line("")?;
                    }
                    print(&info)?;
                }
            }
        }
        Ok(exit::DONE)
    }
}

fn print(info: &AgentInfo) -> Result<()> {
    let style = status_style(info.status);
    field("id", info.id)?;
    field("name", plain(&info.name))?;
    field("status", format_args!("{style}{}{style:#}", info.status))?;
    if let Some(end) = how_it_ended(info) {
        field("end", end)?;
    }
    field("backend", &info.model_backend)?;
    field("server", &info.server_id)?;
    field("started", time::local(info.started_at))?;
    if let Some(finished) = info.finished_at {
        field("finished", time::local(finished))?;
    }
    let runtime = time::between(info.started_at, info.finished_at);
    field("runtime", time::short(runtime))?;
    if let Some(since) = info.paused_at {
        let mode = info.pause_mode.map_or("", |mode| mode.as_str());
        field("paused", format_args!("{} ({mode})", time::local(since)))?;
    }
    optional("pid", info.pid)?;
    print_own_words(info)?;
    for (title, map) in [("label", &info.labels), ("metadata", &info.metadata)] {
        for (key, value) in map.iter().flatten() {
            field(title, format_args!("{}={}", plain(key), plain(value)))?;
        }
    }
    print_output(info.output)?;
    text("task", &info.task)
}

fn print_output(sizes: OutputSizes) -> Result<()> {
    let (stdout, stderr) = (sizes.stdout_bytes, sizes.stderr_bytes);
    field("output", format_args!("{stdout} bytes, {stderr} on stderr"))?;
    match (sizes.stdout_lost_bytes, sizes.stderr_lost_bytes) {
        (None, None) => Ok(()),
        (stdout, stderr) => {
            let (stdout, stderr) = (stdout.unwrap_or(0), stderr.unwrap_or(0));
            field("lost", format_args!("{stdout} bytes, {stderr} on stderr"))
        }
    }
}

/// What the agent says of itself.
fn print_own_words(info: &AgentInfo) -> Result<()> {
    optional("model", info.model.as_deref().map(plain))?;
    optional("session", info.session_id.as_deref().map(plain))?;
    if let Some(usage) = info.usage {
        field(
            "usage",
            format_args!(
                "{} tokens in, {} out, {} from cache, {:.4} USD",
                usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cost_usd
            ),
        )?;
    }
    match &info.result {
        Some(result) => text(
            if result.is_error { "error" } else { "result" },
            &result.text,
        ),
        None => Ok(()),
    }
}

fn field(title: &str, value: impl std::fmt::Display) -> Result<()> {
    output::line(format_args!("{title:<9} {value}"))
}

fn optional(title: &str, value: Option<impl std::fmt::Display>) -> Result<()> {
    value.map_or(Ok(()), |value| field(title, value))
}

/// A text of any number of lines, each below the first.
fn text(title: &str, text: &str) -> Result<()> {
    let mut lines = text.lines();
    field(title, plain(lines.next().unwrap_or_default()))?;
    for line in lines {
        field("", plain(line))?;
    }
    Ok(())
}
