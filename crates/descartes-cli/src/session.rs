//! Sitting beside an agent: its output as it comes, and this side's input to it.
//!
//! ```text
//! following ──▶ the agent has ended
//!     │ ▲  └───▶ detached (a key, SIGTERM)
//!     ▼ │
//! asked what to do (Ctrl-C) ──▶ stop the agent, leave it, go on
//! ```

mod feed;
pub(crate) mod printer;
mod render;
mod terminal;

use descartes_client::protocol::{AgentInfo, Stream};
use descartes_client::{ClientError, OutputReader, ReadFrom, ZmqClient};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::ask;
use crate::error::{CliError, Result};
use crate::exit;
use crate::input::Input;
use crate::output;
use crate::progress;
use feed::Feed;
use printer::Printer;
use terminal::DetachKey;

const QUESTION: &str = "[s]top it, [l]eave it running, or [c]ontinue?";

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
    /// Where input for the agent goes; none once it has ended.
    queue: Option<mpsc::Sender<Vec<u8>>>,
    /// Input that waits for its place there.
    waiting: Option<Vec<u8>>,
    forwarding: Option<Forwarding>,
    _detach_key: Option<DetachKey>,
}

#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
}

/// The task that takes input to the agent.
#[derive(Debug)]
struct Forwarding(JoinHandle<std::result::Result<(), ClientError>>);

enum Event {
    Output(Option<std::result::Result<feed::Piece, ClientError>>),
    Input(Option<Result<Vec<u8>>>),
    InputHasPlace,
    InputEnded(std::result::Result<(), String>),
    Connection(bool),
    Interrupt,
    Detach,
    Terminate,
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
        Ok(Self {
            feed: Feed::start(readers),
            signals: Signals::listen()?,
            asks: output::is_interactive(),
            input: is_forwarded.then(Input::start),
            queue,
            waiting: None,
            forwarding,
            _detach_key: is_forwarded.then(DetachKey::take).flatten(),
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
        let mut connection = self.client.connected();
        connection.mark_unchanged();
        loop {
            match self.event(&mut connection).await {
                Event::Output(Some(piece)) => {
                    let (stream, chunk) = piece?;
                    self.printer.print(stream, &chunk)?;
                }
                Event::Output(None) => {
                    self.printer.finish()?;
                    let info = self.client.agent(self.agent.id).await?;
                    return Ok(End::Ended(Box::new(info)));
                }
                Event::Input(Some(data)) => self.waiting = Some(data?),
                // The task sees the end of its queue, and ends the agent's input.
                Event::Input(None) => (self.input, self.queue) = (None, None),
                Event::InputHasPlace => {}
                Event::InputEnded(outcome) => {
                    (self.queue, self.forwarding) = (None, None);
                    if let Err(error) = outcome {
                        output::note(format_args!("input no longer reaches the agent: {error}"));
                    }
                }
                Event::Connection(true) => output::note("the server is back"),
                Event::Connection(false) => {
                    output::note("lost the server; trying to get back to it");
                }
                Event::Interrupt => {
                    if let Some(end) = self.interrupted().await? {
                        return Ok(end);
                    }
                }
                Event::Detach => return Ok(End::Left),
                Event::Terminate => return Ok(End::Interrupted),
            }
        }
    }

    async fn event(&mut self, connection: &mut watch::Receiver<bool>) -> Event {
        let wants_input = self.queue.is_some() && self.waiting.is_none();
        tokio::select! {
            piece = self.feed.next() => Event::Output(piece),
            data = next_input(&mut self.input), if wants_input => Event::Input(data),
            () = pass_on(self.queue.as_ref(), &mut self.waiting), if self.waiting.is_some() => Event::InputHasPlace,
            outcome = forwarded(&mut self.forwarding), if self.forwarding.is_some() => Event::InputEnded(outcome),
            Ok(()) = connection.changed() => Event::Connection(*connection.borrow_and_update()),
            _ = self.signals.interrupt.recv() => Event::Interrupt,
            _ = self.signals.quit.recv() => Event::Detach,
            _ = self.signals.terminate.recv() => Event::Terminate,
        }
    }

    /// Ctrl-C: a person is asked; where there is none, the agent is left alone.
    async fn interrupted(&mut self) -> Result<Option<End>> {
        if !self.asks {
            return Ok(Some(End::Interrupted));
        }
        let input = self.input.get_or_insert_with(Input::start);
        loop {
            output::prompt(format_args!(
                "\nagent {} is running: {QUESTION} ",
                self.agent.name
            ));
            let line = tokio::select! {
                line = input.next() => line,
                _ = self.signals.interrupt.recv() => {
                    output::prompt("\n");
                    return Ok(Some(End::Interrupted));
                }
            };
            let Some(line) = line else {
                return Ok(Some(End::Left));
            };
            match ask::answered(&String::from_utf8_lossy(&line?), &['s', 'l', 'c']) {
                Some('s') => return self.stop().await,
                Some('l') => return Ok(Some(End::Left)),
                Some('c') => return Ok(None),
                _ => {}
            }
        }
    }

    /// Stops the agent; its last words and its end come as any other's. A further Ctrl-C kills it.
    async fn stop(&mut self) -> Result<Option<End>> {
        let client = self.client.clone();
        let agent = self.agent.id;
        let stop = client.stop(agent, None);
        let stopped = tokio::select! {
            stopped = progress::during("stopping the agent; Ctrl-C kills it", stop) => stopped,
            _ = self.signals.interrupt.recv() => self.client.kill(agent).await,
        };
        match stopped {
            Ok(_) => Ok(None),
            // It has ended by itself meanwhile.
            Err(error) if error.is(descartes_client::protocol::ErrorCode::InvalidState) => Ok(None),
            Err(error) => Err(error.into()),
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

impl Signals {
    fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                CliError::new(
                    exit::REFUSED,
                    format!("failed to listen for signals: {error}"),
                )
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            quit: listen(SignalKind::quit())?,
        })
    }
}

impl Forwarding {
    fn start(client: &ZmqClient, agent: &AgentInfo) -> (mpsc::Sender<Vec<u8>>, Self) {
        let mut writer = client.stdin(agent.id);
        let (queue, mut pieces) = mpsc::channel::<Vec<u8>>(INPUT_WAITING_MAX);
        let task = tokio::spawn(async move {
            while let Some(data) = pieces.recv().await {
                writer.write_all(&data).await?;
            }
            writer.close().await
        });
        (queue, Self(task))
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn next_input(input: &mut Option<Input>) -> Option<Result<Vec<u8>>> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}

/// Waits for a place in the queue to the agent, and puts what waits there.
async fn pass_on(queue: Option<&mpsc::Sender<Vec<u8>>>, waiting: &mut Option<Vec<u8>>) {
    if let Some(queue) = queue
        && let Ok(place) = queue.reserve().await
        && let Some(data) = waiting.take()
    {
        place.send(data);
    }
    // Where nobody takes it any more, the end of the task tells why.
    *waiting = None;
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
