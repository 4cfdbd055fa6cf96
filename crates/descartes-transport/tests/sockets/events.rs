//! Events, and who listens to what.

use bytes::Bytes;
use descartes_transport::{EventSocket, Limits, ServerSecurity, TOPIC_MAX};
use tokio::net::TcpStream;

use crate::support::{StubbornPeer, loopback, soon, subscriber, until_wanted};

async fn events() -> EventSocket {
    EventSocket::bind(&loopback(), ServerSecurity::Null, &Limits::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_subscriber_gets_the_topics_it_asked_for_and_no_others() {
    let server = events().await;
    let client = subscriber(server.local_endpoint(), "status/").await;
    until_wanted(&mut server.interest(), "status/1", true).await;
    server.publish("log/1/stdout", Bytes::from("ignored"));
    server.publish("status/1", Bytes::from("running"));
    server.publish("status/2", Bytes::new());
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        (Bytes::from("status/1"), Bytes::from("running"))
    );
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        (Bytes::from("status/2"), Bytes::new())
    );
    assert_eq!(server.dropped(), 0);
}

#[tokio::test]
async fn interest_follows_subscribing_and_unsubscribing() {
    let server = events().await;
    let mut interest = server.interest();
    assert!(!interest.wants("status/1"));
    let client = subscriber(server.local_endpoint(), "status/1").await;
    until_wanted(&mut interest, "status/1", true).await;
    assert!(!interest.wants("status/2"));
    client.subscribe("status/2").await.unwrap();
    until_wanted(&mut interest, "status/2", true).await;
    client.unsubscribe("status/1").await.unwrap();
    until_wanted(&mut interest, "status/1", false).await;
    assert!(interest.wants("status/2"));
}

#[tokio::test]
async fn interest_goes_away_with_a_subscriber_that_says_nothing() {
    let server = events().await;
    let mut interest = server.interest();
    let survivor = subscriber(server.local_endpoint(), "status/").await;
    let victim = subscriber(server.local_endpoint(), "log/").await;
    until_wanted(&mut interest, "status/1", true).await;
    until_wanted(&mut interest, "log/1/stdout", true).await;
    drop(victim);
    until_wanted(&mut interest, "log/1/stdout", false).await;
    assert!(interest.wants("status/1"));
    survivor.close().await;
    until_wanted(&mut interest, "status/1", false).await;
}

#[tokio::test]
async fn interest_goes_away_with_a_subscriber_whose_connection_breaks() {
    let server = events().await;
    let mut interest = server.interest();
    let (near, relay) = relay(server.local_endpoint().port().unwrap()).await;
    let client = subscriber(&near, "status/").await;
    until_wanted(&mut interest, "status/1", true).await;
    relay.abort();
    until_wanted(&mut interest, "status/1", false).await;
    drop(client);
}

#[tokio::test]
async fn interest_is_right_even_when_changes_come_faster_than_they_are_followed() {
    let limits = Limits {
        monitor_capacity: 2,
        ..Limits::default()
    };
    let server = EventSocket::bind(&loopback(), ServerSecurity::Null, &limits)
        .await
        .unwrap();
    let topics: Vec<String> = (0..500).map(|number| format!("log/{number}/")).collect();
    let peer = StubbornPeer::subscriber(server.local_endpoint(), &topics).await;
    let mut interest = server.interest();
    for topic in &topics {
        until_wanted(&mut interest, topic, true).await;
    }
    drop(peer);
    for topic in &topics {
        until_wanted(&mut interest, topic, false).await;
    }
}

#[tokio::test]
async fn a_topic_that_is_too_long_is_not_subscribed_to() {
    let server = events().await;
    let longest = "x".repeat(TOPIC_MAX);
    let client = subscriber(server.local_endpoint(), &format!("{longest}x")).await;
    client.subscribe("after").await.unwrap();
    let mut interest = server.interest();
    until_wanted(&mut interest, "after", true).await;
    assert!(!interest.wants(&format!("{longest}x")));
    client.subscribe(&longest).await.unwrap();
    until_wanted(&mut interest, &longest, true).await;
}

#[tokio::test]
async fn interest_ends_with_the_socket() {
    let server = events().await;
    let mut interest = server.interest();
    let client = subscriber(server.local_endpoint(), "").await;
    until_wanted(&mut interest, "status/1", true).await;
    server.close().await;
    while soon(interest.changed()).await.is_ok() {}
    assert!(!interest.wants("status/1"));
    drop(client);
}

#[tokio::test]
async fn a_publisher_does_not_wait_for_subscribers_that_do_not_read() {
    let server = events().await;
    let mut interest = server.interest();
    // Subscribed, and from then on deaf.
    let deaf = StubbornPeer::subscriber(server.local_endpoint(), &["flood".to_owned()]).await;
    let reader = subscriber(server.local_endpoint(), "status/").await;
    until_wanted(&mut interest, "flood", true).await;
    until_wanted(&mut interest, "status/1", true).await;
    for _ in 0..200 {
        server.publish("flood", Bytes::from(vec![0; 1 << 20]));
        tokio::task::yield_now().await;
    }
    soon(async {
        // One that comes while the socket's own queue is full is dropped; see `EventSocket::dropped`.
        loop {
            server.publish("status/1", Bytes::from("running"));
            tokio::select! {
                received = reader.recv() => break assert_eq!(received.unwrap().1, "running"),
                () = tokio::time::sleep(std::time::Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
    drop(deaf);
}

/// Carries one connection, until it is aborted.
async fn relay(to: u16) -> (descartes_transport::Endpoint, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("tcp://{}", listener.local_addr().unwrap())
        .parse()
        .unwrap();
    let task = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut far = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    (endpoint, task)
}
