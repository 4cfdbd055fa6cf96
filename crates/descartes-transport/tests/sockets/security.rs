//! CURVE: who is let in, on both sockets.

use std::sync::Arc;

use bytes::Bytes;
use descartes_transport::{
    ClientSecurity, ConnectionState, Endpoint, EventSocket, HandshakeFault, Keypair, Limits,
    PublicKey, RequestSocket, Requester, ServerSecurity, Subscriber,
};
use omq_tokio::{CurvePublicKey, CurveSecretKey, MonitorEvent, Options, Socket, SocketType};
use tokio::net::TcpStream;

use crate::support::{
    exchange, greeting, loopback, message, next, soon, until, until_closed, until_connected,
    until_wanted,
};

fn curve(server: &Keypair, listed: &[PublicKey]) -> ServerSecurity {
    let listed = listed.to_vec();
    ServerSecurity::Curve {
        keypair: server.clone(),
        allow: Arc::new(move |key| listed.contains(key)),
    }
}

async fn requests(server: &Keypair, listed: &[PublicKey]) -> RequestSocket {
    RequestSocket::bind(&loopback(), curve(server, listed), &Limits::default())
        .await
        .unwrap()
}

async fn events(server: &Keypair, listed: &[PublicKey]) -> EventSocket {
    EventSocket::bind(&loopback(), curve(server, listed), &Limits::default())
        .await
        .unwrap()
}

fn with_key(client: &Keypair, server: &Keypair) -> ClientSecurity {
    ClientSecurity::Curve {
        keypair: client.clone(),
        server_key: server.public,
    }
}

async fn requester(endpoint: &Endpoint, security: ClientSecurity) -> Requester {
    Requester::connect(endpoint, security, &Limits::default())
        .await
        .unwrap()
}

async fn subscriber(endpoint: &Endpoint, security: ClientSecurity) -> Subscriber {
    let subscriber = Subscriber::connect(endpoint, security, &Limits::default())
        .await
        .unwrap();
    subscriber.subscribe("").await.unwrap();
    subscriber
}

fn is_shut_out(state: &ConnectionState) -> bool {
    matches!(
        state,
        ConnectionState::Mismatched { .. } | ConnectionState::Refused { .. }
    )
}

#[tokio::test]
async fn a_listed_client_is_served_and_known_by_its_key() {
    let (server_keys, listed) = (Keypair::generate(), Keypair::generate());
    let server = requests(&server_keys, &[listed.public]).await;
    let client = requester(server.local_endpoint(), with_key(&listed, &server_keys)).await;
    exchange(&server, &client).await;
    client.send(Bytes::from("who am I")).await.unwrap();
    assert_eq!(next(&server).await.client.public_key(), Some(listed.public));
}

#[tokio::test]
async fn an_unlisted_key_is_refused_by_the_request_socket() {
    let (server_keys, listed, stranger) = (
        Keypair::generate(),
        Keypair::generate(),
        Keypair::generate(),
    );
    let server = requests(&server_keys, &[listed.public]).await;
    let shut_out = requester(server.local_endpoint(), with_key(&stranger, &server_keys)).await;
    shut_out.send(Bytes::from("let me in")).await.unwrap();
    let state = until(shut_out.connection(), |state| {
        matches!(state, ConnectionState::Refused { .. })
    })
    .await;
    assert_eq!(
        state,
        ConnectionState::Refused {
            fault: HandshakeFault::UnknownKey
        }
    );

    let client = requester(server.local_endpoint(), with_key(&listed, &server_keys)).await;
    exchange(&server, &client).await;
    assert!(server.try_recv().unwrap().is_none());
}

#[tokio::test]
async fn an_unlisted_key_is_refused_by_the_event_socket() {
    let (server_keys, listed, stranger) = (
        Keypair::generate(),
        Keypair::generate(),
        Keypair::generate(),
    );
    let server = events(&server_keys, &[listed.public]).await;
    let shut_out = subscriber(server.local_endpoint(), with_key(&stranger, &server_keys)).await;
    until(shut_out.connection(), |state| {
        matches!(state, ConnectionState::Refused { .. })
    })
    .await;
    let mut interest = server.interest();
    assert!(!interest.wants("status/1"));

    let client = subscriber(server.local_endpoint(), with_key(&listed, &server_keys)).await;
    until_wanted(&mut interest, "status/1", true).await;
    server.publish("status/1", Bytes::from("running"));
    assert_eq!(
        soon(client.recv()).await.unwrap(),
        (Bytes::from("status/1"), Bytes::from("running"))
    );
    client.close().await;
    until_wanted(&mut interest, "status/1", false).await;
    assert!(is_shut_out(&shut_out.connection().state()));
}

