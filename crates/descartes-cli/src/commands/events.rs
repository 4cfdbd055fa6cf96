//! `descartes events`.

use std::collections::{HashMap, HashSet};

use clap::Args;
use descartes_client::protocol::{AgentId, StatusUpdate};
use descartes_client::{ListFilter, StatusItem, StatusUpdates, ZmqAgentRunner, ZmqClient};
use serde_json::json;

use crate::cli::Context;
use crate::error::Result;
use crate::exit;
use crate::ids;
use crate::json;
use crate::output::{self, Format};
use crate::select;
use crate::table::plain;
use crate::time;

/// Characters of an id beside a name.
const ID_LENGTH: usize = 13;

/// Show what happened to agents
///
/// The server keeps the last 65,536 events of its present run. With --follow those that come are printed, each
/// once, also across broken connections; where events are gone for good, that is said.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Only these agents: an id, the beginning of one, or a name
    #[arg(value_name = "AGENT")]
    agents: Vec<String>,

    /// Print events as they come; of those before only what --tail says
    #[arg(short, long)]
    follow: bool,

    /// Only the last so many; default: all, with --follow none
    #[arg(short = 'n', long, value_name = "N")]
    tail: Option<usize>,
}

/// Prints events with the names of their agents.
struct Names {
    client: ZmqClient,
    known: HashMap<AgentId, String>,
    format: Format,
}

impl Events {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = if self.follow {
            context.connect_to_follow().await?
        } else {
            context.connect().await?
        };
        let mut wanted = HashSet::new();
        for agent in &self.agents {
            wanted.insert(select::one(&client, agent).await?.id);
        }
        let is_wanted =
            |update: &StatusUpdate| wanted.is_empty() || wanted.contains(&update.agent_id);
        let one = (wanted.len() == 1)
            .then(|| wanted.iter().next().copied())
            .flatten();
        let mut names = Names::of(&client, context.format).await?;
        // Subscribed first, so that no event falls between the recent ones and those that follow.
        let updates = if self.follow {
            Some(client.subscribe_status_updates(one).await?)
        } else {
            None
        };
        let mut events = self.recent(&client, one).await?;
        events.retain(is_wanted);
        let passed_over = events.len().saturating_sub(self.tail.unwrap_or(usize::MAX));
        for event in events.iter().skip(passed_over) {
            names.print(event).await?;
        }
        match updates {
            Some(updates) => follow(updates, events.pop(), one, is_wanted, names).await,
            None => Ok(exit::DONE),
        }
    }

    /// The events that were, where any of them are to be shown.
    async fn recent(&self, client: &ZmqClient, one: Option<AgentId>) -> Result<Vec<StatusUpdate>> {
        match (self.tail, self.follow) {
            (Some(0), _) | (None, true) => Ok(Vec::new()),
            _ => Ok(client.recent_events(one).await?),
        }
    }
}

/// Prints what comes, except for what was up to the `last` event.
async fn follow(
    mut updates: StatusUpdates,
    mut last: Option<StatusUpdate>,
    one: Option<AgentId>,
    is_wanted: impl Fn(&StatusUpdate) -> bool,
    mut names: Names,
) -> Result<u8> {
    loop {
        let events = match updates.next().await? {
            StatusItem::Update(update) => vec![update],
            StatusItem::Agents { gap: true, .. } => {
                names.print_gap()?;
                // The list goes on at the end of the server's events. Those before it are no less wanted.
                names.client.recent_events(one).await?
            }
            StatusItem::Agents { gap: false, .. } => Vec::new(),
        };
        for event in events {
            if is_after(&event, last.as_ref()) {
                if is_wanted(&event) {
                    names.print(&event).await?;
                }
                last = Some(event);
            }
        }
    }
}

/// Whether an event is not among those up to the `last` one.
fn is_after(event: &StatusUpdate, last: Option<&StatusUpdate>) -> bool {
    last.is_none_or(|last| event.epoch != last.epoch || event.sequence > last.sequence)
}

impl Names {
    async fn of(client: &ZmqClient, format: Format) -> Result<Self> {
        let mut names = Self {
            client: client.clone(),
            known: HashMap::new(),
            format,
        };
        if format == Format::Text {
            names.look_up().await?;
        }
        Ok(names)
    }

    async fn look_up(&mut self) -> Result<()> {
        let agents = self.client.list(&ListFilter::default()).await?;
        self.known
            .extend(agents.into_iter().map(|info| (info.id, info.name)));
        Ok(())
    }

    async fn print(&mut self, update: &StatusUpdate) -> Result<()> {
        if self.format == Format::Json {
            return output::json(&json::event(update));
        }
        if !self.known.contains_key(&update.agent_id) {
            self.look_up().await?;
            // One that is not listed any more has no name from now on either.
            self.known
                .entry(update.agent_id)
                .or_insert_with(|| "?".to_owned());
        }
        let name = &self.known[&update.agent_id];
        let status = update.status.map_or("", |status| status.as_str());
        let message = update.message.as_deref().map(plain).unwrap_or_default();
        output::line(
            format!(
                "{}  {}  {}  {}  {status}  {message}",
                time::local(update.timestamp),
                ids::cut(update.agent_id, ID_LENGTH),
                plain(name),
                update.update_type,
            )
            .trim_end(),
        )
    }

    fn print_gap(&self) -> Result<()> {
        match self.format {
            Format::Json => output::json(&json!({"gap": true})),
            Format::Text => {
                output::note(
                    "events may be missing here: the server was started anew, or this fell behind",
                );
                Ok(())
            }
        }
    }
}
