//! What is asked, and answered.

use descartes_client::protocol::{
    AgentStatus, Command, EndReason, ErrorCode, PauseMode, PauseRequest, Raw, SignalScope,
};
use descartes_client::{OutputQuery, ZmqAgentRunner};
use descartes_testkit::{TestServer, shell, soon};

use crate::{SHORT, client};

#[tokio::test]
async fn an_agent_is_started_held_fed_read_and_stopped() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let config = shell("echo hello >&2; while read -r line; do echo \"got $line\"; done");
    let agent = client.spawn_remote(config, Some(30)).await.unwrap();
    assert_eq!(agent.name, "test-agent");
    assert!(client.is_connected());

    let listed = client.list_remote_agents(None, None).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, agent.id);
    let mode = client
        .pause_agent(agent.id, PauseRequest::Auto)
        .await
        .unwrap();
    assert_eq!(mode, PauseMode::Forced);
    assert_eq!(
        client.get_agent_status(agent.id).await.unwrap(),
        AgentStatus::Paused
    );
    client.resume_agent(agent.id).await.unwrap();
    client.write_agent_stdin(agent.id, b"this\n").await.unwrap();
    let mut output = client.output(
        agent.id,
        descartes_client::protocol::Stream::Stdout,
        descartes_client::ReadFrom::Offset(0),
    );
    let chunk = soon("output", output.next()).await.unwrap().unwrap();
    assert_eq!(&chunk.data[..], b"got this\n");
    let errors = client.read_agent_stderr(agent.id, 0).await.unwrap();
    assert_eq!(&errors.data[..], b"hello\n");

    let ended = client.stop(agent.id, Some(SHORT)).await.unwrap();
    assert_eq!(ended.end_reason, Some(EndReason::Stopped));
    let info = client.get_remote_agent(agent.id).await.unwrap();
    assert_eq!(info.status, AgentStatus::Terminated);
    assert!(soon("the end", output.next()).await.unwrap().is_none());
    client.disconnect().await;
    server.stop().await;
}

#[tokio::test]
async fn a_refusal_has_its_code_and_the_servers_words() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let mut config = shell("true");
    config.model_backend = "clade".to_owned();
    let refused = client.spawn_remote(config, None).await.unwrap_err();
    assert!(refused.is(ErrorCode::UnknownBackend), "{refused:?}");
    assert!(refused.to_string().contains("clade"), "{refused}");

    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let refused = client.resume_agent(agent.id).await.unwrap_err();
    assert!(refused.is(ErrorCode::InvalidState), "{refused:?}");
    client.kill_agent(agent.id).await.unwrap();
    let refused = client.kill_agent(agent.id).await.unwrap_err();
    assert!(refused.is(ErrorCode::InvalidState), "{refused:?}");
    let unknown = "01900000-0000-7000-8000-000000000000".parse().unwrap();
    let refused = client.get_remote_agent(unknown).await.unwrap_err();
    assert!(refused.is(ErrorCode::AgentNotFound), "{refused:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_batch_tells_what_became_of_each() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let first = client.spawn_remote(shell("cat"), None).await.unwrap();
    let second = client.spawn_remote(shell("cat"), None).await.unwrap();
    client.kill_agent(first.id).await.unwrap();
    let batch = client
        .batch(vec![first.id, second.id], &Command::Kill, false)
        .await
        .unwrap();
    assert!(!batch.success);
    assert_eq!((batch.successful, batch.failed), (1, 1));
    assert_eq!(batch.results[0].error_code, Some(ErrorCode::InvalidState));
    assert!(batch.results[1].success);
    server.stop().await;
}

#[tokio::test]
async fn output_is_searched_and_actions_and_signals_are_passed_on() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let script = "trap 'echo usr1' USR1; echo one; echo two; echo three; echo ready; while :; do sleep 0.01; done";
    let agent = client.spawn_remote(shell(script), None).await.unwrap();
    server.client().await.wait_ready(agent.id).await;
    let query = OutputQuery {
        filter: Some("^t".to_owned()),
        limit: Some(1),
        ..OutputQuery::default()
    };
    let found = client.query_output(agent.id, &query).await.unwrap();
    assert_eq!(found.lines, ["two"]);
    assert_eq!((found.total_lines, found.has_more), (Some(2), true));
    let last = OutputQuery {
        tail: true,
        count: false,
        ..query.clone()
    };
    let found = client.query_output(agent.id, &last).await.unwrap();
    assert_eq!(found.lines, ["three"]);
    assert!(found.has_more);
    let bad = OutputQuery {
        filter: Some("(".to_owned()),
        ..OutputQuery::default()
    };
    let refused = client.query_output(agent.id, &bad).await.unwrap_err();
    assert!(refused.is(ErrorCode::MalformedMessage), "{refused:?}");

    let pong = client.custom_action(agent.id, "ping", None).await.unwrap();
    assert_eq!(pong.as_str(), Some("pong"));
    let echoed = client
        .custom_action(agent.id, "echo", Some(Raw::nil()))
        .await
        .unwrap();
    assert!(echoed.is_nil());
    client
        .signal(agent.id, "USR1".parse().unwrap(), SignalScope::Leader)
        .await
        .unwrap();
    let caught = |output: &[u8]| output.ends_with(b"usr1\n");
    server.client().await.stdout_until(agent.id, caught).await;
    client.kill_agent(agent.id).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn health_and_counters_are_the_servers() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    client.spawn_remote(shell("cat"), None).await.unwrap();
    let health = client.health_check().await.unwrap();
    assert!(health.healthy);
    assert_eq!(health.active_agents, 1);
    assert_eq!(health.metadata["server_id"], "test-server");
    let stats = client.stats().await.unwrap();
    assert_eq!(stats["successful_spawns"].as_u64(), Some(1));
    server.stop().await;
}

#[tokio::test]
async fn thousands_of_requests_share_one_connection() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3000 {
        let client = client.clone();
        tasks.spawn(async move { client.health_check().await.map(|health| health.healthy) });
    }
    let answers = soon("all answers", tasks.join_all()).await;
    assert!(answers.iter().all(|answer| *answer == Ok(true)));
    server.stop().await;
}

#[tokio::test]
async fn a_stop_outlasts_the_servers_time_for_a_request() {
    let server = TestServer::start_with(|config| {
        config.request_timeout_secs = 1;
        config.runner_config.stop_grace_secs = 3;
    })
    .await;
    let client = client(&server.server.endpoint().unwrap());
    let script = "trap '' TERM; echo ready; while :; do sleep 0.01; done";
    let agent = client.spawn_remote(shell(script), None).await.unwrap();
    server.client().await.wait_ready(agent.id).await;
    let ended = client.stop_agent(agent.id).await.unwrap();
    assert_eq!(ended.exit_signal, Some(9));
    let absurd = client.stop(agent.id, Some(std::time::Duration::MAX)).await;
    assert!(absurd.is_err(), "{absurd:?}");
    server.stop().await;
}
