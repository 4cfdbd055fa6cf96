//! Requests and replies, in every shape that clients and proxies give them.

use bytes::Bytes;
use descartes_transport::{
    ConnectionState, Endpoint, FrameError, Limits, ReplyError, RequestSocket, ServerSecurity,
};
use omq_tokio::{Options, Socket, SocketType};
use tokio::io::AsyncReadExt;

use crate::support::{
    answer, eventually, exchange, frames, loopback, message, next, raw, requester, server, soon,
    until, until_connected,
};

#[tokio::test]
async fn a_req_client_gets_its_reply() {
    let server = server().await;
    let client = raw(SocketType::Req, server.local_endpoint()).await;
    for _ in 0..3 {
        client.send(message(&["question"])).await.unwrap();
        assert_eq!(answer(&server, "answer").await, "question");
        assert_eq!(frames(&soon(client.recv()).await.unwrap()), ["answer"]);
    }
}

#[tokio::test]
async fn a_dealer_is_answered_in_the_shape_it_asked_in() {
    let server = server().await;
    let client = raw(SocketType::Dealer, server.local_endpoint()).await;
    client.send(message(&["bare"])).await.unwrap();
    assert_eq!(answer(&server, "answer").await, "bare");
    assert_eq!(frames(&soon(client.recv()).await.unwrap()), ["answer"]);
    client.send(message(&["", "delimited"])).await.unwrap();
    assert_eq!(answer(&server, "answer").await, "delimited");
    assert_eq!(frames(&soon(client.recv()).await.unwrap()), ["", "answer"]);
}

#[tokio::test]
async fn a_request_through_two_proxies_finds_its_way_back() {
    let server = server().await;
    let inner = proxy(server.local_endpoint()).await;
    let outer = proxy(&inner).await;
    let client = raw(SocketType::Req, &outer).await;
    client.send(message(&["question"])).await.unwrap();
    assert_eq!(answer(&server, "answer").await, "question");
    assert_eq!(frames(&soon(client.recv()).await.unwrap()), ["answer"]);
}

#[tokio::test]
async fn a_request_with_extra_frames_can_still_be_answered() {
    let server = server().await;
    let client = raw(SocketType::Dealer, server.local_endpoint()).await;
    client.send(message(&["", "one", "two"])).await.unwrap();
    let inbound = next(&server).await;
    assert_eq!(inbound.body, Err(FrameError::BodyFrames { frames: 2 }));
    server
        .reply(&inbound.client, Bytes::from("malformed"))
        .unwrap();
    assert_eq!(
        frames(&soon(client.recv()).await.unwrap()),
        ["", "malformed"]
    );
}

#[tokio::test]
async fn replies_may_come_in_any_order_and_more_than_once() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    client.send(Bytes::from("first")).await.unwrap();
    client.send(Bytes::from("second")).await.unwrap();
    let (first, second) = (next(&server).await, next(&server).await);
    assert_eq!(first.client.connection_id(), second.client.connection_id());
    for (request, reply) in [
        (&second, "to second"),
        (&first, "to first"),
        (&first, "again"),
    ] {
        server.reply(&request.client, Bytes::from(reply)).unwrap();
        assert_eq!(soon(client.recv()).await.unwrap(), reply);
    }
}

#[tokio::test]
async fn clients_are_told_apart_and_have_an_address_but_no_key() {
    let server = server().await;
    let (one, other) = (
        requester(server.local_endpoint()).await,
        requester(server.local_endpoint()).await,
    );
    one.send(Bytes::from("one")).await.unwrap();
    let from_one = next(&server).await.client;
    other.send(Bytes::from("other")).await.unwrap();
    let from_other = next(&server).await.client;
    assert_ne!(from_one.connection_id(), from_other.connection_id());
    assert!(from_one.address().unwrap().starts_with("127.0.0.1:"));
    assert_eq!(from_one.public_key(), None);
    server.reply(&from_other, Bytes::from("to other")).unwrap();
    server.reply(&from_one, Bytes::from("to one")).unwrap();
    assert_eq!(soon(one.recv()).await.unwrap(), "to one");
    assert_eq!(soon(other.recv()).await.unwrap(), "to other");
}

