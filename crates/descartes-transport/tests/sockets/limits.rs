//! What one peer can do to the server, and to everybody else: nothing.

use std::time::{Duration, Instant};

use bytes::Bytes;
use descartes_transport::{
    Client, ConnectionState, EventSocket, Limits, ReplyError, RequestSocket, ServerSecurity,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::support::{
    StubbornPeer, eventually, exchange, loopback, next, requester, server, server_with, soon,
    subscriber, until, until_closed, until_connected, until_wanted,
};

#[tokio::test]
async fn a_message_above_the_limit_ends_its_own_connection_only() {
    let server = server().await;
    let (bystander, offender) = (
        requester(server.local_endpoint()).await,
        requester(server.local_endpoint()).await,
    );
    exchange(&server, &bystander).await;
    until_connected(offender.connection()).await;
    offender.send(Bytes::from(vec![0; 17 << 20])).await.unwrap();
    until(offender.connection(), |state| {
        matches!(state, ConnectionState::Failing { .. })
    })
    .await;
    exchange(&server, &bystander).await;
    assert_eq!(bystander.connection().state(), ConnectionState::Connected);
    assert!(server.try_recv().unwrap().is_none());
}

#[tokio::test]
async fn a_message_just_below_the_limit_arrives_whole() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    let body = Bytes::from(vec![7; (16 << 20) - 1024]);
    client.send(body.clone()).await.unwrap();
    let inbound = next(&server).await;
    assert_eq!(inbound.body.unwrap(), body);
    server.reply(&inbound.client, body.clone()).unwrap();
    assert_eq!(soon(client.recv()).await.unwrap(), body);
}

