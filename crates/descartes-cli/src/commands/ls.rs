//! `descartes ls`.

use std::time::Duration;

use clap::Args;
use descartes_client::protocol::{AgentInfo, AgentStatus, Timestamp};
use descartes_client::{ListFilter, ZmqAgentRunner, ZmqClient};

use crate::cli::{Context, one_of};
use crate::describe::{status_style, status_words};
use crate::error::{CliError, Result};
use crate::exit;
use crate::ids;
use crate::json;
use crate::output::{self, Format};
use crate::select::{Label, count};
use crate::sort::Sort;
use crate::table::{Cell, Table, cut};
use crate::time;

/// While nothing happens, runtimes are brought up to date this often.
const REFRESH: Duration = Duration::from_secs(1);

/// Columns of the terminal that a name gets.
const NAME_WIDTH: usize = 32;

/// To the upper left, and clear from there.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// List agents
///
/// Those that run; with --all or --status also those that have ended.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Ls {
    /// Also list agents that have ended
    #[arg(short, long)]
    all: bool,

    /// Only agents with one of these statuses
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    #[arg(value_parser = one_of(AgentStatus::ALL, AgentStatus::as_str))]
    status: Vec<AgentStatus>,

    /// Only agents of this backend
    #[arg(short, long, value_name = "BACKEND")]
    backend: Option<String>,

    /// Only agents with this label; repeatable, all must match
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    labels: Vec<Label>,

    /// Only agents whose name contains this
    #[arg(short, long, value_name = "TEXT")]
    name: Option<String>,

    /// What to sort by
    #[arg(long, value_enum, default_value_t = Sort::Started)]
    sort: Sort,

    /// Sort the other way round
    #[arg(short, long)]
    reverse: bool,

    /// List at most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,

    /// Print ids alone, whole
    #[arg(short, long, conflicts_with_all = ["watch", "json"])]
    quiet: bool,

    /// Show the list anew whenever something changes
    #[arg(short, long)]
    watch: bool,
}

impl Ls {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        if self.watch {
            return self.watch(context).await;
        }
        let client = context.connect().await?;
        let mut agents = client.list(&self.filter()).await?;
        self.arrange(&mut agents);
        if agents.is_empty() && context.format == Format::Text && !self.quiet {
            output::note(self.nothing(&client).await?);
        }
        self.print(&agents, context.format)?;
        Ok(exit::DONE)
    }

    fn filter(&self) -> ListFilter {
        ListFilter {
            status: match self.status.as_slice() {
                [one] => Some(*one),
                _ => None,
            },
            include_finished: self.with_finished(),
            limit: None,
        }
    }

    fn with_finished(&self) -> bool {
        self.all || self.status.iter().any(|status| status.is_final())
    }

    fn arrange(&self, agents: &mut Vec<AgentInfo>) {
        agents.retain(|info| self.wants(info));
        let now = Timestamp::now();
        agents.sort_by(|one, other| self.sort.compare(one, other, now));
        if self.reverse {
            agents.reverse();
        }
        agents.truncate(self.limit.unwrap_or(usize::MAX));
    }

    fn wants(&self, info: &AgentInfo) -> bool {
        (self.with_finished() || !info.status.is_final())
            && (self.status.is_empty() || self.status.contains(&info.status))
            && self
                .backend
                .as_ref()
                .is_none_or(|backend| *backend == info.model_backend)
            && self
                .name
                .as_ref()
                .is_none_or(|name| info.name.contains(name.as_str()))
            && self.labels.iter().all(|label| label.matches(info))
    }

    /// What to say instead of an empty table.
    async fn nothing(&self, client: &ZmqClient) -> Result<String> {
        let all = client.list(&ListFilter::default()).await?;
        Ok(match all.len() {
            0 => "there are no agents; `descartes spawn` starts one".to_owned(),
            ended if !self.with_finished() && all.iter().all(|info| info.status.is_final()) => {
                format!(
                    "no agent runs; `descartes ls --all` lists {} that ended",
                    count(ended)
                )
            }
            _ => "no agent is like that".to_owned(),
        })
    }

    fn print(&self, agents: &[AgentInfo], format: Format) -> Result<()> {
        if self.quiet {
            return agents.iter().try_for_each(|info| output::line(info.id));
        }
        match format {
            Format::Json => agents
                .iter()
                .try_for_each(|info| output::json(&json::agent(info))),
            Format::Text => table(agents).print(),
        }
    }

    async fn watch(self, context: &Context) -> Result<u8> {
        if !output::stdout_is_terminal() || context.format == Format::Json {
            return Err(CliError::usage("--watch needs a terminal")
                .hint("`descartes events --follow --json` tells programs what changes"));
        }
        let client = context.connect_to_follow().await?;
        let mut updates = client.subscribe_status_updates(None).await?;
        loop {
            let mut agents = client.list(&self.filter()).await?;
            self.arrange(&mut agents);
            let height = output::height().unwrap_or(usize::MAX);
            output::bytes(CLEAR.as_bytes())?;
            for line in table(&agents)
                .lines(output::width())
                .iter()
                .take(height.saturating_sub(2))
            {
                output::line(line)?;
            }
            output::line(format_args!("{}; Ctrl-C ends this", count(agents.len())))?;
            let change = tokio::time::timeout(REFRESH, updates.next());
            if let Ok(Err(error)) = change.await {
                return Err(error.into());
            }
        }
    }
}

/// A table of agents.
fn table(agents: &[AgentInfo]) -> Table {
    let length = ids::length(agents.iter().map(|info| info.id));
    let mut table = Table::new([
        "ID", "NAME", "STATUS", "BACKEND", "STARTED", "RUNTIME", "TASK",
    ]);
    for info in agents {
        let ago = time::short(time::between(info.started_at, None));
        table.row([
            ids::cut(info.id, length).into(),
            cut(&info.name, NAME_WIDTH).into(),
            Cell::styled(status_words(info), status_style(info.status)),
            info.model_backend.as_str().into(),
            format!("{ago} ago").into(),
            time::short(runtime(info)).into(),
            info.task.as_str().into(),
        ]);
    }
    table
}

fn runtime(info: &AgentInfo) -> Duration {
    time::between(info.started_at, info.finished_at)
}
