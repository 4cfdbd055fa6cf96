//! Reads along what an agent of a known kind says of itself on stdout.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::{AgentStatus, Stream};
use descartes_shim::segments;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::agent::{Agent, AgentHandle, Progress, Since};
use crate::observer::Observer;
use crate::output::{self, Length, OutputChunk};
use crate::parser::{Observation, Parser, ParserKind};

/// Bytes read and parsed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Bytes parsed and told of at a time.
const PIECE_BYTES: usize = 4096;

/// Of what an agent that has ended was not listened to for yet, so many last bytes are news. That it has ended must not
/// wait until all was told that it ever did.
const LAST_BYTES: u64 = 256 * 1024;

/// How long after its end at most there is waited for room to tell what an agent said. The rest is no news then.
const TELLING_MAX: Duration = Duration::from_secs(5);

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

/// The end of an agent's stdout.
#[derive(Debug, Clone, Copy)]
struct End {
    /// So many bytes it has written.
    bytes: u64,
    /// Until then there is waited for room to tell what they say.
    tell_until: Instant,
}

/// The task that reads one agent's stdout.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Known once the agent has ended.
    end: watch::Sender<Option<End>>,
    task: JoinHandle<LastWord>,
}

impl Watcher {
    /// Starts reading from the beginning; `None` for a kind that says nothing of itself.
    pub(crate) fn start(agent: &Arc<Agent>, observer: &Arc<dyn Observer>) -> Option<Self> {
        let kind = agent.notes.parser;
        if kind == ParserKind::Text {
            return None;
        }
        let end = watch::Sender::new(None);
        let reading = follow(
            Arc::clone(agent),
            Arc::clone(observer),
            kind,
            end.subscribe(),
        );
        Some(Self {
            end,
            task: tokio::spawn(reading),
        })
    }

    /// Reads the rest, up to `end`.
    pub(crate) async fn finish(mut self, end: u64) -> LastWord {
        self.end.send_replace(Some(End {
            bytes: end,
            tell_until: Instant::now() + TELLING_MAX,
        }));
        (&mut self.task).await.unwrap_or(LastWord::Unreadable)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // An owner that goes leaves the agent to itself.
        self.task.abort();
    }
}

