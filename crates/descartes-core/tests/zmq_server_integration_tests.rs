//! The server as a client sees it, over real sockets and with real processes.
#![cfg(test)]

use std::time::Duration;

use descartes_core::protocol::{
    AgentStatus, Command, EndReason, ErrorCode, PauseRequest, Reply, SignalNumber, SignalScope,
    StdinPosition,
};
use descartes_core::{ZmqAgentServer, ZmqServerConfig};
use descartes_testkit::{Client, TestServer, processes_of, shell};

async fn start_test_server(endpoint: &str) -> TestServer {
    TestServer::start_with(|config| endpoint.clone_into(&mut config.endpoint)).await
}

#[test]
fn test_server_creation() {
    let config = ZmqServerConfig::default();
    let server = ZmqAgentServer::new(config);
    assert!(!server.is_running());
}

#[tokio::test]
async fn test_server_spawn_agent() {
    let server = start_test_server("tcp://127.0.0.1:0").await;
    let client = server.client().await;
    let agent = client.spawn("echo hello; exit 3").await;
    assert_eq!(agent.name, "test-agent");
    assert_eq!(agent.status, AgentStatus::Running);
    assert_eq!(client.stdout(agent.id).await, "hello\n");
    let ended = client.info(agent.id).await;
    assert_eq!(ended.status, AgentStatus::Failed);
    assert_eq!(ended.exit_code, Some(3));
    server.stop().await;
}

#[tokio::test]
async fn statistics_count_what_was_asked_and_active_agents_only_while_they_run() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("echo ready; read line").await;
    client.wait_ready(agent.id).await;
    let server = &test.server;
    assert_eq!(server.active_agent_count(), 1);
    assert!(server.uptime_secs().is_some());
    client.done(agent.id, &Command::CloseStdin).await;
    client.wait_end(agent.id).await;
    assert_eq!(server.active_agent_count(), 0);
    let mut unknown = shell("true");
    unknown.model_backend = "no-such-backend".to_owned();
    let refused = client.try_spawn(unknown).await;
    assert_eq!(refused.error_code, Some(ErrorCode::UnknownBackend));
    let stats = server.stats();
    assert_eq!(
        stats.spawn_requests,
        stats.successful_spawns + stats.failed_spawns
    );
    assert_eq!(stats.failed_spawns, 1);
    assert!(stats.control_commands > 0);
    test.stop().await;
}

#[tokio::test]
async fn a_stopped_server_answers_nobody_and_leaves_no_agent() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client
        .spawn("trap '' TERM; (setsid sleep 1000 &); echo ready; sleep 1000")
        .await;
    client.wait_ready(agent.id).await;
    let server = test.server.clone();
    let mut config = server.config().clone();
    assert!(!processes_of(agent.id).is_empty());
    // The second stop joins the first, the hurry cuts the grace time of an agent that ignores it.
    let (first, second, ()) = tokio::join!(server.stop(), server.stop(), async {
        tokio::task::yield_now().await;
        server.stop_now();
    });
    first.unwrap();
    second.unwrap();
    assert!(!server.is_running());
    assert_eq!(server.active_agent_count(), 0);
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    // The state folder is free again, and knows how the agent ended.
    let dir = test.stop_and_keep().await;
    config.endpoint = "tcp://127.0.0.1:0".to_owned();
    let again = TestServer::start_in(dir, config).await;
    let info = again.client().await.info(agent.id).await;
    assert_eq!(info.status, AgentStatus::Terminated);
    assert_eq!(
        info.end_reason.map(EndReason::as_str),
        Some("server_shutdown")
    );
    again.stop().await;
}

#[tokio::test]
async fn a_server_that_is_stopped_while_it_starts_does_not_serve() {
    let dir = tempfile::tempdir().unwrap();
    let server = ZmqAgentServer::new(descartes_testkit::config(dir.path()));
    let (started, stopped) = tokio::join!(Box::pin(server.start()), server.stop());
    started.unwrap();
    stopped.unwrap();
    assert!(!server.is_running());
}

#[tokio::test]
async fn a_paused_agent_says_so_and_goes_on_when_it_is_resumed() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client
        .spawn("echo ready; while read line; do echo got $line; done")
        .await;
    client.wait_ready(agent.id).await;
    let pause = Command::Pause {
        mode: PauseRequest::Auto,
    };
    let data = client.done(agent.id, &pause).await;
    assert_eq!(data.get("mode").unwrap().as_str(), Some("forced"));
    let paused = client.info(agent.id).await;
    assert_eq!(paused.status, AgentStatus::Paused);
    assert!(paused.paused_at.is_some());
    let again = client.command(agent.id, &pause).await;
    assert_eq!(again.error_code, Some(ErrorCode::InvalidState));
    client.done(agent.id, &Command::Resume).await;
    let refused = client.command(agent.id, &Command::Resume).await;
    assert_eq!(refused.error_code, Some(ErrorCode::InvalidState));
    client.done(agent.id, &write("one\n", true)).await;
    assert_eq!(client.stdout(agent.id).await, "ready\ngot one\n");
    assert_eq!(client.info(agent.id).await.status, AgentStatus::Completed);
    test.stop().await;
}

