//! What lasts: output, events, waiting.

use std::fmt::Write as _;

use descartes_client::protocol::{AgentStatus, PauseRequest, Reply, Stream, UpdateType};
use descartes_client::{Connectivity, ReadFrom, StatusItem, ZmqAgentRunner};
use descartes_testkit::{CuttingProxy, LossyProxy, TestServer, shell, socket_endpoint, soon};

use crate::{client, config};

const LINES: usize = 300;

fn counting() -> String {
    format!("i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i+1)); sleep 0.005; done; exit 3")
}

fn counted() -> String {
    (0..LINES).fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "line {line}");
        all
    })
}

#[tokio::test]
async fn output_is_whole_across_cut_connections() {
    let server = TestServer::start().await;
    let proxy = CuttingProxy::start(&server.server.endpoint().unwrap()).await;
    let client = client(&proxy.endpoint);
    let agent = client.spawn_remote(shell(&counting()), None).await.unwrap();
    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    let (mut read, mut chunks) = (Vec::new(), 0);
    let reading = async {
        while let Some(chunk) = output.next().await.unwrap() {
            assert_eq!(chunk.lost_bytes, 0);
            assert_eq!(chunk.offset, read.len() as u64);
            read.extend_from_slice(&chunk.data);
            chunks += 1;
            if chunks % 5 == 1 {
                proxy.cut();
            }
        }
    };
    soon("all output", reading).await;
    assert_eq!(String::from_utf8(read).unwrap(), counted());
    assert!(proxy.connections() > 1, "no connection was cut");
    server.stop().await;
}

#[tokio::test]
async fn output_and_waiting_go_on_across_a_crash_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = socket_endpoint(dir.path());
    let mut server = TestServer::start_on_socket(dir).await;
    let client = descartes_client::ZmqClient::new(descartes_client::ZmqRunnerConfig {
        max_reconnect_attempts: 60,
        ..config(&endpoint)
    });
    let agent = client.spawn_remote(shell(&counting()), None).await.unwrap();
    let waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait(agent.id).await });
    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    let reading = tokio::spawn(async move {
        let mut read = Vec::new();
        while let Some(chunk) = output.next().await.unwrap() {
            read.extend_from_slice(&chunk.data);
        }
        read
    });
    for _ in 0..3 {
        let asker = server.client().await;
        let so_far = asker.info(agent.id).await.output.stdout_bytes;
        let more = |output: &[u8]| output.len() as u64 > so_far;
        asker.stdout_until(agent.id, more).await;
        server = TestServer::start_on_socket(server.crash().await).await;
    }
    let read = soon("all output", reading).await.unwrap();
    assert_eq!(String::from_utf8(read).unwrap(), counted());
    let info = soon("the end", waiting).await.unwrap().unwrap();
    assert_eq!(
        (info.status, info.exit_code),
        (AgentStatus::Failed, Some(3))
    );
    server.stop().await;
}

#[tokio::test]
async fn every_event_comes_once_and_a_restart_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = socket_endpoint(dir.path());
    let server = TestServer::start_on_socket(dir).await;
    let client = client(&endpoint);
    let first = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut updates = client.subscribe_status_updates(None).await.unwrap();
    let StatusItem::Agents { agents, gap: false } = updates.next().await.unwrap() else {
        panic!("the first item is no list");
    };
    assert_eq!(agents.len(), 1);
    let second = client.spawn_remote(shell("exit 4"), None).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 2 {
        match soon("an event", updates.next()).await.unwrap() {
            StatusItem::Update(update) => seen.push((update.agent_id, update.update_type)),
            StatusItem::Agents { .. } => panic!("events are gone"),
        }
    }
    assert_eq!(
        seen,
        [
            (second.id, UpdateType::StatusChanged),
            (second.id, UpdateType::Completed)
        ]
    );
    let server = TestServer::start_on_socket(server.crash().await).await;
    let item = soon("the list", updates.next()).await.unwrap();
    let StatusItem::Agents { agents, gap: true } = item else {
        panic!("{item:?}");
    };
    assert_eq!(agents.len(), 2);
    client.kill_agent(first.id).await.unwrap();
    let item = soon("an event", updates.next()).await.unwrap();
    assert!(
        matches!(&item, StatusItem::Update(update) if update.status == Some(AgentStatus::Terminated)),
        "{item:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn one_agents_events_leave_out_the_others_and_what_was_before() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let other = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut updates = client
        .subscribe_status_updates(Some(agent.id))
        .await
        .unwrap();
    let item = updates.next().await.unwrap();
    assert!(
        matches!(&item, StatusItem::Agents { agents, .. } if agents.len() == 1),
        "{item:?}"
    );
    client.kill_agent(other.id).await.unwrap();
    client.kill_agent(agent.id).await.unwrap();
    let item = soon("an event", updates.next()).await.unwrap();
    let StatusItem::Update(update) = item else {
        panic!("{item:?}");
    };
    assert_eq!(update.agent_id, agent.id);
    assert_eq!(update.update_type, UpdateType::Terminated);
    server.stop().await;
}

