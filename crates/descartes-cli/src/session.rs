//! Sitting beside an agent: its output as it comes, and this side's input to it.
//!
//! ```text
//! following ──▶ the agent has ended
//!     │ ▲  └───▶ detached (a key, SIGTERM)
//!     ▼ │
//! asked what to do (Ctrl-C) ──▶ stop the agent, leave it, go on
//! ```
//!
//! SIGTERM, and a further Ctrl-C in whatever state but the first, leave the agent and end this.

pub(crate) mod feed;
pub(crate) mod printer;
pub(crate) mod render;
pub(crate) mod signals;
mod terminal;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use descartes_client::protocol::{AgentInfo, ErrorCode, Stream};
use descartes_client::{ClientError, OutputReader, ReadFrom, ZmqClient};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::ask;
use crate::error::Result;
use crate::exit;
use crate::input::{Input, Piece};
use crate::output;
use crate::progress;
use crate::table::plain;
use feed::Feed;
use printer::Printer;
use signals::{Signals, Taken, Wish};
use terminal::DetachKey;

const QUESTION: &str = "[s]top it, [l]eave it running, or [c]ontinue (then Enter)?";
const ANSWERS: [&str; 3] = ["stop", "leave", "continue"];

/// How long a person who has answered waits for the server's word.
const ASKED_FOR_MAX: Duration = Duration::from_secs(1);

/// Pieces of input that may wait for the agent to take them.
const INPUT_WAITING_MAX: usize = 4;

/// What is done with this side's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stdin {
    /// It is left alone.
    Unused,
    /// It goes to the agent; its end is that of the agent's.
    Forwarded,
}

/// How it came to an end.
#[derive(Debug)]
pub(crate) enum End {
    /// The agent has ended, and all that it wrote was printed.
    Ended(Box<AgentInfo>),
    /// The agent runs on, by the person's own choice.
    Left,
    /// The agent runs on, as a signal ended this.
    Interrupted,
}

/// A session with one agent.
#[derive(Debug)]
pub(crate) struct Session {
    client: ZmqClient,
    agent: AgentInfo,
    feed: Feed,
    printer: Printer,
    signals: Signals,
    /// Whether Ctrl-C asks what to do.
    asks: bool,
    input: Option<Input>,
    /// Where input for the agent goes; none once the agent takes no more.
    queue: Option<mpsc::Sender<ForAgent>>,
    /// Input that waits for its place there, in order.
    waiting: VecDeque<ForAgent>,
    forwarding: Option<Forwarding>,
}

/// What goes to the agent.
#[derive(Debug)]
enum ForAgent {
    Data(Vec<u8>),
    /// The end of its input.
    End,
}

/// The task that takes input to the agent.
#[derive(Debug)]
struct Forwarding(JoinHandle<std::result::Result<(), ClientError>>);

enum Event {
    Output(Option<std::result::Result<feed::Piece, ClientError>>),
    Input(Option<Result<Piece>>),
    InputHasPlace,
    InputEnded(std::result::Result<(), String>),
    Wish(Wish),
}

impl Session {
    /// Begins to follow an agent with these readers of its output.
    pub(crate) fn begin(
        client: &ZmqClient,
        agent: AgentInfo,
        readers: Vec<(Stream, OutputReader)>,
        printer: Printer,
        stdin: Stdin,
    ) -> Result<Self> {
        let is_forwarded = stdin == Stdin::Forwarded;
        let (queue, forwarding) = is_forwarded
            .then(|| Forwarding::start(client, &agent))
            .unzip();
        let key = is_forwarded.then(DetachKey::take).flatten();
        let taken = key.map_or(Taken::Nothing, Taken::Key);
        Ok(Self {
            feed: Feed::start(readers),
            signals: Signals::listen(taken)?,
            asks: output::is_interactive(),
            input: is_forwarded.then(Input::start),
            queue,
            waiting: VecDeque::new(),
            forwarding,
            client: client.clone(),
            agent,
            printer,
        })
    }

