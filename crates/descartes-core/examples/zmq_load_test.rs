//! How many health checks a server answers, and how quickly:
//! `cargo run --release --example zmq_load_test -- --endpoint tcp://localhost:5555 --clients 10 --requests 1000`.
//!
//! Each client has a connection of its own. `--compare` repeats the load on a bare ROUTER socket of the same library
//! that sends back what it gets, in a process of its own, in turns with the server, and prints both as a ratio: figures
//! of two machines, or of two moments, cannot be compared.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use descartes_core::protocol::{HealthCheckRequest, Request};
use descartes_core::transport::{
    ClientSecurity, Endpoint, Limits, RequestSocket, Requester, ServerSecurity,
};
use descartes_core::{ClientBundle, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};
use tokio::task::JoinSet;

/// Turns of a comparison.
const ROUNDS: usize = 10;

/// What is printed once the echo listens, before its endpoint.
const LISTENS: &str = "echo listens on ";

/// Asks a server for its health, many times.
#[derive(Debug, Clone, Parser)]
struct Load {
    /// Where the server listens
    #[arg(long, default_value = "tcp://127.0.0.1:5555")]
    endpoint: String,

    /// Connections, each of which asks for itself
    #[arg(long, default_value_t = 10)]
    clients: usize,

    /// Requests of each client
    #[arg(long, default_value_t = 1000)]
    requests: usize,

    /// Requests that each client has under way at once
    #[arg(long, default_value_t = 1)]
    pipeline: usize,

    /// A client bundle, for a server that encrypts
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,

    /// Repeat it on a bare ROUTER socket that echoes
    #[arg(long)]
    compare: bool,

    /// Be that socket
    #[arg(long, hide = true)]
    echo: bool,
}

