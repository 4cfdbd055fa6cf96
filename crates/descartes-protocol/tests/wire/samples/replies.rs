//! The replies.

use descartes_protocol::{
    AgentStatus, BatchControlResponse, BatchResult, CommandResponse, ErrorCode, ErrorResponse,
    EventsResponse, HealthCheckResponse, ListAgentsResponse, MapWriter, OutputQueryResponse, Reply,
    SpawnResponse, StatsResponse,
};

use super::{Sample, agent, id, info, least_info, map, other, status_update};

const NOT_FOUND: &str = "Agent not found";

pub(crate) fn replies() -> Vec<Sample<Reply>> {
    vec![
        spawn(),
        command(),
        list_agents(),
        health(),
        stats(),
        batch(),
        output_query(),
        events(),
        error(),
    ]
}

fn sample(full: impl Into<Reply>, least: impl Into<Reply>) -> Sample<Reply> {
    Sample {
        full: full.into(),
        least: least.into(),
    }
}

fn spawn() -> Sample<Reply> {
    let least = SpawnResponse {
        request_id: id(),
        success: true,
        agent_info: None,
        error: None,
        server_id: None,
        error_code: None,
    };
    let full = SpawnResponse {
        agent_info: Some(info()),
        error: Some("none".into()),
        server_id: Some("server-01".into()),
        error_code: Some(ErrorCode::Internal),
        ..least.clone()
    };
    sample(full, least)
}

fn command() -> Sample<Reply> {
    let least = CommandResponse {
        request_id: id(),
        agent_id: agent(),
        success: false,
        status: None,
        data: None,
        error: None,
        error_code: None,
    };
    let full = CommandResponse {
        status: Some(AgentStatus::Running),
        data: Some(MapWriter::new().uint("bytes_written", 0).finish()),
        error: Some(NOT_FOUND.into()),
        error_code: Some(ErrorCode::AgentNotFound),
        ..least.clone()
    };
    sample(full, least)
}

fn list_agents() -> Sample<Reply> {
    let least = ListAgentsResponse {
        request_id: id(),
        success: true,
        agents: vec![info(), least_info()],
        error: None,
        error_code: None,
        has_more: true,
        epoch: "e1".into(),
        sequence: 70_000,
    };
    let full = ListAgentsResponse {
        error: Some(NOT_FOUND.into()),
        error_code: Some(ErrorCode::AgentNotFound),
        ..least.clone()
    };
    sample(full, least)
}

fn health() -> Sample<Reply> {
    let least = HealthCheckResponse {
        request_id: id(),
        healthy: true,
        protocol_version: "1.0.0".into(),
        uptime_secs: None,
        active_agents: None,
        metadata: None,
    };
    let full = HealthCheckResponse {
        uptime_secs: Some(86_400),
        active_agents: Some(3),
        metadata: Some(map("host", "a")),
        ..least.clone()
    };
    sample(full, least)
}

fn stats() -> Sample<Reply> {
    let time = MapWriter::new()
        .uint("secs_since_epoch", 1_700_000_000)
        .uint("nanos_since_epoch", 5);
    let stats = MapWriter::new()
        .uint("errors", 0)
        .raw("started_at", &time.finish());
    let reply = StatsResponse {
        request_id: id(),
        stats: stats.finish(),
    };
    sample(reply.clone(), reply)
}

fn batch() -> Sample<Reply> {
    let done = BatchResult {
        agent_id: agent(),
        success: true,
        status: Some(AgentStatus::Terminated),
        error: None,
        error_code: None,
    };
    let failed = BatchResult {
        agent_id: other(),
        success: false,
        status: Some(AgentStatus::Idle),
        error: Some(NOT_FOUND.into()),
        error_code: Some(ErrorCode::AgentNotFound),
    };
    let reply = BatchControlResponse {
        request_id: id(),
        success: false,
        results: vec![done, failed],
        successful: 1,
        failed: 1,
    };
    sample(reply.clone(), reply)
}

fn output_query() -> Sample<Reply> {
    let least = OutputQueryResponse {
        request_id: id(),
        agent_id: agent(),
        success: true,
        lines: vec!["error: a".into(), String::new()],
        total_lines: None,
        has_more: false,
        error: None,
        error_code: None,
        next_offset: None,
        lost_bytes: None,
    };
    let full = OutputQueryResponse {
        total_lines: Some(22),
        error: Some(NOT_FOUND.into()),
        error_code: Some(ErrorCode::AgentNotFound),
        next_offset: Some(4000),
        lost_bytes: Some(100),
        ..least.clone()
    };
    sample(full, least)
}

fn events() -> Sample<Reply> {
    let events = vec![status_update().full];
    let reply = EventsResponse {
        request_id: id(),
        epoch: "e1".into(),
        events,
        next_sequence: 12,
        gap: false,
    };
    sample(reply.clone(), reply)
}

fn error() -> Sample<Reply> {
    let least = ErrorResponse {
        request_id: None,
        error: "missing".into(),
        error_code: ErrorCode::MalformedMessage,
    };
    let full = ErrorResponse {
        request_id: Some(id()),
        ..least.clone()
    };
    sample(full, least)
}
