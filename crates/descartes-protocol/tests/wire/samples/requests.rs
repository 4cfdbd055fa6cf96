//! The requests.

use bytes::Bytes;
use descartes_protocol::{
    AgentStatus, BatchControlCommand, ControlCommand, CustomActionRequest, EventsRequest,
    HealthCheckRequest, ListAgentsRequest, MapWriter, OutputQueryRequest, Raw, Request,
    SpawnRequest, StatsRequest, StreamSelection,
};

use super::{Sample, agent, config, id, least_config, map, other};

pub(crate) fn requests() -> Vec<Sample<Request>> {
    let health = HealthCheckRequest { request_id: id() };
    let stats = StatsRequest { request_id: id() };
    vec![
        spawn(),
        control(),
        list_agents(),
        sample(health.clone(), health),
        sample(stats.clone(), stats),
        custom_action(),
        batch_control(),
        output_query(),
        events(),
    ]
}

fn sample(full: impl Into<Request>, least: impl Into<Request>) -> Sample<Request> {
    Sample {
        full: full.into(),
        least: least.into(),
    }
}

fn spawn() -> Sample<Request> {
    let least = SpawnRequest {
        request_id: id(),
        config: least_config(),
        ..SpawnRequest::default()
    };
    let full = SpawnRequest {
        config: config(),
        timeout_secs: Some(30),
        metadata: Some(map("ticket", "42")),
        ..least.clone()
    };
    sample(full, least)
}

fn control() -> Sample<Request> {
    let least = ControlCommand {
        request_id: id(),
        agent_id: agent(),
        command_type: "stop".into(),
        payload: None,
    };
    let payload = MapWriter::new().float("grace_secs", 1.5).finish();
    let full = ControlCommand {
        payload: Some(payload),
        ..least.clone()
    };
    sample(full, least)
}

fn list_agents() -> Sample<Request> {
    let least = ListAgentsRequest {
        request_id: id(),
        ..ListAgentsRequest::default()
    };
    let full = ListAgentsRequest {
        filter_status: Some(AgentStatus::Thinking),
        limit: Some(300),
        after: Some(agent()),
        include_finished: Some(false),
        ..least.clone()
    };
    sample(full, least)
}

fn custom_action() -> Sample<Request> {
    let least = CustomActionRequest {
        request_id: id(),
        agent_id: agent(),
        action: "echo".into(),
        params: None,
        timeout_secs: None,
    };
    let params = Raw::from_encoded(Bytes::from_static(b"\x93\x01\xc0\xa1x")).expect("an array");
    let full = CustomActionRequest {
        params: Some(params),
        timeout_secs: Some(5),
        ..least.clone()
    };
    sample(full, least)
}

fn batch_control() -> Sample<Request> {
    let least = BatchControlCommand {
        request_id: id(),
        agent_ids: vec![agent(), other()],
        command_type: "kill".into(),
        payload: None,
        fail_fast: true,
    };
    let full = BatchControlCommand {
        payload: Some(MapWriter::new().finish()),
        ..least.clone()
    };
    sample(full, least)
}

fn output_query() -> Sample<Request> {
    let least = OutputQueryRequest {
        request_id: id(),
        agent_id: agent(),
        stream: StreamSelection::Both,
        filter: None,
        limit: None,
        offset: None,
        tail: None,
        count: None,
        from_offset: None,
    };
    let full = OutputQueryRequest {
        filter: Some("^error".into()),
        limit: Some(10),
        offset: Some(20),
        tail: Some(true),
        count: Some(false),
        from_offset: Some(30),
        ..least.clone()
    };
    sample(full, least)
}

fn events() -> Sample<Request> {
    let least = EventsRequest {
        request_id: id(),
        epoch: "e1".into(),
        after_sequence: 11,
        ..EventsRequest::default()
    };
    let full = EventsRequest {
        limit: Some(100),
        agent_id: Some(agent()),
        wait_ms: Some(5000),
        ..least.clone()
    };
    sample(full, least)
}