async fn follow(
    agent: Arc<Agent>,
    observer: Arc<dyn Observer>,
    kind: ParserKind,
    mut end: watch::Receiver<Option<End>>,
) -> LastWord {
    let handle = AgentHandle { agent };
    let _attention = handle.attend();
    let mut progress = handle.progress();
    let past = match handle.agent.since {
        Since::Start => None,
        Since::Adoption => Past::of(&handle.agent).await,
    };
    let mut listener = Listener {
        agent: &handle.agent,
        observer: &*observer,
        parser: Parser::new(kind),
        offset: 0,
        past,
        told: 0,
        end: end.clone(),
    };
    let mut given_up_at = None;
    loop {
        let ends_at = end.borrow_and_update().map(|end| end.bytes);
        let known: Progress = *progress.borrow_and_update();
        if let Some(end) = ends_at {
            listener.pass_over(end.saturating_sub(LAST_BYTES));
        }
        if ends_at.unwrap_or(known.stdout_bytes) > listener.offset {
            match read(&handle.agent, listener.offset).await {
                Ok(chunk) if chunk.next_offset > listener.offset => {
                    listener.hear(&chunk).await;
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
            return listener.hear_the_end(kind);
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

/// What is no news, apart from what came of it: what an agent had said when it was found, and most of what one that has
/// ended was not listened to for yet.
#[derive(Debug)]
struct Past {
    /// Where it ends.
    end: u64,
    /// The agent's status before it was read.
    before: AgentStatus,
    outcome: Outcome,
}

/// Whether the past has changed the agent's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Unchanged,
    Changed,
}

impl Past {
    /// `None` for an agent that has not said anything yet.
    async fn of(agent: &Arc<Agent>) -> Option<Self> {
        let before = agent.state().status();
        let agent = Arc::clone(agent);
        let looking = tokio::task::spawn_blocking(move || said_so_far(&agent));
        let end = looking.await.unwrap_or_default();
        (end > 0).then_some(Self {
            end,
            before,
            outcome: Outcome::Unchanged,
        })
    }
}

/// Takes in what one agent says.
struct Listener<'a> {
    agent: &'a Agent,
    observer: &'a dyn Observer,
    parser: Parser,
    offset: u64,
    /// Until all of it was heard.
    past: Option<Past>,
    /// How many changes of its status came of the last piece.
    told: usize,
    end: watch::Receiver<Option<End>>,
}

impl Listener<'_> {
    /// Takes in a chunk, piece by piece: an agent that says a lot keeps nobody from anything else meanwhile.
    async fn hear(&mut self, chunk: &OutputChunk) {
        if chunk.offset > self.offset {
            self.leave_past(chunk.offset);
            let said = self.parser.gap();
            self.apply(said);
            self.offset = chunk.offset;
        }
        let mut rest = &chunk.data[..];
        while !rest.is_empty() {
            self.leave_past(self.offset);
            tokio::task::yield_now().await;
            if self.told > 0 {
                // Nothing is waited for from here to what comes of it, so that as many are told as there is room for.
                self.wait_for_room().await;
            }
            let (piece, later) = rest.split_at(self.piece_length(rest.len()));
            let said = self.parser.feed(piece);
            self.told = self.apply(said);
            self.offset += piece.len() as u64;
            rest = later;
        }
        self.offset = chunk.next_offset;
        self.leave_past(self.offset);
    }

    /// Waits for room to tell more. An agent's end waits behind what it said, and not for ever: then all is of the past.
    async fn wait_for_room(&mut self) {
        let end = &mut self.end;
        let out_of_time = async {
            match end
                .wait_for(Option::is_some)
                .await
                .ok()
                .and_then(|end| *end)
            {
                Some(end) => {
                    tokio::time::sleep_until(end.tell_until).await;
                    end.bytes
                }
                // The owner has gone, and the task goes with it.
                None => std::future::pending().await,
            }
        };
        let end = tokio::select! {
            () = self.observer.room() => return,
            end = out_of_time => end,
        };
        self.pass_over(end);
    }

    /// What is said before that offset is of the past.
    fn pass_over(&mut self, end: u64) {
        if self.offset < end && self.past.as_ref().is_none_or(|past| past.end < end) {
            let before = self.agent.state().status();
            let past = self.past.get_or_insert(Past {
                end,
                before,
                outcome: Outcome::Unchanged,
            });
            past.end = end;
        }
    }

    /// A piece is of the past, or it is not.
    fn piece_length(&self, available: usize) -> usize {
        let past = self.past.as_ref();
        let past = past.map_or(u64::MAX, |past| past.end.saturating_sub(self.offset));
        let past = usize::try_from(past).unwrap_or(usize::MAX);
        available.min(PIECE_BYTES).min(past)
    }

    /// All was said.
    fn hear_the_end(mut self, kind: ParserKind) -> LastWord {
        self.leave_past(u64::MAX);
        let said = self.parser.finish();
        self.apply(said);
        LastWord::of(&self.parser, kind)
    }

    /// Tells what came of the past, once all of it was heard.
    fn leave_past(&mut self, heard: u64) {
        if let Some(past) = self.past.take_if(|past| past.end <= heard) {
            let mut state = self.agent.state();
            if past.outcome == Outcome::Changed && state.status() != past.before {
                self.observer.update(state.change(self.agent.id, None));
            }
        }
    }

    /// Returns how many changes were told.
    fn apply(&mut self, said: Vec<Observation>) -> usize {
        let mut told = 0;
        let mut state = self.agent.state();
        for observation in said {
            if !state.observe(observation) {
                continue;
            }
            if let Some(past) = &mut self.past {
                past.outcome = Outcome::Changed;
            } else {
                self.observer.update(state.change(self.agent.id, None));
                told += 1;
            }
        }
        told
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