#[tokio::test]
async fn a_reply_to_a_client_that_has_left_is_refused() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    client.send(Bytes::from("question")).await.unwrap();
    let inbound = next(&server).await;
    client.close().await;
    eventually(|| server.reply(&inbound.client, Bytes::from("late")) == Err(ReplyError::Gone))
        .await;
}

#[tokio::test]
async fn nothing_is_received_when_nothing_was_sent() {
    let server = server().await;
    assert!(server.try_recv().unwrap().is_none());
    let client = requester(server.local_endpoint()).await;
    client.send(Bytes::from("question")).await.unwrap();
    let mut received = None;
    eventually(|| {
        received = server.try_recv().unwrap();
        received.is_some()
    })
    .await;
    assert_eq!(received.unwrap().body.unwrap(), "question");
}

#[tokio::test]
async fn replies_that_are_queued_when_the_server_closes_still_arrive() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    client.send(Bytes::from("question")).await.unwrap();
    let inbound = next(&server).await;
    let reply = Bytes::from(vec![7; 1 << 20]);
    for _ in 0..8 {
        server.reply(&inbound.client, reply.clone()).unwrap();
    }
    let (replies, ()) = tokio::join!(
        async {
            for _ in 0..8 {
                assert_eq!(soon(client.recv()).await.unwrap(), reply);
            }
            8
        },
        soon(server.close())
    );
    assert_eq!(replies, 8);
    assert!(server.recv().await.is_err());
    assert_eq!(
        server.reply(&inbound.client, Bytes::from("late")),
        Err(ReplyError::Gone)
    );
}

#[tokio::test]
async fn a_client_finds_a_server_that_came_back_on_the_same_port() {
    let first = server().await;
    let endpoint = first.local_endpoint().clone();
    let client = requester(&endpoint).await;
    exchange(&first, &client).await;
    first.close().await;
    let second = RequestSocket::bind(&endpoint, ServerSecurity::Null, &Limits::default())
        .await
        .unwrap();
    until_connected(client.connection()).await;
    soon(async {
        // A request that was sent while the connection broke is lost, as documented.
        loop {
            client.send(Bytes::from("again")).await.unwrap();
            tokio::select! {
                inbound = second.recv() => break assert_eq!(inbound.unwrap().body.unwrap(), "again"),
                () = tokio::time::sleep(std::time::Duration::from_millis(200)) => {}
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_multi_threaded_runtime_serves_as_well() {
    let server = server().await;
    let client = requester(server.local_endpoint()).await;
    for _ in 0..100 {
        exchange(&server, &client).await;
    }
}

/// A broker that adds and removes one hop, as `zmq_proxy(3)` between ROUTER and DEALER does.
async fn proxy(backend: &Endpoint) -> Endpoint {
    let front = Socket::new(SocketType::Router, Options::new());
    let endpoint = front
        .bind(loopback().to_string())
        .await
        .unwrap()
        .to_string()
        .parse()
        .unwrap();
    let back = raw(SocketType::Dealer, backend).await;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                request = front.recv() => back.send(request.unwrap()).await.unwrap(),
                reply = back.recv() => front.send(reply.unwrap()).await.unwrap(),
            }
        }
    });
    endpoint
}

#[tokio::test]
async fn a_server_that_dies_in_the_handshake_is_away_and_has_refused_nobody() {
    for hangs_up_hard in [true, false] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("tcp://{}", listener.local_addr().unwrap());
        let client = requester(&endpoint.parse().unwrap()).await;
        let (mut stream, _) = soon(listener.accept()).await.unwrap();
        let mut greeting = [0; 64];
        soon(stream.read_exact(&mut greeting)).await.unwrap();
        if hangs_up_hard {
            // A reset, as by a process that is killed with bytes unread.
            stream.set_zero_linger().unwrap();
        }
        drop(stream);
        let state = until(client.connection(), |state| {
            *state != ConnectionState::Connecting
        });
        let state = state.await;
        assert!(
            matches!(state, ConnectionState::Failing { .. }),
            "{state:?}"
        );
    }
}
