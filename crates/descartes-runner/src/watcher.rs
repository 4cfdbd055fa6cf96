//! Reads along what an agent of a known kind says of itself on stdout.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::Stream;
use descartes_shim::segments;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::agent::{Agent, AgentHandle, Progress};
use crate::observer::Observer;
use crate::output::{self, Length, OutputChunk};
use crate::parser::{Observation, Parser, ParserKind};

/// Bytes read and parsed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// How long what cannot be read is tried again once the agent has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pause between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// What an agent's kind says last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastWord {
    /// It said it, or is of a kind that says nothing last.
    Said,
    /// It did not come to say it.
    Missing,
    /// Its output could not be read to the end.
    Unreadable,
}

impl LastWord {
    /// By all that an agent of this kind has said.
    pub(crate) fn of(parser: &Parser, kind: ParserKind) -> Self {
        if parser.saw_result() || !kind.expects_result() {
            Self::Said
        } else {
            Self::Missing
        }
    }
}

/// Since when an agent is this server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Since {
    /// Since it was started.
    Start,
    /// Since it was found. What it said before is no news, apart from what came of it.
    Adoption,
}

/// The task that reads one agent's stdout.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Length of stdout, once it has ended.
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<LastWord>,
}

impl Watcher {
    /// Starts reading from the beginning; `None` for a kind that says nothing of itself.
    pub(crate) fn start(
        agent: &Arc<Agent>,
        observer: &Arc<dyn Observer>,
        since: Since,
    ) -> Option<Self> {
        let kind = agent.notes.parser;
        if kind == ParserKind::Text {
            return None;
        }
        let end = watch::Sender::new(None);
        let reading = follow(
            Arc::clone(agent),
            Arc::clone(observer),
            (kind, since),
            end.subscribe(),
        );
        Some(Self {
            end,
            task: tokio::spawn(reading),
        })
    }

    /// Reads the rest, up to `end`.
    pub(crate) async fn finish(self, end: u64) -> LastWord {
        self.end.send_replace(Some(end));
        self.task.await.unwrap_or(LastWord::Unreadable)
    }
}

async fn follow(
    agent: Arc<Agent>,
    observer: Arc<dyn Observer>,
    (kind, since): (ParserKind, Since),
    mut end: watch::Receiver<Option<u64>>,
) -> LastWord {
    let handle = AgentHandle { agent };
    let _attention = handle.attend();
    let mut progress = handle.progress();
    let caught_up_at = match since {
        Since::Start => 0,
        Since::Adoption => {
            let agent = Arc::clone(&handle.agent);
            let looking = tokio::task::spawn_blocking(move || said_so_far(&agent));
            looking.await.unwrap_or_default()
        }
    };
    let mut parser = Parser::new(kind);
    let mut offset = 0;
    let mut given_up_at = None;
    loop {
        let ends_at = *end.borrow_and_update();
        let known: Progress = *progress.borrow_and_update();
        if ends_at.unwrap_or(known.stdout_bytes) > offset {
            match read(&handle.agent, offset).await {
                Ok(chunk) if chunk.next_offset > offset => {
                    let news = if offset < caught_up_at {
                        News::Outcome
                    } else {
                        News::All
                    };
                    let mut said = Vec::new();
                    if chunk.offset > offset {
                        said.extend(parser.gap());
                    }
                    offset = chunk.next_offset;
                    said.extend(parser.feed(&chunk.data));
                    apply(&handle.agent, &*observer, said, news);
                    continue;
                }
                Err(error) if ends_at.is_some() => {
                    let until = *given_up_at.get_or_insert_with(|| Instant::now() + PATIENCE);
                    if Instant::now() < until {
                        tokio::time::sleep(RETRY_INTERVAL).await;
                        continue;
                    }
                    tracing::warn!(agent = %handle.agent.id, %error, "failed to read what an agent said last");
                    return LastWord::Unreadable;
                }
                // Nothing there yet, or nothing that can be read.
                Ok(_) | Err(_) => {}
            }
        }
        if ends_at.is_some() {
            apply(&handle.agent, &*observer, parser.finish(), News::All);
            return LastWord::of(&parser, kind);
        }
        tokio::select! {
            Ok(()) = progress.changed() => {}
            ended = end.changed() => if ended.is_err() {
                // The owner has gone and left the agent to itself.
                return LastWord::Unreadable;
            },
        }
    }
}

/// Where an agent's stdout ends by now. Blocks.
fn said_so_far(agent: &Agent) -> u64 {
    let dir = output::stream_dir(&agent.dir, Stream::Stdout);
    segments::extent(&dir).unwrap_or_default().end
}

async fn read(agent: &Agent, offset: u64) -> io::Result<OutputChunk> {
    let dir = output::stream_dir(&agent.dir, Stream::Stdout);
    let chunk = tokio::task::spawn_blocking(move || {
        output::read(&dir, offset, CHUNK_BYTES, Length::SoFar(0))
    });
    chunk.await.map_err(io::Error::other)?
}

/// Which changes of its status an agent's words are told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Each.
    All,
    /// The last one.
    Outcome,
}

fn apply(agent: &Agent, observer: &dyn Observer, said: Vec<Observation>, news: News) {
    let mut state = agent.state();
    let before = state.status();
    for observation in said {
        if state.observe(observation) && news == News::All {
            observer.update(state.change(agent.id, None));
        }
    }
    if news == News::Outcome && state.status() != before {
        observer.update(state.change(agent.id, None));
    }
}

/// Everything that a finished agent said of itself, as far as it can be read. Blocks.
pub(crate) fn read_all(dir: &Path, kind: ParserKind, end: u64) -> (Vec<Observation>, LastWord) {
    let stdout = output::stream_dir(dir, Stream::Stdout);
    let mut parser = Parser::new(kind);
    let mut said = Vec::new();
    let mut offset = 0;
    while offset < end {
        let Ok(chunk) = segments::read(&stdout, offset, CHUNK_BYTES) else {
            return (said, LastWord::Unreadable);
        };
        if chunk.data.is_empty() {
            break;
        }
        if chunk.offset > offset {
            said.extend(parser.gap());
        }
        offset = chunk.offset + chunk.data.len() as u64;
        said.extend(parser.feed(&chunk.data));
    }
    said.extend(parser.finish());
    (said, LastWord::of(&parser, kind))
}
