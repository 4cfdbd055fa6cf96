//! Reads along what an agent of a known kind says of itself on stdout.

use std::io;
use std::sync::Arc;

use descartes_protocol::Stream;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::agent::{Agent, AgentHandle, Progress};
use crate::observer::Observer;
use crate::output::{self, OutputChunk};
use crate::parser::{Observation, Parser, ParserKind};

/// Bytes read and parsed at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// The task that reads one agent's stdout.
#[derive(Debug)]
pub(crate) struct Watcher {
    /// Length of stdout, once it has ended.
    end: watch::Sender<Option<u64>>,
    task: JoinHandle<bool>,
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

    /// Reads the rest, up to `end`. Returns whether the agent said what its kind says last, or is
    /// of a kind that says nothing last.
    pub(crate) async fn finish(self, end: u64) -> bool {
        self.end.send_replace(Some(end));
        self.task.await.unwrap_or(true)
    }
}

async fn follow(
    agent: Arc<Agent>,
    observer: Arc<dyn Observer>,
    kind: ParserKind,
    mut end: watch::Receiver<Option<u64>>,
) -> bool {
    let handle = AgentHandle { agent };
    let _attention = handle.attend();
    let mut progress = handle.progress();
    let mut parser = Parser::new(kind);
    let mut offset = 0;
    loop {
        let ends_at = *end.borrow_and_update();
        let known: Progress = *progress.borrow_and_update();
        if ends_at.unwrap_or(known.stdout_bytes) > offset {
            match read(&handle.agent, offset).await {
                Ok(chunk) if chunk.next_offset > offset => {
                    if chunk.offset > offset {
                        apply(&handle.agent, &*observer, parser.gap());
                    }
                    offset = chunk.next_offset;
                    apply(&handle.agent, &*observer, parser.feed(&chunk.data));
                    continue;
                }
                // Nothing there yet, or nothing that can be read.
                Ok(_) | Err(_) => {}
            }
        }
        if ends_at.is_some() {
            apply(&handle.agent, &*observer, parser.finish());
            return parser.saw_result() || !kind.expects_result();
        }
        tokio::select! {
            Ok(()) = progress.changed() => {}
            ended = end.changed() => if ended.is_err() {
                // The owner has gone and left the agent to itself.
                return true;
            },
        }
    }
}

async fn read(agent: &Agent, offset: u64) -> io::Result<OutputChunk> {
    let dir = output::stream_dir(&agent.dir, Stream::Stdout);
    let chunk = tokio::task::spawn_blocking(move || output::read(&dir, offset, CHUNK_BYTES, None));
    chunk.await.map_err(io::Error::other)?
}

fn apply(agent: &Agent, observer: &dyn Observer, observations: Vec<Observation>) {
    for observation in observations {
        let mut state = agent.state();
        if state.observe(observation) {
            observer.update(state.change(agent.id, None));
        }
    }
}
