//! What can stand between a client and a server, and be unkind.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use descartes_core::protocol::{Reply, Request};
use descartes_core::transport::{
    Client, ClientSecurity, Endpoint, Inbound, Limits, RequestSocket, Requester, ServerSecurity,
};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Hands on all requests, and of the replies only some.
#[derive(Debug)]
pub struct LossyProxy {
    /// Where clients connect to.
    pub endpoint: String,
    commands: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// Hands on bytes between TCP connections, until it cuts them.
#[derive(Debug)]
pub struct CuttingProxy {
    /// Where clients connect to.
    pub endpoint: String,
    cuts: watch::Sender<u64>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl LossyProxy {
    /// A proxy in front of a server that throws away each reply of which `is_lost` says so, by its
    /// number from 1.
    ///
    /// # Panics
    /// If it cannot listen or connect.
    pub async fn start(
        server: &str,
        is_lost: impl Fn(u64, &Reply) -> bool + Send + 'static,
    ) -> Self {
        let pass_on = move |number, reply| (!is_lost(number, &reply)).then_some(reply);
        Self::start_changing(server, pass_on).await
    }

    /// A proxy in front of a server that hands on, in the place of each reply, what `change` makes of it, if anything.
    /// Replies have numbers from 1.
    ///
    /// # Panics
    /// If it cannot listen or connect.
    pub async fn start_changing(
        server: &str,
        change: impl Fn(u64, Reply) -> Option<Reply> + Send + 'static,
    ) -> Self {
        let limits = Limits::default();
        let any_port = endpoint("tcp://127.0.0.1:0");
        let front = RequestSocket::bind(&any_port, ServerSecurity::Null, &limits).await;
        let front = front.unwrap_or_else(|error| panic!("{error}"));
        let back = Requester::connect(&endpoint(server), ClientSecurity::Null, &limits).await;
        let back = back.unwrap_or_else(|error| panic!("{error}"));
        let commands: Arc<Mutex<Vec<String>>> = Arc::default();
        Self {
            endpoint: front.local_endpoint().to_string(),
            commands: Arc::clone(&commands),
            task: tokio::spawn(lose(front, back, commands, change)),
        }
    }

    /// How often a command was on its way to the server.
    #[must_use]
    pub fn times_sent(&self, command_type: &str) -> usize {
        let commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        commands
            .iter()
            .filter(|command| *command == command_type)
            .count()
    }
}

impl CuttingProxy {
    /// A proxy in front of a server that listens on a TCP port.
    ///
    /// # Panics
    /// If it cannot listen, or the server's endpoint is no `tcp://` one.
    pub async fn start(server: &str) -> Self {
        let server: SocketAddr = server
            .strip_prefix("tcp://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("{server} is no TCP address"));
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.unwrap_or_else(|error| panic!("{error}"));
        let address = listener
            .local_addr()
            .unwrap_or_else(|error| panic!("{error}"));
        let (cuts, cut) = watch::channel(0);
        let connections: Arc<AtomicUsize> = Arc::default();
        Self {
            endpoint: format!("tcp://{address}"),
            cuts,
            connections: Arc::clone(&connections),
            task: tokio::spawn(hand_on(listener, server, cut, connections)),
        }
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Cuts all connections. New ones are handed on again.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for LossyProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Drop for CuttingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn lose(
    front: RequestSocket,
    back: Requester,
    commands: Arc<Mutex<Vec<String>>>,
    change: impl Fn(u64, Reply) -> Option<Reply> + Send,
) {
    let mut clients: HashMap<String, Client> = HashMap::new();
    let mut replies = 0;
    loop {
        tokio::select! {
            Ok(Inbound { client, body: Ok(body) }) = front.recv() => {
                if let Ok(request) = Request::decode(body.clone()) {
                    if let Request::Control(command) = &request {
                        let mut commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
                        commands.push(command.command_type.clone());
                    }
                    clients.insert(request.request_id().to_owned(), client);
                }
                let _ = back.send(body).await;
            }
            Ok(body) = back.recv() => {
                replies += 1;
                let Ok(reply) = Reply::decode(body) else { continue };
                let client = reply.request_id().and_then(|id| clients.get(id)).cloned();
                if let Some(client) = client && let Some(reply) = change(replies, reply) {
                    let _ = front.reply(&client, reply.encode());
                }
            }
            else => return,
        }
    }
}

async fn hand_on(
    listener: TcpListener,
    server: SocketAddr,
    cut: watch::Receiver<u64>,
    connections: Arc<AtomicUsize>,
) {
    while let Ok((mut client, _)) = listener.accept().await {
        connections.fetch_add(1, Ordering::Relaxed);
        let mut cut = cut.clone();
        cut.mark_unchanged();
        tokio::spawn(async move {
            let Ok(mut server) = TcpStream::connect(server).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|error| panic!("{error}"))
}