    /// Begins to watch an agent that a person has no hand in: Ctrl-C ends the watching, and asks nothing.
    pub(crate) fn watch(
        client: &ZmqClient,
        agent: AgentInfo,
        readers: Vec<(Stream, OutputReader)>,
        printer: Printer,
    ) -> Result<Self> {
        let session = Self::begin(client, agent, readers, printer, Stdin::Unused)?;
        Ok(Self {
            asks: false,
            ..session
        })
    }

    /// Goes on until the agent has ended, or the person has enough.
    pub(crate) async fn run(mut self) -> Result<End> {
        loop {
            match self.event().await {
                Event::Output(Some(piece)) => {
                    let (stream, chunk) = piece?;
                    self.printer.print(stream, &chunk)?;
                }
                Event::Output(None) => return self.ended().await,
                Event::Input(Some(piece)) => self.waiting.push_back(ForAgent::Data(piece?.data)),
                Event::Input(None) if terminal::has_hung_up() => return Ok(End::Interrupted),
                Event::Input(None) => {
                    self.input = None;
                    self.waiting.push_back(ForAgent::End);
                }
                Event::InputHasPlace => {}
                Event::InputEnded(outcome) => {
                    (self.queue, self.forwarding) = (None, None);
                    if let Err(error) = outcome {
                        output::note(format_args!("input does not reach the agent: {error}"));
                    }
                }
                Event::Wish(Wish::Interrupt) => {
                    if let Some(end) = self.interrupted().await? {
                        return Ok(end);
                    }
                }
                Event::Wish(Wish::Detach) => return Ok(End::Left),
                Event::Wish(Wish::Terminate) => return Ok(End::Interrupted),
            }
        }
    }

    async fn event(&mut self) -> Event {
        let wants_input = self.queue.is_some() && self.waiting.is_empty();
        tokio::select! {
            piece = self.feed.next() => Event::Output(piece),
            piece = next_input(&mut self.input), if wants_input => Event::Input(piece),
            () = pass_on(self.queue.as_ref(), &mut self.waiting), if !self.waiting.is_empty() => Event::InputHasPlace,
            outcome = forwarded(&mut self.forwarding), if self.forwarding.is_some() => Event::InputEnded(outcome),
            wish = self.signals.next() => Event::Wish(wish),
        }
    }

    /// All that the agent wrote was printed.
    async fn ended(mut self) -> Result<End> {
        self.printer.finish()?;
        tokio::select! {
            info = self.client.agent(self.agent.id) => Ok(End::Ended(Box::new(info?))),
            _ = self.signals.next() => Ok(End::Interrupted),
        }
    }

    /// Ctrl-C: a person is asked; where there is none, the agent is left alone.
    async fn interrupted(&mut self) -> Result<Option<End>> {
        if !self.asks {
            return Ok(Some(End::Interrupted));
        }
        let asked_at = Instant::now();
        let name = plain(&self.agent.name);
        let question = format!("\nagent {name} is running: {QUESTION} ");
        output::prompt(&question);
        let input = self.input.get_or_insert_with(Input::start);
        loop {
            let piece = tokio::select! {
                piece = input.next() => piece,
                _ = self.signals.next() => {
                    output::prompt("\n");
                    return Ok(Some(End::Interrupted));
                }
            };
            let Some(piece) = piece else {
                output::prompt("\n");
                return Ok(Some(End::Left));
            };
            let Piece { data, read_at } = piece?;
            if read_at < asked_at {
                // It was typed before, for the agent or for nobody, and is no answer.
                if self.queue.is_some() {
                    self.waiting.push_back(ForAgent::Data(data));
                }
                continue;
            }
            match ask::answered(&String::from_utf8_lossy(&data), &ANSWERS) {
                None => output::prompt(&question),
                // It has ended while the person thought: that comes by itself.
                Some(_) if self.has_ended().await => return Ok(None),
                Some("stop") => return self.stop().await,
                Some("leave") => return Ok(Some(End::Left)),
                Some(_) => return Ok(None),
            }
        }
    }

