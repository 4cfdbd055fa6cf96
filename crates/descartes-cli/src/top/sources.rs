//! Where what is shown comes from: tasks that ask the server, and tell the screen.

use std::collections::HashMap;
use std::time::Duration;

use descartes_client::protocol::{AgentId, AgentInfo, PauseRequest, Stream};
use descartes_client::{ClientError, ListFilter, ReadFrom, ZmqAgentRunner, ZmqClient};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::log::last_line;
use super::state::{Deed, Row};
use crate::describe::size;
use crate::error::CliError;
use crate::session::feed::Feed;

/// Runtimes, sizes and rates are brought up to date this often.
const REFRESH: Duration = Duration::from_secs(1);

/// The least time between two lists, however much happens.
const LIST_INTERVAL: Duration = Duration::from_millis(250);

/// News that may wait for the screen; then those who have some wait.
const NEWS_MAX: usize = 64;

/// Last lines that are asked for at once.
const LINES_AT_ONCE: usize = 16;

/// Bytes in which a last line is looked for: an event of an agent may be a long one.
const LINE_BYTES: u64 = 32 * 1024;

/// Bytes of each stream that a log begins with.
const LOG_BYTES: u64 = 64 * 1024;

/// What the screen is told.
#[derive(Debug)]
pub(super) enum News {
    Listed(Vec<AgentInfo>),
    /// The last line of an agent as of then; none where it could not be had.
    LastLine(AgentId, Written, Option<String>),
    Done(String),
    Problem(String),
    /// The server does not want this client any more, or something else that waiting does not mend.
    Failed(ClientError),
}

/// How much an agent had written when its last line was looked for.
pub(super) type Written = (u64, u64);

/// As of when a last line is known.
#[derive(Debug, Default)]
struct LineState {
    /// That was asked for last.
    asked: Option<Written>,
    /// That is of the one that is shown.
    shown: Written,
}

/// The tasks, which end with this.
#[derive(Debug)]
pub(super) struct Sources {
    client: ZmqClient,
    news: mpsc::Sender<News>,
    tasks: JoinSet<()>,
    /// The agents whose last line is known or asked for.
    lines: HashMap<AgentId, LineState>,
    /// Those of them whose last line could not be had: it is asked for again after the next list.
    failed_lines: Vec<AgentId>,
    lines_under_way: usize,
}

impl Sources {
    /// Begins to list agents.
    pub(super) fn start(client: &ZmqClient) -> (Self, mpsc::Receiver<News>) {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let mut sources = Self {
            client: client.clone(),
            news: news.clone(),
            tasks: JoinSet::new(),
            lines: HashMap::new(),
            failed_lines: Vec::new(),
            lines_under_way: 0,
        };
        let client = client.clone();
        sources.tasks.spawn(async move {
            let happened = Notify::new();
            let failed = tokio::select! {
                listed = list(&client, &happened, &news) => listed,
                watched = watch(&client, &happened) => watched,
            };
            if let Err(error) = failed {
                let _ = news.send(News::Failed(error)).await;
            }
        });
        (sources, receiver)
    }

    /// Asks for the last lines of those on the screen that have written something since.
    pub(super) fn want_lines<'a>(&mut self, rows: impl Iterator<Item = &'a Row>) {
        // Ended tasks are let go of.
        while self.tasks.try_join_next().is_some() {}
        for row in rows {
            let id = row.info.id;
            let written = (
                size(&row.info, Stream::Stdout),
                size(&row.info, Stream::Stderr),
            );
            if written == (0, 0) || self.lines_under_way == LINES_AT_ONCE {
                continue;
            }
            let line = self.lines.entry(id).or_default();
            if line.asked.replace(written) == Some(written) {
                continue;
            }
            self.lines_under_way += 1;
            let (client, news, stream) = (self.client.clone(), self.news.clone(), row.last_stream);
            let from = size(&row.info, stream).saturating_sub(LINE_BYTES);
            self.tasks.spawn(async move {
                let mut reader = client
                    .output(id, stream, ReadFrom::Offset(from))
                    .at_most(LINE_BYTES);
                let read = reader.next_available().await;
                let line = read
                    .ok()
                    .map(|chunk| chunk.map_or_else(String::new, |chunk| last_line(stream, &chunk)));
                let _ = news.send(News::LastLine(id, written, line)).await;
            });
        }
    }

    /// A last line came, or could not be had. Returns it unless a later one has come already.
    pub(super) fn line_came(
        &mut self,
        id: AgentId,
        written: Written,
        line: Option<String>,
    ) -> Option<String> {
        self.lines_under_way = self.lines_under_way.saturating_sub(1);
        let state = self.lines.get_mut(&id)?;
        if line.is_none() && state.asked == Some(written) {
            self.failed_lines.push(id);
        }
        let is_older = written.0 + written.1 < state.shown.0 + state.shown.1;
        let line = line.filter(|_| !is_older)?;
        state.shown = written;
        Some(line)
    }

    /// Forgets agents that are not listed any more, and lets failed lines be asked for again.
    pub(super) fn listed(&mut self, rows: &[Row]) {
        for id in self.failed_lines.drain(..) {
            if let Some(line) = self.lines.get_mut(&id) {
                line.asked = None;
            }
        }
        if self.lines.len() > rows.len() {
            self.lines
                .retain(|id, _| rows.iter().any(|row| row.info.id == *id));
        }
    }

    /// Does something to an agent, and tells what came of it.
    pub(super) fn act(&mut self, deed: Deed, info: &AgentInfo) {
        let (client, news) = (self.client.clone(), self.news.clone());
        let (id, name) = (info.id, info.name.clone());
        self.tasks.spawn(async move {
            let done = match deed {
                Deed::Pause => client.pause(id, PauseRequest::Auto).await.map(|_| "paused"),
                Deed::Resume => client.resume(id).await.map(|()| "resumed"),
                Deed::Stop => client.stop(id, None).await.map(|_| "stopped"),
                Deed::Kill => client.kill(id).await.map(|_| "killed"),
            };
            let told = match done {
                Ok(done) => News::Done(format!("{name} {done}")),
                Err(error) => {
                    let error = CliError::from(error);
                    News::Problem(format!("{name}: {}", error.message))
                }
            };
            let _ = news.send(told).await;
        });
    }

    /// The end of an agent's output and what follows it.
    pub(super) fn log(&self, info: &AgentInfo) -> Feed {
        let reader = |stream| {
            let from = size(info, stream).saturating_sub(LOG_BYTES);
            let from = ReadFrom::Offset(from);
            (stream, self.client.output(info.id, stream, from))
        };
        Feed::start(vec![reader(Stream::Stdout), reader(Stream::Stderr)])
    }
}

/// Lists agents whenever something happens to one, and every now and then.
async fn list(
    client: &ZmqClient,
    happened: &Notify,
    news: &mpsc::Sender<News>,
) -> Result<(), ClientError> {
    loop {
        let listed_at = Instant::now();
        let agents = client.list(&ListFilter::default()).await?;
        if news.send(News::Listed(agents)).await.is_err() {
            return Ok(());
        }
        if timeout(REFRESH, happened.notified()).await.is_ok() {
            // Whatever else happens meanwhile is in the next list.
            sleep_until(listed_at + LIST_INTERVAL).await;
        }
    }
}

/// Notes that something has happened to an agent.
async fn watch(client: &ZmqClient, happened: &Notify) -> Result<(), ClientError> {
    let mut updates = client.subscribe_status_updates(None).await?;
    loop {
        updates.next().await?;
        happened.notify_one();
    }
}
