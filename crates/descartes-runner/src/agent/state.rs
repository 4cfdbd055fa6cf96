//! What is known of one agent, from what its shim and its own output said.

use descartes_protocol::{
    AgentId, AgentInfo, AgentResult, AgentStatus, MapWriter, OutputSizes, PauseMode, Stream,
    UpdateType, Usage,
};
use descartes_shim::record::Exit;
use descartes_shim::tree::Process;
use descartes_shim::wire::{self, Paused, Sizes};

use super::end::{end_reason, exit_data, final_status};
use super::origin::Origin;
use super::{Agent, Commands, Progress, timestamp};
use crate::admission::Place;
use crate::eradicate::Known;
use crate::observer::AgentUpdate;
use crate::output::Length;
use crate::parser::Observation;
use crate::summary::Summary;

/// One agent's state, behind its lock.
#[derive(Debug)]
pub(crate) struct AgentState {
    pub(crate) phase: Phase,
    origin: Origin,
    sizes: Sizes,
    cursors: [u64; 2],
    sequence: u64,
    said: Said,
}

/// What an agent said of itself on stdout.
#[derive(Debug, Default)]
pub(crate) struct Said {
    pub(crate) session_id: Option<String>,
    pub(crate) model: Option<String>,
    pub(crate) usage: Option<Usage>,
    pub(crate) result: Option<AgentResult>,
}

/// Where an agent is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its processes are there.
    Live {
        commands: Commands,
        /// Whether its model is thinking, by its own word.
        thinking: bool,
        paused: Option<Paused>,
        /// Given back at the end.
        place: Option<Place>,
    },
    /// None of its processes is left.
    Finished { status: AgentStatus, exit: Exit },
}

impl AgentState {
    /// An agent that runs.
    pub(crate) fn running(commands: Commands, origin: Origin, sizes: Sizes) -> Self {
        let phase = Phase::Live {
            commands,
            thinking: false,
            paused: None,
            place: None,
        };
        Self::new(phase, origin, sizes)
    }

    /// An agent that had ended before this server began.
    pub(crate) fn finished(origin: Origin, exit: Exit, summary: Option<Summary>) -> Self {
        let sizes = Sizes::of(&exit);
        let status = final_status(&exit, false);
        let mut finished = Self::new(Phase::Finished { status, exit }, origin, sizes);
        if let Some(summary) = summary {
            finished.said = Said {
                usage: summary.usage(),
                result: summary.result(),
                session_id: summary.session_id,
                model: summary.model,
            };
            if let Phase::Finished { status, exit } = &mut finished.phase {
                // The record of the end has the last word: it may have been lost meanwhile.
                *status = final_status(exit, summary.status == AgentStatus::Failed);
            }
        }
        finished
    }

    /// What the agent said of itself.
    pub(crate) fn said(&self) -> &Said {
        &self.said
    }

    fn new(phase: Phase, origin: Origin, sizes: Sizes) -> Self {
        Self {
            phase,
            origin,
            sizes,
            cursors: [0; 2],
            sequence: 0,
            said: Said::default(),
        }
    }

    pub(crate) fn status(&self) -> AgentStatus {
        match &self.phase {
            Phase::Live {
                paused: Some(_), ..
            } => AgentStatus::Paused,
            Phase::Live { thinking: true, .. } => AgentStatus::Thinking,
            Phase::Live { .. } => AgentStatus::Running,
            Phase::Finished { status, .. } => *status,
        }
    }

    /// Where commands go, as long as there is somebody to take them.
    pub(crate) fn commands(&self) -> Option<&Commands> {
        match &self.phase {
            Phase::Live { commands, .. } => Some(commands),
            Phase::Finished { .. } => None,
        }
    }

    /// Whether there is a shim, of a version that does not tell several writers of stdin apart.
    pub(crate) fn confuses_writers(&self) -> bool {
        !self.is_finished() && self.origin.wire_version < wire::WRITERS_SINCE
    }

