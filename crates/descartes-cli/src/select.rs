//! Which agents are meant: by id, by the beginning of one, by name, by label, or all.

use std::collections::BTreeSet;

use clap::Args;
use descartes_client::protocol::{AgentId, AgentInfo};
use descartes_client::{ListFilter, ZmqClient};

use crate::ask;
use crate::error::{CliError, Result};
use crate::exit;
use crate::ids;
use crate::output;

/// How many candidates an error names.
const NAMED_MAX: usize = 5;

/// The agents of a command that takes several.
#[derive(Debug, Args)]
pub(crate) struct Targets {
    /// Agents: an id, the beginning of one, or a name
    #[arg(value_name = "AGENT", required_unless_present_any = ["labels", "all"])]
    agents: Vec<String>,

    /// Agents with this label; repeatable, all must match
    #[arg(short, long = "label", value_name = "KEY[=VALUE]", conflicts_with_all = ["agents", "all"])]
    labels: Vec<Label>,

    /// All agents that run
    #[arg(short, long, conflicts_with = "agents")]
    all: bool,

    /// Do not ask before something is done to all agents, or to several with a label
    #[arg(short, long)]
    yes: bool,
}

/// A label that an agent must have, with this value or with any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    key: String,
    value: Option<String>,
}

/// What a command does with agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Nothing that they notice.
    Watching,
    /// What this verb says. With several that were not named one by one it is asked first.
    Acting(&'static str),
}

impl std::str::FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned())),
            None => (text, None),
        };
        if key.is_empty() {
            return Err("a label needs a key: write KEY=VALUE or KEY".to_owned());
        }
        let key = key.to_owned();
        Ok(Self { key, value })
    }
}

impl Label {
    pub(crate) fn matches(&self, info: &AgentInfo) -> bool {
        let labels = info.labels.as_ref();
        let found = labels.and_then(|labels| labels.get(&self.key));
        match (&self.value, found) {
            (Some(wanted), Some(found)) => wanted == found,
            (None, Some(_)) => true,
            (_, None) => false,
        }
    }
}

impl Targets {
    /// The agents that are meant: those that were named, or of those that run the ones that are like that.
    pub(crate) async fn find(&self, client: &ZmqClient, doing: Doing) -> Result<Vec<AgentInfo>> {
        let listed = list(client, self.agents.is_empty()).await?;
        if !self.agents.is_empty() {
            let mut seen = BTreeSet::new();
            let found = self.agents.iter().map(|text| pick(&listed, text));
            let found: Result<Vec<AgentInfo>> = found.collect();
            return Ok(found?
                .into_iter()
                .filter(|info| seen.insert(info.id))
                .collect());
        }
        let is_meant = |info: &AgentInfo| self.labels.iter().all(|label| label.matches(info));
        let found: Vec<AgentInfo> = listed.into_iter().filter(is_meant).collect();
        if found.is_empty() {
            let what = if self.all {
                "no agent runs"
            } else {
                "no agent with these labels runs"
            };
            return Err(CliError::new(exit::NO_AGENT, what));
        }
        if let Doing::Acting(verb) = doing {
            self.confirm(&found, verb)?;
        }
        Ok(found)
    }

    fn confirm(&self, found: &[AgentInfo], verb: &str) -> Result<()> {
        if self.yes || (!self.all && found.len() == 1) {
            return Ok(());
        }
        let question = format!("{verb} {}?", count(found.len()));
        if !output::is_interactive() {
            let what = format!("{verb} {}: that has to be confirmed", count(found.len()));
            return Err(CliError::usage(what).hint("there is no terminal to ask on: add --yes"));
        }
        for info in found.iter().take(NAMED_MAX) {
            output::note(format_args!("  {}  {}", info.id, info.name));
        }
        if found.len() > NAMED_MAX {
            output::note(format_args!("  and {} more", found.len() - NAMED_MAX));
        }
        match ask::choice(&format!("{question} [y/n]"), &["yes", "no"]) {
            Some("yes") => Ok(()),
            _ => Err(CliError::new(exit::REFUSED, "nothing was done")),
        }
    }
}

/// The one agent that a text means.
pub(crate) async fn one(client: &ZmqClient, text: &str) -> Result<AgentInfo> {
    // A whole id needs no list.
    match text.parse::<AgentId>() {
        Ok(id) => Ok(client.agent(id).await?),
        Err(_) => pick(&list(client, false).await?, text),
    }
}

async fn list(client: &ZmqClient, only_running: bool) -> Result<Vec<AgentInfo>> {
    let filter = ListFilter {
        include_finished: !only_running,
        ..ListFilter::default()
    };
    Ok(client.list(&filter).await?)
}

/// A whole id counts first: whoever can name agents could take it for a name. Then a name, and where it is taken by
/// several, the one that runs; then the beginning of an id.
fn pick(listed: &[AgentInfo], text: &str) -> Result<AgentInfo> {
    if let Ok(id) = text.parse::<AgentId>() {
        let found = listed.iter().find(|info| info.id == id);
        return found.cloned().ok_or_else(|| no_such(listed, text));
    }
    let named: Vec<&AgentInfo> = listed.iter().filter(|info| info.name == text).collect();
    let running: Vec<&AgentInfo> = named
        .iter()
        .copied()
        .filter(|info| !info.status.is_final())
        .collect();
    let digits = text.replace('-', "").to_lowercase();
    let begins = |info: &&AgentInfo| {
        !digits.is_empty() && info.id.to_string().replace('-', "").starts_with(&digits)
    };
    let by_id: Vec<&AgentInfo> = listed.iter().filter(begins).collect();
    let candidates = if running.len() == 1 {
        running
    } else if named.is_empty() {
        by_id
    } else {
        named
    };
    match candidates.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(no_such(listed, text)),
        several => Err(ambiguous(listed, several, text)),
    }
}

fn no_such(listed: &[AgentInfo], text: &str) -> CliError {
    let near = listed
        .iter()
        .map(|info| (strsim::damerau_levenshtein(text, &info.name), &info.name))
        .min()
        .filter(|(distance, _)| *distance <= 2);
    let error = CliError::new(exit::NO_AGENT, format!("there is no agent {text:?}"));
    match near {
        Some((_, name)) => error.hint(format!("did you mean {name:?}?")),
        None => error.hint("`descartes ls --all` lists all agents"),
    }
}

fn ambiguous(listed: &[AgentInfo], several: &[&AgentInfo], text: &str) -> CliError {
    let shown = several.iter().rev().take(NAMED_MAX);
    let short = ids::length(listed.iter().map(|info| info.id));
    let names: Vec<String> = shown
        .map(|info| {
            format!(
                "{} ({}, {})",
                ids::cut(info.id, short),
                info.name,
                info.status
            )
        })
        .collect();
    let more = several.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    CliError::new(
        exit::NO_AGENT,
        format!(
            "{text:?} means {} agents: {}{rest}",
            several.len(),
            names.join(", ")
        ),
    )
    .hint("write more of the id of the one that you mean")
}

/// `1 agent`, `3 agents`.
pub(crate) fn count(agents: usize) -> String {
    match agents {
        1 => "1 agent".to_owned(),
        more => format!("{more} agents"),
    }
}