#[tokio::test]
async fn a_client_without_a_key_gets_nowhere_on_either_socket() {
    let (server_keys, listed) = (Keypair::generate(), Keypair::generate());
    let (requests, events) = (
        requests(&server_keys, &[listed.public]).await,
        events(&server_keys, &[]).await,
    );
    let plain = requester(requests.local_endpoint(), ClientSecurity::Null).await;
    plain.send(Bytes::from("let me in")).await.unwrap();
    until(plain.connection(), is_shut_out).await;
    let listener = subscriber(events.local_endpoint(), ClientSecurity::Null).await;
    until(listener.connection(), is_shut_out).await;

    let client = requester(requests.local_endpoint(), with_key(&listed, &server_keys)).await;
    exchange(&requests, &client).await;
    assert!(requests.try_recv().unwrap().is_none());
    assert!(!events.interest().wants("status/1"));
}

#[tokio::test]
async fn a_plain_greeting_ends_the_connection() {
    let server_keys = Keypair::generate();
    let server = requests(&server_keys, &[]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.local_endpoint().port().unwrap()))
        .await
        .unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stream, &greeting(b"NULL"))
        .await
        .unwrap();
    until_closed(&mut stream).await;
}

#[tokio::test]
async fn a_client_does_not_talk_to_a_server_with_another_key() {
    let (server_keys, impostor, listed) = (
        Keypair::generate(),
        Keypair::generate(),
        Keypair::generate(),
    );
    let server = requests(&impostor, &[listed.public]).await;
    let client = requester(server.local_endpoint(), with_key(&listed, &server_keys)).await;
    client.send(Bytes::from("secret")).await.unwrap();
    until(client.connection(), is_shut_out).await;
    assert!(server.try_recv().unwrap().is_none());
}

#[tokio::test]
async fn a_key_cannot_take_over_the_routing_identity_of_another() {
    let (server_keys, alice, mallory) = (
        Keypair::generate(),
        Keypair::generate(),
        Keypair::generate(),
    );
    let server = requests(&server_keys, &[alice.public, mallory.public]).await;
    let endpoint = server.local_endpoint();

    let first = named(&alice, &server_keys);
    first.connect(endpoint.to_string()).await.unwrap();
    first.send(message(&["question"])).await.unwrap();
    let asked = next(&server).await;
    first.close().await.unwrap();

    let thief = named(&mallory, &server_keys);
    let mut events = thief.monitor();
    thief.connect(endpoint.to_string()).await.unwrap();
    while !matches!(
        soon(events.recv()).await.unwrap(),
        MonitorEvent::HandshakeFailed { .. }
    ) {}

    let second = named(&alice, &server_keys);
    second.connect(endpoint.to_string()).await.unwrap();
    second.send(message(&["I am back"])).await.unwrap();
    assert_eq!(next(&server).await.body.unwrap(), "I am back");
    server.reply(&asked.client, Bytes::from("answer")).unwrap();
    assert_eq!(soon(second.recv()).await.unwrap(), message(&["answer"]));
}

#[tokio::test]
async fn a_key_that_is_listed_later_is_let_in_by_a_new_socket() {
    let (server_keys, late) = (Keypair::generate(), Keypair::generate());
    let list = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&list);
    let security = ServerSecurity::Curve {
        keypair: server_keys.clone(),
        allow: Arc::new(move |key| seen.lock().unwrap().contains(key)),
    };
    let server = RequestSocket::bind(&loopback(), security, &Limits::default())
        .await
        .unwrap();
    let early = requester(server.local_endpoint(), with_key(&late, &server_keys)).await;
    until(early.connection(), is_shut_out).await;
    list.lock().unwrap().push(late.public);
    let client = requester(server.local_endpoint(), with_key(&late, &server_keys)).await;
    until_connected(client.connection()).await;
    exchange(&server, &client).await;
}

/// A client that chose its routing identity.
fn named(client: &Keypair, server: &Keypair) -> Socket {
    let secret = CurveSecretKey::from_z85(&client.secret_z85()).unwrap();
    let keypair = omq_tokio::CurveKeypair {
        public: secret.derive_public(),
        secret,
    };
    let options = Options::new()
        .identity("worker")
        .linger(std::time::Duration::from_secs(1))
        .curve_client(
            keypair,
            CurvePublicKey::from_bytes(*server.public.as_bytes()),
        );
    Socket::new(SocketType::Dealer, options)
}
