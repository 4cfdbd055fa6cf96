//! Deadlines, and peers that this crate's own client sockets cannot play.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use descartes_transport::{
    ClientSecurity, ConnectionState, ConnectionWatch, Endpoint, Inbound, Interest, Limits,
    RequestSocket, Requester, ServerSecurity, Subscriber,
};
use omq_tokio::{Message, Options, Socket, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far beyond what anything here takes; it turns a hang into a failure.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it should have happened by now")
}

/// Asks again until the answer is yes: for what nothing announces.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub(crate) fn loopback() -> Endpoint {
    "tcp://127.0.0.1:0".parse().unwrap()
}

pub(crate) async fn server() -> RequestSocket {
    server_with(&Limits::default()).await
}

pub(crate) async fn server_with(limits: &Limits) -> RequestSocket {
    RequestSocket::bind(&loopback(), ServerSecurity::Null, limits)
        .await
        .unwrap()
}

pub(crate) async fn requester(endpoint: &Endpoint) -> Requester {
    Requester::connect(endpoint, ClientSecurity::Null, &Limits::default())
        .await
        .unwrap()
}

pub(crate) async fn subscriber(endpoint: &Endpoint, prefix: &str) -> Subscriber {
    let subscriber = Subscriber::connect(endpoint, ClientSecurity::Null, &Limits::default())
        .await
        .unwrap();
    subscriber.subscribe(prefix).await.unwrap();
    subscriber
}

/// A socket of the library itself, for shapes of messages that [`Requester`] does not send.
pub(crate) async fn raw(kind: SocketType, endpoint: &Endpoint) -> Socket {
    let socket = Socket::new(kind, Options::new());
    socket.connect(endpoint.to_string()).await.unwrap();
    socket
}

pub(crate) fn message(frames: &[&'static str]) -> Message {
    Message::multipart(frames.iter().map(|frame| Bytes::from(*frame)))
}

pub(crate) fn frames(message: &Message) -> Vec<Bytes> {
    message.iter().collect()
}

pub(crate) async fn next(server: &RequestSocket) -> Inbound {
    soon(server.recv()).await.unwrap()
}

/// Answers one request with `answer`, and returns what was asked.
pub(crate) async fn answer(server: &RequestSocket, answer: &'static str) -> Bytes {
    let inbound = next(server).await;
    server.reply(&inbound.client, Bytes::from(answer)).unwrap();
    inbound.body.unwrap()
}

/// One question and its answer, both ways.
pub(crate) async fn exchange(server: &RequestSocket, client: &Requester) {
    client.send(Bytes::from("question")).await.unwrap();
    assert_eq!(answer(server, "answer").await, "question");
    assert_eq!(soon(client.recv()).await.unwrap(), "answer");
}

pub(crate) async fn until(
    mut watch: ConnectionWatch,
    wanted: impl Fn(&ConnectionState) -> bool,
) -> ConnectionState {
    let mut state = watch.state();
    while !wanted(&state) {
        state = soon(watch.changed()).await.unwrap();
    }
    state
}

pub(crate) async fn until_connected(watch: ConnectionWatch) {
    until(watch, |state| *state == ConnectionState::Connected).await;
}

/// Waits until the server has noticed that `topic` is wanted, or is not any more.
pub(crate) async fn until_wanted(interest: &mut Interest, topic: &str, wanted: bool) {
    while interest.wants(topic) != wanted {
        soon(interest.changed()).await.unwrap();
    }
}

/// A peer made by hand that never reads what it is sent.
pub(crate) struct StubbornPeer(TcpStream);

impl StubbornPeer {
    pub(crate) async fn dealer(endpoint: &Endpoint) -> Self {
        Self::connect(endpoint, "DEALER").await
    }

    /// Subscribes to all prefixes in one go.
    pub(crate) async fn subscriber(endpoint: &Endpoint, prefixes: &[String]) -> Self {
        let mut peer = Self::connect(endpoint, "SUB").await;
        let subscribe = |prefix: &String| {
            frame(
                FrameKind::Command,
                &[b"\x09SUBSCRIBE", prefix.as_bytes()].concat(),
            )
        };
        let commands: Vec<u8> = prefixes.iter().flat_map(subscribe).collect();
        peer.0.write_all(&commands).await.unwrap();
        peer
    }

    pub(crate) async fn send(&mut self, body: &str) {
        let message = frame(FrameKind::LastOfMessage, body.as_bytes());
        self.0.write_all(&message).await.unwrap();
    }

    async fn connect(endpoint: &Endpoint, socket_type: &str) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", endpoint.port().unwrap()))
            .await
            .unwrap();
        stream.write_all(&greeting(b"NULL")).await.unwrap();
        stream.read_exact(&mut [0; 64]).await.unwrap();
        let length = u32::try_from(socket_type.len()).unwrap().to_be_bytes();
        let ready = [
            b"\x05READY\x0bSocket-Type",
            &length[..],
            socket_type.as_bytes(),
        ]
        .concat();
        stream
            .write_all(&frame(FrameKind::Command, &ready))
            .await
            .unwrap();
        Self(stream)
    }
}

fn frame(kind: FrameKind, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).expect("short frames only");
    [&[kind as u8, length], content].concat()
}

/// The flags of a short frame (ZMTP 3.1, section 3.3).
enum FrameKind {
    LastOfMessage = 0,
    Command = 4,
}

/// The first 64 bytes of a connection (ZMTP 3.1, section 3.2).
pub(crate) fn greeting(mechanism: &[u8]) -> [u8; 64] {
    let mut greeting = [0; 64];
    greeting[0] = 0xff;
    greeting[9] = 0x7f;
    greeting[10] = 3;
    greeting[11] = 1;
    greeting[12..12 + mechanism.len()].copy_from_slice(mechanism);
    greeting
}

/// Waits until the other side has closed the connection.
pub(crate) async fn until_closed(stream: &mut TcpStream) {
    let mut buffer = [0; 4096];
    // A reset is as good as an end.
    while soon(stream.read(&mut buffer)).await.unwrap_or(0) > 0 {}
}