#[tokio::test]
async fn an_event_that_a_list_includes_beyond_its_number_does_not_come_again() {
    let server = TestServer::start().await;
    // A server reads the number first, and agents may be looked at long after, as those of a second page are.
    let early = |_, mut reply| {
        if let Reply::ListAgents(list) = &mut reply {
            list.sequence = 0;
        }
        Some(reply)
    };
    let proxy = LossyProxy::start_changing(&server.server.endpoint().unwrap(), early).await;
    let client = client(&proxy.endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let other = client.spawn_remote(shell("cat"), None).await.unwrap();
    for one in [None, Some(agent.id)] {
        let mut updates = client.subscribe_status_updates(one).await.unwrap();
        let item = soon("the list", updates.next()).await.unwrap();
        let StatusItem::Agents { agents, .. } = item else {
            panic!("{item:?}");
        };
        let listed = agents.iter().find(|info| info.id == agent.id).unwrap();
        assert!(listed.agent_sequence > 0);
        client.pause(agent.id, PauseRequest::Auto).await.unwrap();
        client.resume(agent.id).await.unwrap();
        for number in 1..=2 {
            let item = soon("an event", updates.next()).await.unwrap();
            let StatusItem::Update(update) = item else {
                panic!("{item:?}");
            };
            assert_eq!(update.agent_id, agent.id);
            let expected = listed.agent_sequence + number;
            assert_eq!(update.agent_sequence, Some(expected));
        }
    }
    client.kill_agent(agent.id).await.unwrap();
    client.kill_agent(other.id).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn waiting_ends_with_one_or_with_all() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let mut agents = Vec::new();
    for code in 0..20 {
        let script = format!("read -r line; exit {code}");
        agents.push(client.spawn_remote(shell(&script), None).await.unwrap().id);
    }
    let any = {
        let (client, agents) = (client.clone(), agents.clone());
        tokio::spawn(async move { client.wait_any(&agents).await })
    };
    client.write_agent_stdin(agents[13], b"go\n").await.unwrap();
    let ended = soon("one end", any).await.unwrap().unwrap().unwrap();
    assert_eq!((ended.id, ended.exit_code), (agents[13], Some(13)));
    let all = {
        let (client, agents) = (client.clone(), agents.clone());
        tokio::spawn(async move { client.wait_all(&agents).await })
    };
    for agent in agents.iter().filter(|agent| **agent != agents[13]) {
        client.write_agent_stdin(*agent, b"go\n").await.unwrap();
    }
    let ended = soon("all ends", all).await.unwrap().unwrap();
    let codes: Vec<_> = ended.iter().map(|info| info.exit_code).collect();
    assert_eq!(codes, (0..20).map(Some).collect::<Vec<_>>());
    assert_eq!(client.wait_any(&[]).await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn polls_that_nobody_waits_for_leave_room_for_requests() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    // More than a server lets one connection have under way.
    for _ in 0..1500 {
        let next = tokio::time::timeout(std::time::Duration::from_millis(1), output.next());
        assert!(next.await.is_err(), "a silent agent said something");
    }
    let info = soon("an answer", client.get_remote_agent(agent.id)).await;
    assert_eq!(info.unwrap().id, agent.id);
    client.kill_agent(agent.id).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn one_agent_that_is_not_known_does_not_hide_the_others() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let unknown = "01900000-0000-7000-8000-000000000000".parse().unwrap();
    let agent = client.spawn_remote(shell("exit 4"), None).await.unwrap();
    let mut ends = client.ends(&[unknown, agent.id]).await.unwrap();
    let error = soon("the refusal", ends.next()).await.unwrap_err();
    assert!(
        error.is(descartes_client::protocol::ErrorCode::AgentNotFound),
        "{error:?}"
    );
    let ended = soon("the end", ends.next()).await.unwrap().unwrap();
    assert_eq!((ended.id, ended.exit_code), (agent.id, Some(4)));
    assert_eq!(ends.next().await.unwrap(), None);
    server.stop().await;
}

#[tokio::test]
async fn what_was_given_up_while_there_was_no_server_is_not_sent_to_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = socket_endpoint(dir.path());
    let server = TestServer::start_on_socket(dir).await;
    let client = client(&endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    let held = tokio::spawn(async move { output.next().await });
    while server.server.stats().control_commands == 0 {
        tokio::task::yield_now().await;
    }
    let mut connection = client.connectivity();
    let dir = server.crash().await;
    let lost = connection.wait_for(|now| matches!(now, Connectivity::Lost { .. }));
    drop(soon("the loss", lost).await.unwrap());
    held.abort();
    assert!(soon("the abort", held).await.unwrap_err().is_cancelled());
    let server = TestServer::start_on_socket(dir).await;
    assert!(client.health_check().await.unwrap().healthy);
    // By now all that was to be sent again has been.
    assert!(client.health_check().await.unwrap().healthy);
    let stats = server.server.stats();
    assert_eq!((stats.errors, stats.control_commands), (0, 0));
    server.stop().await;
}