    /// Whether the agent has ended, as far as the server can be asked.
    async fn has_ended(&mut self) -> bool {
        let asked = self.client.agent(self.agent.id);
        let answer = tokio::time::timeout(ASKED_FOR_MAX, asked).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|info| info.status.is_final()))
    }

    /// Stops the agent; its last words and its end come as any other's. A further Ctrl-C kills it, and one more leaves
    /// it as it is.
    async fn stop(&mut self) -> Result<Option<End>> {
        let client = self.client.clone();
        let agent = self.agent.id;
        let stop = client.stop(agent, None);
        let mut ended = tokio::select! {
            stopped = progress::during("stopping the agent; Ctrl-C kills it", stop) => Some(stopped),
            wish = self.signals.next() => match wish {
                Wish::Interrupt => None,
                Wish::Detach | Wish::Terminate => return Ok(Some(End::Interrupted)),
            },
        };
        if ended.is_none() {
            let kill = client.kill(agent);
            ended = tokio::select! {
                killed = progress::during("killing the agent; Ctrl-C gives up", kill) => Some(killed),
                _ = self.signals.next() => return Ok(Some(End::Interrupted)),
            };
        }
        match ended {
            // It has ended by itself meanwhile.
            Some(Err(error)) if !error.is(ErrorCode::InvalidState) => Err(error.into()),
            _ => Ok(None),
        }
    }
}

impl End {
    /// The exit code, with a word to a person about what becomes of the agent.
    pub(crate) fn exit_code(&self, agent: &AgentInfo) -> u8 {
        match self {
            Self::Ended(info) => code_of(info),
            Self::Left => {
                output::note(format_args!("agent {} runs on: {}", agent.name, agent.id));
                exit::DONE
            }
            Self::Interrupted => {
                output::note(format_args!("agent {} runs on: {}", agent.name, agent.id));
                exit::INTERRUPTED
            }
        }
    }
}

/// The exit code that an agent's end stands for: its own, or 128 and the number of its signal. 0 only where the agent
/// has completed.
pub(crate) fn code_of(info: &AgentInfo) -> u8 {
    use descartes_client::protocol::AgentStatus::Completed;
    let code = match (info.exit_code, info.exit_signal) {
        (Some(code), _) => code,
        (None, Some(signal)) => exit::SIGNAL_BASE + signal,
        (None, None) => exit::OWN_FAILURE.into(),
    };
    match u8::try_from(code & 0xff).unwrap_or(exit::OWN_FAILURE) {
        0 if info.status != Completed => exit::REFUSED,
        code => code,
    }
}

/// Readers of both streams, from their beginning.
pub(crate) fn both_streams(client: &ZmqClient, agent: &AgentInfo) -> Vec<(Stream, OutputReader)> {
    let reader = |stream| {
        let reader = client.output(agent.id, stream, ReadFrom::Offset(0));
        (stream, reader.with_times())
    };
    vec![reader(Stream::Stdout), reader(Stream::Stderr)]
}

impl Forwarding {
    fn start(client: &ZmqClient, agent: &AgentInfo) -> (mpsc::Sender<ForAgent>, Self) {
        let mut writer = client.stdin(agent.id);
        let (queue, mut given) = mpsc::channel(INPUT_WAITING_MAX);
        let task = tokio::spawn(async move {
            while let Some(given) = given.recv().await {
                match given {
                    ForAgent::Data(data) => writer.write_all(&data).await?,
                    ForAgent::End => return writer.close().await,
                }
            }
            // The session is over, and the agent's input is not.
            Ok(())
        });
        (queue, Self(task))
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn next_input(input: &mut Option<Input>) -> Option<Result<Piece>> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for a place in the queue to the agent, and puts there what waits longest.
async fn pass_on(queue: Option<&mpsc::Sender<ForAgent>>, waiting: &mut VecDeque<ForAgent>) {
    let place = match queue {
        Some(queue) => queue.reserve().await.ok(),
        None => None,
    };
    match (place, waiting.pop_front()) {
        (Some(place), Some(given)) => place.send(given),
        // Nobody takes it any more: the end of the task tells why.
        _ => waiting.clear(),
    }
}

async fn forwarded(forwarding: &mut Option<Forwarding>) -> std::result::Result<(), String> {
    match forwarding {
        Some(forwarding) => match (&mut forwarding.0).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(defect) => Err(defect.to_string()),
        },
        None => std::future::pending().await,
    }
}
