//! `control_command`.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use descartes_protocol::{
    AgentId, Command, CommandResponse, ControlCommand, MapWriter, PauseMode, Raw, SignalNumber,
    StdinPosition, Stream,
};
use descartes_runner::{
    AgentError, AgentHandle, LineQuery, Lines, OutputChunk, OutputRead, Rest, StopOutcome, Written,
};

use super::{Handlers, LINES_BYTES_MAX, Refusal};
use crate::dispatch::Dispatched;
use crate::stats::count;

/// Bytes that a read returns where it does not say.
const READ_BYTES: u64 = 1024 * 1024;

/// Lines that a query returns where it does not say.
const QUERY_LINES: u64 = 1000;

/// What a command leads to: data for the reply, or a refusal that may come with some.
pub(super) type Outcome = Result<Option<Raw>, (Refusal, Option<Raw>)>;

/// A command that has taken its place in the agent's queue.
pub(super) enum Begun {
    Done(Outcome),
    UnderWay(Pin<Box<dyn Future<Output = Outcome> + Send>>),
}

impl Begun {
    fn refused(refusal: impl Into<Refusal>) -> Self {
        Self::Done(Err((refusal.into(), None)))
    }

    fn under_way(outcome: impl Future<Output = Outcome> + Send + 'static) -> Self {
        Self::UnderWay(Box::pin(outcome))
    }
}

impl Handlers {
    pub(super) fn control(&self, request: ControlCommand) -> Dispatched {
        count(&self.shared.counters.control_commands);
        let id = request.agent_id;
        let command = Command::parse(&request.command_type, request.payload.as_ref());
        match self.begin(id, command.map_err(Refusal::from)) {
            Begun::Done(outcome) => {
                Dispatched::ready(self.respond(request.request_id, id, outcome))
            }
            Begun::UnderWay(outcome) => {
                let handlers = self.clone();
                Dispatched::later(async move {
                    let outcome = outcome.await;
                    handlers.respond(request.request_id, id, outcome).into()
                })
            }
        }
    }

    pub(super) fn respond(
        &self,
        request_id: String,
        agent_id: AgentId,
        outcome: Outcome,
    ) -> CommandResponse {
        let (data, refusal) = match outcome {
            Ok(data) => (data, None),
            Err((refusal, data)) => {
                self.count_error();
                (data, Some(refusal))
            }
        };
        let (error, error_code) = refusal.map(|refusal| (refusal.error, refusal.code)).unzip();
        CommandResponse {
            request_id,
            agent_id,
            success: error.is_none(),
            status: self.agent(agent_id).ok().map(|handle| handle.status()),
            data,
            error,
            error_code,
        }
    }

    /// Puts the command into the agent's queue, so that commands begin in the order in which this
    /// is called.
    pub(super) fn begin(&self, id: AgentId, command: Result<Command, Refusal>) -> Begun {
        let known = self.agent(id).and_then(|agent| Ok((agent, command?)));
        let (agent, command) = match known {
            Ok(known) => known,
            Err(refusal) => return Begun::refused(refusal),
        };
        match command {
            Command::Pause { mode } => {
                self.wait_for(&agent, agent.pause(mode), |mode| Some(paused(mode)))
            }
            Command::Resume => self.wait_for(&agent, agent.resume(), |()| None),
            Command::Stop { grace, wait: true } => {
                self.wait_for(&agent, agent.stop(grace), |end| Some(ended(&end)))
            }
            Command::Stop { grace, wait: false } => match agent.begin_stop(grace) {
                Ok(()) => Begun::Done(Ok(None)),
                Err(error) => Begun::refused(error),
            },
            Command::Kill => self.wait_for(&agent, agent.kill(), |end| Some(ended(&end))),
            Command::WriteStdin {
                data,
                close,
                position,
            } => self.write(&agent, agent.write_stdin(data, position, close)),
            Command::CloseStdin => {
                let nothing = bytes::Bytes::new();
                self.write(
                    &agent,
                    agent.write_stdin(nothing, StdinPosition::Next, true),
                )
            }
            Command::Signal { signal, scope } => {
                self.wait_for(&agent, agent.signal(signal, scope), move |()| {
                    Some(signalled(signal))
                })
            }
            Command::Read {
                stream,
                offset,
                max_bytes,
                wait,
                since,
                times,
            } => {
                let read = OutputRead {
                    stream,
                    offset,
                    since,
                    max: max_bytes.unwrap_or(READ_BYTES),
                    wait: self.held_for(wait),
                    times,
                };
                self.read(agent, read)
            }
            Command::GetStatus => Begun::Done(Ok(Some(status(&agent)))),
            Command::CustomAction { action, params } => {
                Begun::Done(super::action::run(&action, params.as_ref()))
            }
            Command::QueryOutput {
                stdout,
                stderr,
                max_lines,
                tail,
            } => {
                let lines = max_lines.unwrap_or(QUERY_LINES);
                self.query(agent, stdout, stderr, lines, tail)
            }
            Command::StreamLogs => Begun::Done(self.stream_logs(&agent)),
        }
    }

