//! How long a health check takes while the server has a bad day: one agent that never reads its
//! full stdin, one whose shim is stopped, and a client that starts agents as fast as it can.
//!
//! `cargo bench -p descartes-core --bench responsiveness`: prints the latency's distribution at
//! rest and under that load, and their ratio.
#![expect(clippy::print_stdout, reason = "printing is what a benchmark does")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use descartes_core::protocol::{AgentId, Command, StdinPosition, Stream};
use descartes_testkit::{Client, TestServer, shell, shim_of, signal};

/// How long each half is measured.
const MEASURED: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() {
    let test = TestServer::start_with(|config| config.max_agents = 100_000).await;
    let client = test.client().await;
    let idle = measure(&client).await;
    println!("at rest:    {idle}");

    let full = client.spawn("echo ready; sleep 1000").await.id;
    client.wait_ready(full).await;
    let data = Bytes::from(vec![b'x'; 4 * 1024 * 1024]);
    let write = Command::WriteStdin {
        data,
        close: false,
        position: StdinPosition::Next,
    };
    let refused = client.command(full, &write).await;
    println!("full stdin: {}", refused.error.unwrap_or_default());
    let stopped = client.spawn("echo ready; sleep 1000").await.id;
    client.wait_ready(stopped).await;
    let shim = shim_of(&test.server.config().state_dir(), stopped);
    signal(shim, "STOP");

    let ends = Arc::new(AtomicBool::new(false));
    let spawned = Arc::new(AtomicUsize::new(0));
    let mut load = Vec::new();
    load.push(tokio::spawn(spawn_on(
        test.client().await,
        ends.clone(),
        spawned.clone(),
    )));
    load.push(tokio::spawn(poke(
        test.client().await,
        ends.clone(),
        vec![full],
    )));
    // Commands to the stopped shim are answered with a timeout, so this one only waits.
    load.push(tokio::spawn(poke(
        test.client().await,
        ends.clone(),
        vec![stopped],
    )));
    let began = Instant::now();
    let loaded = measure(&client).await;
    let spawned = u32::try_from(spawned.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
    let per_second = f64::from(spawned) / began.elapsed().as_secs_f64();
    ends.store(true, Ordering::Relaxed);
    println!("under load: {loaded}   ({per_second:.0} agents started and ended a second)");
    println!(
        "p99 under load / p99 at rest: {:.1}",
        loaded.p99.as_secs_f64() / idle.p99.as_secs_f64()
    );

    for task in load {
        task.abort();
    }
    signal(shim, "CONT");
    test.stop().await;
}

/// Starts agents as fast as replies come.
async fn spawn_on(client: Client, ends: Arc<AtomicBool>, spawned: Arc<AtomicUsize>) {
    while !ends.load(Ordering::Relaxed) {
        client.try_spawn(shell("exit 0")).await;
        spawned.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes to agents, reads from them and asks after them.
async fn poke(client: Client, ends: Arc<AtomicBool>, agents: Vec<AgentId>) {
    while !ends.load(Ordering::Relaxed) {
        for &agent in &agents {
            let read = Command::Read {
                stream: Stream::Stdout,
                offset: Some(0),
                max_bytes: None,
                wait: Duration::ZERO,
                since: None,
                times: false,
            };
            client.command(agent, &read).await;
            client.command(agent, &Command::GetStatus).await;
            let data = Bytes::from_static(b"more");
            let write = Command::WriteStdin {
                data,
                close: false,
                position: StdinPosition::Next,
            };
            client.command(agent, &write).await;
        }
    }
}

/// A distribution of latencies.
struct Latencies {
    p50: Duration,
    p99: Duration,
    max: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { p50, p99, max } = self;
        write!(
            formatter,
            "health check p50 {p50:?}, p99 {p99:?}, max {max:?}"
        )
    }
}

async fn measure(client: &Client) -> Latencies {
    let ends = Instant::now() + MEASURED;
    let mut latencies = Vec::new();
    while Instant::now() < ends {
        let began = Instant::now();
        client.health().await;
        latencies.push(began.elapsed());
    }
    latencies.sort_unstable();
    Latencies {
        p50: latencies[latencies.len() / 2],
        p99: latencies[latencies.len() * 99 / 100],
        max: latencies[latencies.len() - 1],
    }
}