#[tokio::test]
async fn two_thousand_silent_connections_lock_nobody_out() {
    raise_descriptor_limit(8192);
    // None of them gives up before the test does.
    let limits = Limits {
        handshake_timeout: Duration::from_mins(1),
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let port = server.local_endpoint().port().unwrap();
    let mut silent = Vec::new();
    for _ in 0..2000 {
        silent.push(soon(TcpStream::connect(("127.0.0.1", port))).await.unwrap());
    }
    let client = requester(server.local_endpoint()).await;
    exchange(&server, &client).await;
    exchange(&server, &client).await;
    drop(silent);
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_closed_after_the_handshake_timeout() {
    let limits = Limits {
        handshake_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let mut silent = TcpStream::connect(("127.0.0.1", server.local_endpoint().port().unwrap()))
        .await
        .unwrap();
    until_closed(&mut silent).await;
}

#[tokio::test]
async fn garbage_ends_its_own_connection_only() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    exchange(&server, &client).await;
    let port = server.local_endpoint().port().unwrap();
    for seed in 1..=50_u64 {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // Every other one gets past the greeting first.
        let mut bytes = if seed % 2 == 0 {
            crate::support::greeting(b"NULL").to_vec()
        } else {
            Vec::new()
        };
        bytes.extend(noise(seed, 4096));
        // The server may hang up before it has read everything.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        until_closed(&mut stream).await;
    }
    exchange(&server, &client).await;
    assert!(server.try_recv().unwrap().is_none());
}

#[tokio::test]
async fn what_waits_for_a_client_that_does_not_read_is_bounded_in_bytes() {
    let limits = Limits {
        reply_backlog_bytes: 8 << 20,
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let mut stalled = StubbornPeer::dealer(server.local_endpoint()).await;
    stalled.send("question").await;
    let inbound = next(&server).await;
    let taken = fill(&server, &inbound.client, 1 << 20).await;
    // What the kernel holds for the connection comes on top: tcp_wmem and tcp_rmem, some MiB each.
    assert!((8..=24).contains(&taken), "{taken} MiB were taken");

    let client = requester(server.local_endpoint()).await;
    exchange(&server, &client).await;
    drop(stalled);
    eventually(|| server.reply(&inbound.client, Bytes::from("late")) == Err(ReplyError::Gone))
        .await;
}

#[tokio::test]
async fn what_waits_for_a_client_that_does_not_read_is_bounded_in_number() {
    let limits = Limits {
        send_hwm: 100,
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let mut stalled = StubbornPeer::dealer(server.local_endpoint()).await;
    stalled.send("question").await;
    let inbound = next(&server).await;
    let taken = fill(&server, &inbound.client, 4096).await;
    assert!(
        taken >= 100 && taken * 4096 < 24 << 20,
        "{taken} replies were taken"
    );
}

#[tokio::test]
async fn closing_waits_no_longer_than_the_linger_for_a_client_that_does_not_read() {
    let limits = Limits {
        linger: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let mut stalled = StubbornPeer::dealer(server.local_endpoint()).await;
    stalled.send("question").await;
    let inbound = next(&server).await;
    fill(&server, &inbound.client, 1 << 20).await;
    let started = Instant::now();
    soon(server.close()).await;
    assert!(started.elapsed() >= limits.linger);
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "took {:?}",
        started.elapsed()
    );
    RequestSocket::bind(server.local_endpoint(), ServerSecurity::Null, &limits)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_that_reads_again_is_served_again() {
    let limits = Limits {
        reply_backlog_bytes: 4 << 20,
        ..Limits::default()
    };
    let server = server_with(&limits).await;
    let client = requester(server.local_endpoint()).await;
    client.send(Bytes::from("question")).await.unwrap();
    let inbound = next(&server).await;
    let reply = Bytes::from(vec![0; 1 << 20]);
    let mut taken = 0;
    // Nothing runs in between, so nothing can be written.
    while server.reply(&inbound.client, reply.clone()).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 4);
    for _ in 0..taken {
        assert_eq!(soon(client.recv()).await.unwrap(), reply);
    }
    eventually(|| server.reply(&inbound.client, reply.clone()).is_ok()).await;
}

#[tokio::test]
async fn a_subscriber_with_too_many_subscriptions_is_disconnected() {
    let limits = Limits {
        max_subscriptions: 10,
        ..Limits::default()
    };
    let server = EventSocket::bind(&loopback(), ServerSecurity::Null, &limits)
        .await
        .unwrap();
    let bystander = subscriber(server.local_endpoint(), "status/").await;
    let greedy = subscriber(server.local_endpoint(), "0").await;
    until_connected(greedy.connection()).await;
    for number in 1..=10 {
        greedy.subscribe(&number.to_string()).await.unwrap();
    }
    until(greedy.connection(), |state| {
        matches!(state, ConnectionState::Failing { .. })
    })
    .await;
    until_wanted(&mut server.interest(), "status/1", true).await;
    server.publish("status/1", Bytes::from("running"));
    assert_eq!(soon(bystander.recv()).await.unwrap().1, "running");
    assert_eq!(bystander.connection().state(), ConnectionState::Connected);
}

/// Replies until the client's share is used up; returns how many were taken.
async fn fill(server: &RequestSocket, client: &Client, size: usize) -> usize {
    let reply = Bytes::from(vec![0; size]);
    let mut taken = 0;
    let mut refused_in_a_row = 0;
    // Refused for this long, the connection's own buffers are full as well.
    while refused_in_a_row < 100 {
        match server.reply(client, reply.clone()) {
            Ok(()) => {
                (taken, refused_in_a_row) = (taken + 1, 0);
                assert!(taken < 100_000, "nothing is ever refused");
            }
            Err(error) => {
                assert_eq!(error, ReplyError::Full);
                refused_in_a_row += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    taken
}

/// Bytes without a pattern (xorshift).
fn noise(mut seed: u64, length: usize) -> Vec<u8> {
    let byte = |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[3]
    };
    (0..length).map(byte).collect()
}

fn raise_descriptor_limit(wanted: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        )
        .unwrap();
    }
}
