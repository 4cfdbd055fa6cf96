//! The messages whose bodies the corpus holds: with every field set, and with the required ones only.

mod replies;
mod requests;

use bytes::Bytes;
use descartes_protocol::{
    AgentConfig, AgentId, AgentInfo, AgentResult, AgentStatus, EndReason, Limits, LogStream,
    MapWriter, OutputSizes, PauseMode, StatusUpdate, StdinMode, Stream, StringMap, Timestamp,
    UpdateType, Usage,
};

pub(crate) use replies::replies;
pub(crate) use requests::requests;

/// A message with every field set, and with the required ones only.
pub(crate) struct Sample<T> {
    pub(crate) full: T,
    pub(crate) least: T,
}

fn agent() -> AgentId {
    "01890a5d-ac96-774b-bcce-b302099a8057"
        .parse()
        .expect("a UUID")
}

fn other() -> AgentId {
    "01890a5d-ac96-774b-bcce-b302099a8058"
        .parse()
        .expect("a UUID")
}

fn id() -> String {
    "r1".into()
}

fn map(key: &str, value: &str) -> StringMap {
    StringMap::from([(key.into(), value.into())])
}

pub(crate) const TIME: Timestamp = Timestamp {
    secs_since_epoch: 1_700_000_000,
    nanos_since_epoch: 5,
};

fn least_config() -> AgentConfig {
    AgentConfig {
        name: "reviewer".into(),
        model_backend: "claude".into(),
        task: "Review – bitte".into(),
        environment: StringMap::from([("A".into(), "1".into()), ("B".into(), String::new())]),
        ..AgentConfig::default()
    }
}

fn config() -> AgentConfig {
    let prompt = MapWriter::new().str("prompt", "help").finish();
    AgentConfig {
        context: Some("a context".into()),
        system_prompt: Some("be brief".into()),
        model: Some("large".into()),
        tool_level: Some("readonly".into()),
        agents: Some(MapWriter::new().raw("helper", &prompt).finish()),
        working_dir: Some("/srv/agents".into()),
        args: Some(vec!["--verbose".into(), String::new()]),
        stdin: Some(StdinMode::Pipe),
        resume_session: Some("s-1".into()),
        labels: Some(map("team", "blue")),
        limits: Some(Limits {
            max_runtime_secs: Some(3600),
            idle_timeout_secs: Some(60),
            memory_bytes: Some(1 << 32),
            cpu_percent: Some(150),
            pids: Some(200),
            output_bytes: Some(65_536),
        }),
        ..least_config()
    }
}

fn least_info() -> AgentInfo {
    AgentInfo {
        id: agent(),
        name: "reviewer".into(),
        status: AgentStatus::Failed,
        model_backend: "claude".into(),
        started_at: TIME,
        task: "Review".into(),
        paused_at: None,
        pause_mode: None,
        attach_info: None,
        server_id: "server-01".into(),
        pid: None,
        exit_code: None,
        exit_signal: None,
        end_reason: None,
        finished_at: None,
        metadata: None,
        labels: None,
        session_id: None,
        model: None,
        usage: None,
        result: None,
        output: OutputSizes {
            stdout_bytes: 1000,
            ..OutputSizes::default()
        },
        agent_sequence: 7,
    }
}

fn info() -> AgentInfo {
    AgentInfo {
        paused_at: Some(TIME),
        pause_mode: Some(PauseMode::Forced),
        attach_info: Some(MapWriter::new().nil("tty").finish()),
        pid: Some(4242),
        exit_code: Some(-1),
        exit_signal: Some(9),
        end_reason: Some(EndReason::MemoryLimit),
        finished_at: Some(TIME),
        metadata: Some(map("ticket", "42")),
        labels: Some(map("team", "blue")),
        session_id: Some("s-1".into()),
        model: Some("large".into()),
        usage: Some(Usage {
            input_tokens: 100,
            output_tokens: 300,
            cache_read_tokens: 70_000,
            cost_usd: 0.25,
        }),
        result: Some(AgentResult {
            is_error: true,
            text: "out of memory".into(),
        }),
        ..least_info()
    }
}

pub(crate) fn status_update() -> Sample<StatusUpdate> {
    let least = StatusUpdate {
        agent_id: agent(),
        update_type: UpdateType::Terminated,
        status: None,
        message: None,
        data: None,
        timestamp: TIME,
        server_id: "server-01".into(),
        epoch: "e1".into(),
        sequence: None,
        agent_sequence: None,
    };
    let data = MapWriter::new()
        .nil("exit_code")
        .int("exit_signal", 15)
        .str("end_reason", "stopped");
    let full = StatusUpdate {
        status: Some(AgentStatus::Terminated),
        message: Some("stopped".into()),
        data: Some(data.finish()),
        sequence: Some(12),
        agent_sequence: Some(3),
        ..least.clone()
    };
    Sample { full, least }
}

pub(crate) fn log_stream() -> LogStream {
    LogStream {
        agent_id: agent(),
        stream_type: Stream::Stderr,
        data: Bytes::from_static(b"\xff\x00line\n"),
        timestamp: TIME,
        sequence: 1,
        offset: 4096,
    }
}