    /// Whether its shim can put back what is missing in its folder.
    pub(crate) fn can_restore(&self) -> bool {
        !self.is_finished() && self.origin.wire_version >= wire::RESTORE_SINCE
    }

    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.phase, Phase::Finished { .. })
    }

    /// Which of its processes are known.
    pub(crate) fn known(&self) -> Known {
        Known {
            shim: self.origin.shim,
            leader: self.origin.leader,
        }
    }

    /// The agent's shim, if it is there and stands still.
    pub(crate) fn stopped_shim(&self) -> Option<Process> {
        let shim = self.origin.shim.filter(|_| !self.is_finished())?;
        shim.look().ok().flatten().filter(Process::is_stopped)
    }

    /// How it ended.
    pub(crate) fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            Phase::Finished { exit, .. } => Some(exit),
            Phase::Live { .. } => None,
        }
    }

    /// Length of a stream.
    pub(crate) fn length(&self, stream: Stream) -> Length {
        match (&self.phase, stream) {
            (Phase::Live { .. }, Stream::Stdout) => Length::SoFar(self.sizes.stdout),
            (Phase::Live { .. }, Stream::Stderr) => Length::SoFar(self.sizes.stderr),
            (Phase::Finished { exit, .. }, Stream::Stdout) => Length::Ended(exit.stdout.bytes),
            (Phase::Finished { exit, .. }, Stream::Stderr) => Length::Ended(exit.stderr.bytes),
        }
    }

    pub(crate) fn cursor(&self, stream: Stream) -> u64 {
        self.cursors[index(stream)]
    }

    /// Moves the cursor, unless another reader has moved it meanwhile.
    pub(crate) fn move_cursor(&mut self, stream: Stream, from: u64, to: u64) -> bool {
        let cursor = &mut self.cursors[index(stream)];
        let ours = *cursor == from;
        if ours {
            *cursor = to;
        }
        ours
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress {
            stdout_bytes: self.sizes.stdout,
            stderr_bytes: self.sizes.stderr,
            finished: self.is_finished(),
        }
    }

    /// Output up to here was seen: the shim's word of it may come later.
    pub(crate) fn saw(&mut self, stream: Stream, end: u64) {
        let known = match stream {
            Stream::Stdout => &mut self.sizes.stdout,
            Stream::Stderr => &mut self.sizes.stderr,
        };
        *known = end.max(*known);
    }

    /// Takes the shim's word of the output; returns whether that is the first of losing some.
    pub(crate) fn set_sizes(&mut self, sizes: Sizes) -> bool {
        self.saw(Stream::Stdout, sizes.stdout);
        self.saw(Stream::Stderr, sizes.stderr);
        let lost = |sizes: &Sizes| sizes.stdout_lost > 0 || sizes.stderr_lost > 0;
        let knew = lost(&self.sizes);
        self.sizes.stdout_lost = sizes.stdout_lost;
        self.sizes.stderr_lost = sizes.stderr_lost;
        lost(&sizes) && !knew
    }

    pub(crate) fn set_place(&mut self, taken: Place) {
        if let Phase::Live { place, .. } = &mut self.phase {
            *place = Some(taken);
        }
    }

    /// How long the output is, as far as is known.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Takes what the shim says of a pause; returns whether that is news.
    pub(crate) fn set_paused(&mut self, now: Option<Paused>) -> bool {
        match &mut self.phase {
            Phase::Live { paused, .. } if *paused != now => {
                *paused = now;
                true
            }
            _ => false,
        }
    }

    /// Takes what the agent said of itself; returns whether its status changed.
    pub(crate) fn observe(&mut self, observation: Observation) -> bool {
        match observation {
            Observation::Session(session) => self.said.session_id = Some(session),
            Observation::Model(model) => self.said.model = Some(model),
            Observation::Usage(usage) => {
                self.said.usage = Some(Usage {
                    input_tokens: usage.input_tokens,
                    output_tokens: usage.output_tokens,
                    cache_read_tokens: usage.cache_read_tokens,
                    cost_usd: usage.cost_usd.unwrap_or(0.0),
                });
            }
            Observation::Result { is_error, text } => {
                self.said.result = Some(AgentResult { is_error, text });
            }
            Observation::Thinking => return self.set_thinking(true),
            Observation::Working => return self.set_thinking(false),
        }
        false
    }

    fn set_thinking(&mut self, now: bool) -> bool {
        match &mut self.phase {
            Phase::Live {
                thinking, paused, ..
            } if *thinking != now => {
                *thinking = now;
                paused.is_none()
            }
            _ => false,
        }
    }

    /// Takes the end. `interrupted`: the agent's kind says a last word, and this one did not.
    /// Its place is free from now on.
    pub(crate) fn finish(&mut self, exit: Exit, interrupted: bool) {
        let failed = interrupted
            || self
                .said
                .result
                .as_ref()
                .is_some_and(|result| result.is_error);
        self.sizes = Sizes::of(&exit);
        let status = final_status(&exit, failed);
        self.phase = Phase::Finished { status, exit };
    }

    /// The next change, for the observer.
    pub(crate) fn change(&mut self, agent_id: AgentId, message: Option<String>) -> AgentUpdate {
        self.sequence += 1;
        let (kind, data) = match &self.phase {
            Phase::Live { .. } => (UpdateType::StatusChanged, None),
            Phase::Finished { exit, status } => {
                let kind = match status {
                    AgentStatus::Terminated => UpdateType::Terminated,
                    _ => UpdateType::Completed,
                };
                (kind, Some(exit_data(exit)))
            }
        };
        AgentUpdate {
            agent_id,
            kind,
            status: self.status(),
            message,
            data,
            agent_sequence: Some(self.sequence),
        }
    }

    pub(crate) fn output_available(&self, agent_id: AgentId) -> AgentUpdate {
        let data = MapWriter::new()
            .uint("stdout_bytes", self.sizes.stdout)
            .uint("stderr_bytes", self.sizes.stderr)
            .finish();
        AgentUpdate {
            agent_id,
            kind: UpdateType::OutputAvailable,
            status: self.status(),
            message: None,
            data: Some(data),
            agent_sequence: None,
        }
    }

    /// Something is wrong that is no change of status.
    pub(crate) fn error(&mut self, agent_id: AgentId, message: String) -> AgentUpdate {
        self.sequence += 1;
        AgentUpdate {
            agent_id,
            kind: UpdateType::Error,
            status: self.status(),
            message: Some(message),
            data: None,
            agent_sequence: Some(self.sequence),
        }
    }

    pub(crate) fn info(&self, agent: &Agent) -> AgentInfo {
        let paused = match &self.phase {
            Phase::Live { paused, .. } => *paused,
            Phase::Finished { .. } => None,
        };
        let exit = match &self.phase {
            Phase::Live { .. } => None,
            Phase::Finished { exit, .. } => Some(exit),
        };
        let notes = &agent.notes;
        AgentInfo {
            id: agent.id,
            name: notes.name.clone(),
            status: self.status(),
            model_backend: notes.backend.clone(),
            started_at: self.origin.started_at,
            task: notes.task.clone(),
            paused_at: paused.map(|paused| timestamp(paused.since)),
            pause_mode: paused.map(pause_mode),
            attach_info: None,
            server_id: agent.server_id.clone(),
            pid: self.origin.leader.and_then(|it| u32::try_from(it.pid).ok()),
            exit_code: exit.and_then(|exit| exit.exit_code),
            exit_signal: exit.and_then(|exit| exit.exit_signal),
            end_reason: exit.map(|exit| end_reason(exit.reason)),
            finished_at: exit.map(|exit| timestamp(exit.finished_at)),
            metadata: notes.metadata.clone(),
            labels: notes.labels.clone(),
            session_id: self.said.session_id.clone(),
            model: self.said.model.clone().or_else(|| notes.model.clone()),
            usage: self.said.usage,
            result: self.said.result.clone(),
            output: output_sizes(self.sizes),
            agent_sequence: self.sequence,
        }
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn output_sizes(sizes: Sizes) -> OutputSizes {
    let some = |lost: u64| (lost > 0).then_some(lost);
    OutputSizes {
        stdout_bytes: sizes.stdout,
        stderr_bytes: sizes.stderr,
        stdout_lost_bytes: some(sizes.stdout_lost),
        stderr_lost_bytes: some(sizes.stderr_lost),
    }
}

fn pause_mode(paused: Paused) -> PauseMode {
    if paused.forced {
        PauseMode::Forced
    } else {
        PauseMode::Cooperative
    }
}
