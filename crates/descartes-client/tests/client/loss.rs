//! Replies that do not come.

use std::collections::BTreeSet;

use descartes_client::protocol::{
    AgentStatus, EndReason, PauseRequest, Reply, SignalScope, Stream,
};
use descartes_client::{ClientError, ReadFrom, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};
use descartes_testkit::{LossyProxy, TestServer, shell, soon};

use crate::{SHORT, config, impatient_client};

const AGENTS: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn with_every_third_reply_lost_each_agent_starts_once_and_gets_each_byte_once() {
    let server = TestServer::start_with(|config| config.max_agents = 2 * AGENTS).await;
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), |number, _| {
        number % 3 == 0
    })
    .await;
    let client = impatient_client(&proxy.endpoint);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..AGENTS {
        let client = client.clone();
        tasks.spawn(async move { feed(&client, number).await });
    }
    let agents: BTreeSet<_> = soon("all agents", tasks.join_all())
        .await
        .into_iter()
        .collect();
    assert_eq!(agents.len(), AGENTS);
    let listed = server.client().await.list().await.agents;
    assert_eq!(listed.len(), AGENTS, "an agent was started twice");
    assert!(
        listed
            .iter()
            .all(|info| info.status == AgentStatus::Completed)
    );
    server.stop().await;
}

/// Starts an agent that prints its input, writes to it in several pieces, and compares.
#[expect(clippy::unwrap_used, reason = "a part of a test")]
async fn feed(client: &ZmqClient, number: usize) -> descartes_client::protocol::AgentId {
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut stdin = client.stdin(agent.id);
    let mut written = Vec::new();
    for part in 0..5 {
        let line = format!("agent {number} part {part}\n");
        stdin.write_all(line.as_bytes()).await.unwrap();
        written.extend_from_slice(line.as_bytes());
    }
    stdin.close().await.unwrap();
    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    let mut read = Vec::new();
    while let Some(chunk) = output.next().await.unwrap() {
        read.extend_from_slice(&chunk.data);
    }
    assert_eq!(read, written, "agent {number}");
    agent.id
}

#[tokio::test]
async fn two_writers_of_one_agent_lose_nothing_to_each_other() {
    let server = TestServer::start().await;
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), |number, _| {
        number % 3 == 0
    })
    .await;
    let client = impatient_client(&proxy.endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let lines = |writer: &'static str| (0..20).map(move |line| format!("{writer} {line}\n"));
    let write = |writer: &'static str| {
        let mut stdin = client.stdin(agent.id);
        async move {
            for line in lines(writer) {
                stdin.write_all(line.as_bytes()).await.unwrap();
            }
        }
    };
    soon("both writers", async {
        tokio::join!(write("one"), write("other"))
    })
    .await;
    client.close_stdin(agent.id).await.unwrap();
    let read = server.client().await.stdout(agent.id).await;
    for writer in ["one", "other"] {
        let own: Vec<String> = read
            .lines()
            .filter(|line| line.starts_with(&format!("{writer} ")))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_eq!(own, lines(writer).collect::<Vec<_>>());
    }
    server.stop().await;
}

#[tokio::test]
async fn what_was_done_is_not_refused_when_its_reply_was_lost() {
    let server = TestServer::start().await;
    // The first reply to each kind of command is lost.
    let seen = std::sync::Mutex::new(BTreeSet::new());
    let is_lost = move |_, reply: &Reply| match reply {
        Reply::Command(reply) => {
            let done = reply.success.then(|| format!("{:?}", reply.status));
            done.is_some_and(|done| seen.lock().unwrap().insert(done))
        }
        _ => false,
    };
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), is_lost).await;
    let client = impatient_client(&proxy.endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    client.pause(agent.id, PauseRequest::Auto).await.unwrap();
    client.resume(agent.id).await.unwrap();
    let ended = client.stop(agent.id, Some(SHORT)).await.unwrap();
    assert_eq!(ended.end_reason, Some(EndReason::Stopped));
    for command in ["pause", "resume", "stop"] {
        assert!(
            proxy.times_sent(command) > 1,
            "the reply to {command} was not lost"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_signal_is_sent_once_and_its_outcome_is_unknown() {
    let server = TestServer::start().await;
    let is_lost = |_, reply: &Reply| matches!(reply, Reply::Command(_));
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), is_lost).await;
    let client = impatient_client(&proxy.endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let signal = client.signal(agent.id, "USR2".parse().unwrap(), SignalScope::Tree);
    let error = signal.await.unwrap_err();
    assert!(
        matches!(error, ClientError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    assert_eq!(proxy.times_sent("signal"), 1);
    server.stop().await;
}

#[tokio::test]
async fn silence_is_a_timeout_for_a_question_and_an_unknown_outcome_for_a_deed() {
    let server = TestServer::start().await;
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), |_, _| true).await;
    let client = ZmqClient::new(ZmqRunnerConfig {
        request_timeout_secs: 1,
        max_request_attempts: 2,
        ..config(&proxy.endpoint)
    });
    let error = client.health_check().await.unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    let error = client.spawn_remote(shell("cat"), None).await.unwrap_err();
    assert!(
        matches!(error, ClientError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_writer_whose_write_was_lost_writes_nothing_more() {
    let server = TestServer::start().await;
    let is_lost = |_, reply: &Reply| matches!(reply, Reply::Command(_));
    let proxy = LossyProxy::start(&server.server.endpoint().unwrap(), is_lost).await;
    let client = ZmqClient::new(ZmqRunnerConfig {
        request_timeout_secs: 1,
        max_request_attempts: 1,
        ..config(&proxy.endpoint)
    });
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut stdin = client.stdin(agent.id);
    let error = stdin.write_all(b"one\n").await.unwrap_err();
    assert!(
        matches!(error, ClientError::OutcomeUnknown { .. }),
        "{error:?}"
    );
    let error = stdin.write_all(b"two\n").await.unwrap_err();
    assert_eq!(error, ClientError::WriterLost);
    server.stop().await;
}