#[tokio::test]
async fn a_kill_escalates_a_stop_and_both_are_answered_when_nothing_is_left() {
    let test = TestServer::start().await;
    let (one, other) = (test.client().await, test.client().await);
    let agent = one
        .spawn("trap '' TERM; echo ready; while :; do sleep 1; done")
        .await;
    one.wait_ready(agent.id).await;
    let stop = Command::Stop {
        grace: Some(Duration::from_secs(1000)),
        wait: true,
    };
    let stopping = one.command(agent.id, &stop);
    let killing = async {
        // The stop is on its way on another connection: only its effect tells that it arrived.
        while other.info(agent.id).await.status == AgentStatus::Running {
            let kill = other.command(agent.id, &Command::Kill).await;
            if kill.success {
                return kill;
            }
        }
        panic!("the agent ended by itself");
    };
    let (stopped, killed) = tokio::join!(stopping, killing);
    assert!(killed.success);
    assert_eq!(killed.status, Some(AgentStatus::Terminated));
    // The stop that was overtaken ends with the same end, or finds the agent ended.
    assert!(stopped.success || stopped.error_code == Some(ErrorCode::InvalidState));
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    test.stop().await;
}

#[tokio::test]
async fn a_signal_reaches_the_tree_or_only_the_first_process() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let script = "trap 'echo leader' USR1
                  sh -c 'trap \"echo child\" USR1; echo ready; while :; do sleep 0.05; done' &
                  while :; do sleep 0.05; done";
    let agent = client.spawn(script).await;
    client.wait_ready(agent.id).await;
    let signal = |scope| Command::Signal {
        signal: SignalNumber::new(10).unwrap(),
        scope,
    };
    let data = client.done(agent.id, &signal(SignalScope::Tree)).await;
    assert_eq!(data.get("signal").unwrap().as_str(), Some("SIGUSR1"));
    let has = |output: &[u8], word: &str| String::from_utf8_lossy(output).contains(word);
    client
        .stdout_until(agent.id, |output| {
            has(output, "leader") && has(output, "child")
        })
        .await;
    client.done(agent.id, &Command::Kill).await;
    test.stop().await;
}

#[tokio::test]
async fn the_same_spawn_leads_to_the_same_agent_also_when_it_comes_many_times_at_once() {
    use descartes_core::protocol::{Request, SpawnRequest};
    let test = TestServer::start().await;
    let client = test.client().await;
    let request = |task: &str| {
        Request::Spawn(SpawnRequest {
            request_id: "the-one".to_owned(),
            config: shell(task),
            timeout_secs: None,
            metadata: None,
        })
    };
    for _ in 0..20 {
        client.send(request("sleep 1000").encode()).await;
    }
    let mut ids = Vec::new();
    for _ in 0..20 {
        let Reply::Spawn(response) = client.reply().await else {
            panic!("no spawn response");
        };
        ids.push(response.agent_info.unwrap().id);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(client.list().await.agents.len(), 1);
    let Reply::Spawn(other) = client.ask(request("sleep 1")).await else {
        panic!("no spawn response");
    };
    assert_eq!(other.error_code, Some(ErrorCode::RequestConflict));
    test.stop().await;
}

#[tokio::test]
async fn no_race_lets_in_one_agent_too_many() {
    let test = TestServer::start_with(|config| config.max_agents = 3).await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        clients.push(test.client().await);
    }
    let mut spawns = tokio::task::JoinSet::new();
    for client in clients {
        spawns.spawn(async move { client.try_spawn(shell("sleep 1000")).await });
    }
    let responses = spawns.join_all().await;
    let (started, refused): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response| response.success);
    assert_eq!(started.len(), 3);
    for response in refused {
        assert_eq!(response.error_code, Some(ErrorCode::MaxAgentsReached));
        assert!(
            response
                .error
                .unwrap()
                .starts_with("Maximum agent limit reached")
        );
    }
    test.stop().await;
}

#[tokio::test]
async fn an_agent_outlives_a_crash_of_its_server() {
    let test = TestServer::start().await;
    let mut config = test.server.config().clone();
    let client = test.client().await;
    let agent = client
        .spawn("echo ready; while read line; do echo got $line; done; exit 9")
        .await;
    client.wait_ready(agent.id).await;
    client.done(agent.id, &write("one\n", false)).await;
    client
        .done(
            agent.id,
            &Command::Pause {
                mode: PauseRequest::Forced,
            },
        )
        .await;
    let dir = test.crash().await;
    config.endpoint = "tcp://127.0.0.1:0".to_owned();
    let again = TestServer::start_in(dir, config).await;
    let client: Client = again.client().await;
    let adopted = client.info(agent.id).await;
    assert_eq!(
        (adopted.pid, adopted.status),
        (agent.pid, AgentStatus::Paused)
    );
    client.done(agent.id, &Command::Resume).await;
    client.done(agent.id, &write("two\n", true)).await;
    assert_eq!(client.stdout(agent.id).await, "ready\ngot one\ngot two\n");
    let ended = client.info(agent.id).await;
    assert_eq!(
        (ended.status, ended.exit_code),
        (AgentStatus::Failed, Some(9))
    );
    again.stop().await;
}

fn write(data: &str, close: bool) -> Command {
    Command::WriteStdin {
        data: bytes::Bytes::copy_from_slice(data.as_bytes()),
        close,
        position: StdinPosition::Next,
    }
}
