//! A tour of the server in ten seconds: `cargo run --example tour`.
//!
//! It starts a server on a private socket, starts an agent, shows its output as it arrives on the
//! event socket, pauses it, resumes it, crashes the server and starts it again, writes to the
//! agent's stdin, stops it, and reads all of its output back by offset.
#![expect(clippy::print_stdout, reason = "printing is what a tour does")]

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use descartes_core::protocol::{
    AgentConfig, AgentId, Command, ControlCommand, LogStream, PauseRequest, Raw, Reply, Request,
    SpawnRequest, StdinPosition, Stream, topics,
};
use descartes_core::transport::{ClientSecurity, Endpoint, Limits, Requester, Subscriber};
use descartes_core::{Backends, ZmqAgentServer, ZmqServerConfig};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What the agent does: it thinks aloud, and answers what it reads.
const AGENT: &str = r#"
( n=0; while :; do n=$((n + 1)); echo "thought $n"; sleep 0.3; done ) &
while read -r line; do echo "you said: $line"; done
"#;

#[tokio::main]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (agent, watching) = before_the_crash(dir.path()).await?;
    println!("crash     the server is gone; the agent is not");
    wait(1.0).await;
    after_the_crash(dir.path(), agent).await?;
    watching.abort();
    Ok(())
}

type Watching = tokio::task::JoinHandle<std::result::Result<(), String>>;

async fn before_the_crash(dir: &Path) -> Result<(AgentId, Watching)> {
    let (server, serving) = start(dir).await?;
    let endpoint = server.endpoint().ok_or("the server does not serve")?;
    println!("server    listens on {endpoint}");

    let client = Client::connect(&endpoint).await?;
    let agent = client.spawn(AGENT).await?;
    println!("agent     {agent} runs; this is its output as it arrives:");
    let pub_endpoint = server
        .pub_endpoint()
        .ok_or("the server has no event socket")?;
    let watching = tokio::spawn(watch(pub_endpoint, agent));
    wait(2.0).await;

    client
        .command(
            agent,
            &Command::Pause {
                mode: PauseRequest::Auto,
            },
        )
        .await?;
    println!("pause     every process of the agent stands still");
    wait(1.5).await;
    client.command(agent, &Command::Resume).await?;
    println!("resume    and goes on");
    wait(1.0).await;

    serving.abort();
    let _ = serving.await;
    Ok((agent, watching))
}

async fn after_the_crash(dir: &Path, agent: AgentId) -> Result<()> {
    let (server, serving) = start(dir).await?;
    let endpoint = server.endpoint().ok_or("the server does not serve")?;
    let client = Client::connect(&endpoint).await?;
    println!("start     the server is back, and so is the agent:");
    wait(0.8).await;
    let data = "hello again\n".into();
    let write = Command::WriteStdin {
        data,
        close: false,
        position: StdinPosition::Next,
    };
    client.command(agent, &write).await?;
    wait(0.5).await;

    let grace = Some(Duration::from_secs(2));
    let ended = client
        .command(agent, &Command::Stop { grace, wait: true })
        .await?;
    let reason = ended
        .get("end_reason")
        .and_then(|reason| reason.as_str().map(str::to_owned));
    println!(
        "stop      no process of it is left ({})",
        reason.unwrap_or_default()
    );

    let read = Command::Read {
        stream: Stream::Stdout,
        offset: Some(0),
        max_bytes: None,
        wait: Duration::ZERO,
        since: None,
        times: false,
    };
    let output = client.command(agent, &read).await?;
    let bytes = output
        .get("data")
        .and_then(|data| data.as_bin())
        .unwrap_or_default();
    let lines = String::from_utf8_lossy(&bytes).lines().count();
    println!(
        "read      all {} bytes of its output, {lines} lines, are there",
        bytes.len()
    );

    server.stop().await?;
    serving.await??;
    println!("server    stopped");
    Ok(())
}

type Serving = tokio::task::JoinHandle<descartes_core::AgentResult<()>>;

/// Starts a server on sockets below `dir`, on which the next one finds the agents of the last.
async fn start(dir: &Path) -> Result<(ZmqAgentServer, Serving)> {
    let backend = "[sh]\ncommand = \"sh\"\nargs = [\"-c\", \"{task}\"]\nstdin = \"pipe\"\n";
    let backends = Backends::builtin()
        .with_config(&backend.parse()?)
        .map_err(|faults| format!("{faults:?}"))?;
    let server = ZmqAgentServer::new(ZmqServerConfig {
        endpoint: format!("ipc://{}", dir.join("server.sock").display()),
        state_dir: Some(dir.join("state")),
        backends,
        ..Default::default()
    });
    let starting = server.clone();
    let serving = tokio::spawn(async move { starting.start().await });
    while !server.ready().await {
        if serving.is_finished() {
            serving.await??;
            return Err("the server ended at once".into());
        }
        tokio::task::yield_now().await;
    }
    Ok((server, serving))
}

/// Prints the agent's live output, wherever it is on the screen.
async fn watch(endpoint: String, agent: AgentId) -> std::result::Result<(), String> {
    let endpoint: Endpoint = endpoint.parse().map_err(|error| format!("{error}"))?;
    let subscriber = Subscriber::connect(&endpoint, ClientSecurity::Null, &Limits::default())
        .await
        .map_err(|error| error.to_string())?;
    let topic = topics::log(agent, Stream::Stdout);
    subscriber
        .subscribe(&topic)
        .await
        .map_err(|error| error.to_string())?;
    while let Ok((_, body)) = subscriber.recv().await {
        let piece = LogStream::decode(body).map_err(|error| error.to_string())?;
        for line in String::from_utf8_lossy(&piece.data).lines() {
            println!("          | {line}");
        }
    }
    Ok(())
}

async fn wait(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

/// A client that asks one thing at a time.
struct Client(Requester);

impl Client {
    async fn connect(endpoint: &str) -> Result<Self> {
        let endpoint: Endpoint = endpoint.parse()?;
        let requester =
            Requester::connect(&endpoint, ClientSecurity::Null, &Limits::default()).await?;
        Ok(Self(requester))
    }

    async fn ask(&self, request: Request) -> Result<Reply> {
        self.0.send(request.encode()).await?;
        Ok(Reply::decode(self.0.recv().await?)?)
    }

    async fn spawn(&self, task: &str) -> Result<AgentId> {
        let request = Request::Spawn(SpawnRequest {
            request_id: "tour-spawn".to_owned(),
            config: AgentConfig {
                name: "thinker".to_owned(),
                model_backend: "sh".to_owned(),
                task: task.to_owned(),
                ..AgentConfig::default()
            },
            ..SpawnRequest::default()
        });
        match self.ask(request).await? {
            Reply::Spawn(reply) => match reply.agent_info {
                Some(info) => Ok(info.id),
                None => Err(reply.error.unwrap_or_default().into()),
            },
            other => Err(format!("{other:?}").into()),
        }
    }

    async fn command(&self, agent_id: AgentId, command: &Command) -> Result<Raw> {
        let request = Request::Control(ControlCommand {
            request_id: command.command_type().to_owned(),
            agent_id,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
        });
        match self.ask(request).await? {
            Reply::Command(reply) if reply.success => Ok(reply.data.unwrap_or_else(Raw::nil)),
            other => Err(format!("{other:?}").into()),
        }
    }
}
