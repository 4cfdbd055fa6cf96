//! Requests that the server holds until there is something to answer.
#![cfg(test)]

use descartes_core::OnShutdown;
use descartes_core::protocol::{
    AgentId, AgentStatus, Command, EventsRequest, EventsResponse, Reply, Request, Stream,
};
use descartes_testkit::{Client, PATIENCE, TestServer, soon};

/// A server that holds requests for longer than any test waits.
async fn patient_server() -> TestServer {
    TestServer::start_with(|config| config.request_timeout_secs = 3 * PATIENCE.as_secs()).await
}

/// A request for what comes after all that there is now, held for as long as the server does.
async fn next_events(client: &Client) -> EventsRequest {
    let list = client.list().await;
    EventsRequest {
        request_id: "held".to_owned(),
        epoch: list.epoch,
        after_sequence: list.sequence,
        wait_ms: Some(u64::MAX),
        ..EventsRequest::default()
    }
}

/// Sends a request, and returns when the server has taken it and answers others.
async fn send_and_see_it_held(client: &Client, request: impl Into<Request>) {
    client.send(request.into().encode()).await;
    let reply = client.health().await;
    assert!(matches!(reply, Reply::HealthCheck(_)), "{reply:?}");
}

async fn events(client: &Client) -> EventsResponse {
    match client.reply().await {
        Reply::Events(response) => response,
        other => panic!("{other:?}"),
    }
}

fn statuses(response: &EventsResponse) -> Vec<(AgentId, Option<AgentStatus>)> {
    let events = response.events.iter();
    events.map(|event| (event.agent_id, event.status)).collect()
}

#[tokio::test]
async fn a_held_request_is_answered_by_the_next_event_of_its_agent_and_by_no_others() {
    let test = patient_server().await;
    let (client, other) = (test.client().await, test.client().await);
    let agent = client.spawn("sleep 1000").await;
    let bystander = client.spawn("sleep 1000").await;
    let wanted = EventsRequest {
        agent_id: Some(agent.id),
        ..next_events(&client).await
    };
    send_and_see_it_held(&client, wanted).await;
    other.done(bystander.id, &Command::Kill).await;
    let still_held = client.health().await;
    assert!(
        matches!(still_held, Reply::HealthCheck(_)),
        "{still_held:?}"
    );
    other.done(agent.id, &Command::Kill).await;
    let answer = events(&client).await;
    let killed = Some(AgentStatus::Terminated);
    assert_eq!(statuses(&answer), [(agent.id, killed)]);
    assert_eq!(answer.next_sequence, other.list().await.sequence);
    test.stop().await;
}

#[tokio::test]
async fn a_thousand_held_requests_of_one_client_are_answered_by_one_event() {
    let test = patient_server().await;
    let (client, other) = (test.client().await, test.client().await);
    let agent = client.spawn("sleep 1000").await;
    let every = next_events(&client).await;
    for number in 0..1000 {
        let wanted = EventsRequest {
            request_id: number.to_string(),
            agent_id: (number % 2 == 0).then_some(agent.id),
            ..every.clone()
        };
        client.send(Request::from(wanted).encode()).await;
    }
    // Held requests take no place that others need.
    client.health().await;
    other.done(agent.id, &Command::Kill).await;
    let mut answered: Vec<usize> = Vec::new();
    for _ in 0..1000 {
        let answer = events(&client).await;
        assert_eq!(answer.events.len(), 1);
        answered.push(answer.request_id.parse().unwrap());
    }
    answered.sort_unstable();
    assert_eq!(answered, (0..1000).collect::<Vec<_>>());
    test.stop().await;
}

#[tokio::test]
async fn when_the_time_is_over_the_answer_has_no_events_and_says_where_to_go_on() {
    // A wait is cut to half of this.
    let test = TestServer::start_with(|config| config.request_timeout_secs = 1).await;
    let client = test.client().await;
    let silent = client.spawn("sleep 1000").await;
    let now = next_events(&client).await;
    client.spawn("sleep 1000").await;
    let wanted = EventsRequest {
        agent_id: Some(silent.id),
        ..now.clone()
    };
    client.send(Request::from(wanted).encode()).await;
    let answer = events(&client).await;
    assert_eq!((answer.events.len(), answer.gap), (0, false));
    assert!(answer.next_sequence > now.after_sequence);
    test.stop().await;
}

#[tokio::test]
async fn what_can_be_answered_is_not_held() {
    let test = patient_server().await;
    let client = test.client().await;
    client.spawn("sleep 1000").await;
    let now = next_events(&client).await;
    let of_another_run = EventsRequest {
        epoch: "another".to_owned(),
        ..now.clone()
    };
    client.send(Request::from(of_another_run).encode()).await;
    let answer = events(&client).await;
    assert!(answer.gap);
    assert_eq!(answer.epoch, now.epoch);
    let of_the_past = EventsRequest {
        after_sequence: 0,
        ..now.clone()
    };
    client.send(Request::from(of_the_past).encode()).await;
    assert!(!events(&client).await.events.is_empty());
    let of_no_use = EventsRequest {
        limit: Some(0),
        ..now
    };
    client.send(Request::from(of_no_use).encode()).await;
    assert!(events(&client).await.events.is_empty());
    test.stop().await;
}

#[tokio::test]
async fn a_server_that_leaves_its_agents_answers_held_requests_first() {
    let test = TestServer::start_with(|config| {
        config.request_timeout_secs = 3 * PATIENCE.as_secs();
        config.on_shutdown = OnShutdown::Detach;
    })
    .await;
    let mut config = test.server.config().clone();
    let (follower, reader) = (test.client().await, test.client().await);
    let agent = follower.spawn("sleep 1000").await;
    let wanted = next_events(&follower).await;
    let sequence = wanted.after_sequence;
    send_and_see_it_held(&follower, wanted).await;
    let read = Command::Read {
        stream: Stream::Stdout,
        offset: Some(0),
        max_bytes: None,
        wait: PATIENCE,
        since: None,
        times: false,
    };
    let reading = reader.command(agent.id, &read);
    let stopping = async {
        // The read is on its way on another connection: what it asks for tells that it arrived.
        let arrived = async {
            while test.server.stats().control_commands == 0 {
                tokio::task::yield_now().await;
            }
        };
        soon("the read", arrived).await;
        test.stop_and_keep().await
    };
    let (read, answer, dir) = tokio::join!(reading, events(&follower), stopping);
    assert!(read.success, "{read:?}");
    assert_eq!((answer.events.len(), answer.next_sequence), (0, sequence));
    // Another server ends the agent.
    config.on_shutdown = OnShutdown::Stop;
    TestServer::start_in(dir, config).await.stop().await;
}