/// What came of it.
#[derive(Debug, Default)]
struct Figures {
    latencies: Vec<Duration>,
    errors: Vec<String>,
    elapsed: Duration,
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<ExitCode, Failure> {
    let load = Load::parse();
    if load.echo {
        // On a worker, as a server's socket is: the main thread would have to be woken each time.
        return match tokio::spawn(echo()).await? {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(problem) => Err(problem.into()),
        };
    }
    let (security, config) = load.connection()?;
    println!(
        "{} clients, {} requests each, {} under way at once",
        load.clients, load.requests, load.pipeline
    );
    let library = if load.compare {
        compare(&load, &security, &config).await?
    } else {
        load.with_library(&config, load.requests).await
    };
    if !load.compare {
        library.print("client library, server");
    }
    Ok(if library.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The load by the library, by a bare socket, and on the echo, in turns: what else the machine does meanwhile meets all
/// three. Returns the figures of the library.
async fn compare(
    load: &Load,
    security: &ClientSecurity,
    config: &ZmqRunnerConfig,
) -> Result<Figures, Failure> {
    let mut process = EchoProcess::start()?;
    let endpoint = process.endpoint()?;
    let [mut library, mut server, mut echo] = [const { Vec::new() }; 3];
    for requests in shares(load.requests, ROUNDS) {
        library.push(load.with_library(config, requests).await);
        server.push(load.bare(&load.endpoint, security, requests).await);
        echo.push(load.bare(&endpoint, &ClientSecurity::Null, requests).await);
    }
    let [library, server, echo] = [library, server, echo].map(Figures::one_after_the_other);
    library.print("client library, server");
    server.print("bare socket, server");
    echo.print("bare socket, bare echo");
    println!("server / echo      {:.2}", server.rate() / echo.rate());
    println!("library / echo     {:.2}", library.rate() / echo.rate());
    Ok(library)
}

impl Load {
    fn connection(&self) -> Result<(ClientSecurity, ZmqRunnerConfig), Failure> {
        let bundle = self.bundle.as_deref().map(ClientBundle::load).transpose()?;
        let security = match &bundle {
            Some(bundle) => bundle.security()?,
            None => ClientSecurity::Null,
        };
        let config = ZmqRunnerConfig {
            endpoint: self.endpoint.clone(),
            bundle,
            ..ZmqRunnerConfig::default()
        };
        Ok((security, config))
    }

    /// The load, by the client library.
    async fn with_library(&self, config: &ZmqRunnerConfig, requests: usize) -> Figures {
        let mut clients = JoinSet::new();
        let began = Instant::now();
        for _ in 0..self.clients {
            let client = ZmqClient::new(config.clone());
            for share in shares(requests, self.pipeline) {
                let client = client.clone();
                clients.spawn(async move {
                    let mut figures = Figures::default();
                    for _ in 0..share {
                        let asked = Instant::now();
                        let answer = client.health_check().await;
                        figures.count(asked, answer.err().map(|error| error.to_string()));
                    }
                    figures
                });
            }
        }
        Figures::at_once(clients.join_all().await, began.elapsed())
    }

    /// The load, by bare sockets that do not look at what comes back.
    async fn bare(&self, endpoint: &str, security: &ClientSecurity, requests: usize) -> Figures {
        let mut clients = JoinSet::new();
        let began = Instant::now();
        for _ in 0..self.clients {
            let (load, endpoint, security) = (self.clone(), endpoint.to_owned(), security.clone());
            clients.spawn(async move {
                let mut figures = Figures::default();
                if let Err(error) = load
                    .bare_client(&endpoint, security, requests, &mut figures)
                    .await
                {
                    figures.errors.push(error);
                }
                figures
            });
        }
        Figures::at_once(clients.join_all().await, began.elapsed())
    }

    async fn bare_client(
        &self,
        endpoint: &str,
        security: ClientSecurity,
        requests: usize,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let endpoint: Endpoint = endpoint.parse().map_err(in_words)?;
        let socket = Requester::connect(&endpoint, security, &Limits::default()).await;
        let socket = Arc::new(socket.map_err(in_words)?);
        let mut under_way = std::collections::VecDeque::new();
        let mut asked = 0;
        while figures.latencies.len() < requests {
            while asked < requests && under_way.len() < self.pipeline {
                let request_id = asked.to_string();
                let body = Request::from(HealthCheckRequest { request_id }).encode();
                under_way.push_back(Instant::now());
                socket.send(body).await.map_err(in_words)?;
                asked += 1;
            }
            socket.recv().await.map_err(in_words)?;
            if let Some(began) = under_way.pop_front() {
                figures.count(began, None);
            }
        }
        Ok(())
    }
}

impl Figures {
    fn count(&mut self, asked: Instant, error: Option<String>) {
        match error {
            None => self.latencies.push(asked.elapsed()),
            Some(error) => self.errors.push(error),
        }
    }

    /// What several did in the same time.
    fn at_once(parts: Vec<Self>, elapsed: Duration) -> Self {
        Self {
            elapsed,
            ..Self::one_after_the_other(parts)
        }
    }

    fn one_after_the_other(parts: Vec<Self>) -> Self {
        let mut sum = Self::default();
        for part in parts {
            sum.latencies.extend(part.latencies);
            sum.errors.extend(part.errors);
            sum.elapsed += part.elapsed;
        }
        sum.latencies.sort_unstable();
        sum
    }

    /// Answers a second.
    fn rate(&self) -> f64 {
        let requests = u32::try_from(self.latencies.len()).unwrap_or(u32::MAX);
        f64::from(requests) / self.elapsed.as_secs_f64()
    }

    fn print(&self, what: &str) {
        println!(
            "{what:<24} {:>8.0} requests/s   p50 {:>7.3} ms   p99 {:>7.3} ms   max {:>7.3} ms   {} errors",
            self.rate(),
            self.percentile(50),
            self.percentile(99),
            self.percentile(100),
            self.errors.len(),
        );
        if let Some(error) = self.errors.first() {
            println!("{:<24} the first error: {error}", "");
        }
    }

    /// In milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let last = self.latencies.len().saturating_sub(1);
        let latency = self.latencies.get(last * percent / 100);
        latency.map_or(f64::NAN, |latency| latency.as_secs_f64() * 1000.0)
    }
}

/// The echo in a process of its own, as a server is.
struct EchoProcess(Child);

impl EchoProcess {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program starts itself; no agent is started here"
    )]
    fn start() -> Result<Self, Failure> {
        let mut command = std::process::Command::new(std::env::current_exe()?);
        Ok(Self(command.arg("--echo").stdout(Stdio::piped()).spawn()?))
    }

    fn endpoint(&mut self) -> Result<String, Failure> {
        let stdout = self.0.stdout.take().ok_or("the echo has no stdout")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let endpoint = line.trim().strip_prefix(LISTENS);
        Ok(endpoint.ok_or("the echo does not listen")?.to_owned())
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        // It has nothing to lose, and may have ended.
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// Sends back what comes, until it is killed.
async fn echo() -> Result<(), String> {
    let any_port: Endpoint = "tcp://127.0.0.1:0".parse().map_err(in_words)?;
    let socket = RequestSocket::bind(&any_port, ServerSecurity::Null, &Limits::default()).await;
    let socket = socket.map_err(in_words)?;
    println!("{LISTENS}{}", socket.local_endpoint());
    loop {
        let inbound = socket.recv().await.map_err(in_words)?;
        if let Ok(body) = inbound.body {
            // A client that has gone needs no echo.
            let _ = socket.reply(&inbound.client, body);
        }
    }
}

/// So many requests in so many parts.
fn shares(requests: usize, parts: usize) -> impl Iterator<Item = usize> {
    let parts = parts.max(1);
    (0..parts).map(move |part| requests / parts + usize::from(part < requests % parts))
}

fn in_words(error: impl std::fmt::Display) -> String {
    error.to_string()
}