    /// Waits for a command's effect, as long as a request may take; the command goes on after.
    fn wait_for<T: Send + 'static>(
        &self,
        agent: &AgentHandle,
        effect: impl Future<Output = Result<T, AgentError>> + Send + 'static,
        data: impl FnOnce(T) -> Option<Raw> + Send + 'static,
    ) -> Begun {
        let (agent, limit) = (agent.clone(), self.shared.request_timeout);
        Begun::under_way(async move {
            match tokio::time::timeout(limit, effect).await {
                Ok(Ok(done)) => Ok(data(done)),
                Ok(Err(error)) => Err((error.into(), None)),
                Err(_) => Err((Refusal::timeout(limit, Some(&agent)), None)),
            }
        })
    }

    fn write(
        &self,
        agent: &AgentHandle,
        write: impl Future<Output = Result<Written, AgentError>> + Send + 'static,
    ) -> Begun {
        let (agent, limit) = (agent.clone(), self.shared.request_timeout);
        Begun::under_way(async move {
            let written = match tokio::time::timeout(limit, write).await {
                Ok(Ok(written)) => written,
                Ok(Err(AgentError::Busy)) => {
                    return Err((AgentError::Busy.into(), Some(nothing_written())));
                }
                Ok(Err(error)) => return Err((error.into(), None)),
                Err(_) => return Err((Refusal::timeout(limit, Some(&agent)), None)),
            };
            let data = MapWriter::new()
                .uint("bytes_written", written.bytes_written)
                .uint("stdin_bytes", written.stdin_bytes)
                .finish();
            if written.complete {
                Ok(Some(data))
            } else {
                let refusal = Refusal {
                    error: format!(
                        "the agent's stdin is full: {} bytes were taken; send the rest later",
                        written.bytes_written
                    ),
                    code: descartes_protocol::ErrorCode::Busy,
                };
                Err((refusal, Some(data)))
            }
        })
    }

    fn read(&self, agent: AgentHandle, read: OutputRead) -> Begun {
        let waits = !read.wait.is_zero();
        let handlers = self.clone();
        Begun::under_way(async move {
            let chunk = tokio::select! {
                chunk = agent.read(read) => chunk,
                () = handlers.shared.answering_ends.cancelled(), if waits => {
                    let wait = Duration::ZERO;
                    agent.read(OutputRead { wait, ..read }).await
                }
            };
            match chunk {
                Ok(chunk) => Ok(Some(output(&chunk, read.times))),
                Err(error) => Err((error.into(), None)),
            }
        })
    }

    fn query(
        &self,
        agent: AgentHandle,
        stdout: bool,
        stderr: bool,
        max_lines: u64,
        tail: bool,
    ) -> Begun {
        let handlers = self.clone();
        Begun::under_way(async move {
            let mut data = MapWriter::new();
            let mut has_more = false;
            let wanted = [(stdout, Stream::Stdout), (stderr, Stream::Stderr)];
            for (is_wanted, stream) in wanted {
                let query = LineQuery {
                    streams: vec![stream],
                    filter: None,
                    offset: 0,
                    limit: max_lines,
                    tail,
                    bytes_max: LINES_BYTES_MAX / 2,
                    from: None,
                    deadline: handlers.search_deadline(),
                    rest: Rest::Glanced,
                };
                let mut found = Lines::default();
                if is_wanted {
                    let searched = handlers.search(&agent, query).await;
                    found = searched.map_err(|error| (error.into(), None))?;
                }
                has_more |= found.has_more;
                data = data.str_list(stream.as_str(), &found.lines);
            }
            Ok(Some(data.bool("has_more", has_more).finish()))
        })
    }

    fn stream_logs(&self, agent: &AgentHandle) -> Outcome {
        use descartes_protocol::topics;
        let Some(endpoint) = &self.shared.advertised_pub else {
            let refusal = Refusal {
                error: "this server has no event socket; read the output with read_stdout"
                    .to_owned(),
                code: descartes_protocol::ErrorCode::UnsupportedCommand,
            };
            return Err((refusal, None));
        };
        if let Err(error) = agent.expect_reader() {
            return Err((error.into(), None));
        }
        let topics = [Stream::Stdout, Stream::Stderr].map(|stream| topics::log(agent.id(), stream));
        let output = agent.info().output;
        let offsets = MapWriter::new()
            .uint("stdout", output.stdout_bytes)
            .uint("stderr", output.stderr_bytes)
            .finish();
        let data = MapWriter::new()
            .str("pub_endpoint", &endpoint.to_string())
            .str_list("topics", &topics)
            .raw("offsets", &offsets)
            .finish();
        Ok(Some(data))
    }
}

fn signalled(signal: SignalNumber) -> Raw {
    let name = signal
        .name()
        .map_or_else(|| signal.number().to_string(), str::to_owned);
    MapWriter::new().str("signal", &name).finish()
}

fn status(agent: &AgentHandle) -> Raw {
    let info = agent.info();
    MapWriter::new().agent_info("agent_info", &info).finish()
}

fn paused(mode: PauseMode) -> Raw {
    MapWriter::new().str("mode", mode.as_str()).finish()
}

fn ended(end: &StopOutcome) -> Raw {
    let mut data = MapWriter::new();
    for (key, value) in [
        ("exit_code", end.exit_code),
        ("exit_signal", end.exit_signal),
    ] {
        data = match value {
            Some(value) => data.int(key, value.into()),
            None => data.nil(key),
        };
    }
    data.str("end_reason", end.end_reason.as_str())
        .bool("forced", end.forced)
        .finish()
}

fn nothing_written() -> Raw {
    MapWriter::new().uint("bytes_written", 0).finish()
}

fn output(chunk: &OutputChunk, with_times: bool) -> Raw {
    let data = MapWriter::new()
        .bin("data", &chunk.data)
        .uint("offset", chunk.offset)
        .uint("next_offset", chunk.next_offset)
        .bool("eof", chunk.eof)
        .uint("first_offset", chunk.first_offset)
        .uint("bytes", chunk.data.len() as u64);
    if with_times {
        data.output_times("times", &chunk.times).finish()
    } else {
        data.finish()
    }
}
