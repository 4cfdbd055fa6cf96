//! A client from connecting to stopping an agent: `cargo run --example zmq_client_example -- [ENDPOINT] [BACKEND] [TASK]`.
//!
//! It needs a server, for instance `cargo run --example zmq_server_example`, and one of its backends.
#![expect(clippy::print_stdout, reason = "printing is what an example does")]

use descartes_core::client::protocol::Stream;
use descartes_core::client::{ReadFrom, StatusItem};
use descartes_core::{AgentConfig, ClientError, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let mut arguments = std::env::args().skip(1);
    let mut argument = |default: &str| arguments.next().unwrap_or_else(|| default.to_owned());
    let client = ZmqClient::new(ZmqRunnerConfig {
        endpoint: argument("tcp://127.0.0.1:5555"),
        ..ZmqRunnerConfig::default()
    });
    let config = AgentConfig {
        name: "example".to_owned(),
        model_backend: argument("claude"),
        task: argument("say hello"),
        ..AgentConfig::default()
    };

    client.connect().await?;
    let health = client.health_check().await?;
    println!(
        "server    up for {} s, {} agents",
        health.uptime_secs, health.active_agents
    );

    // However often a request has to be sent: one agent starts.
    let agent = client.spawn_remote(config, Some(30)).await?;
    println!("agent     {} is {}", agent.id, agent.status);

    let mut output = client.output(agent.id, Stream::Stdout, ReadFrom::Offset(0));
    while let Some(chunk) = output.next().await? {
        print!("{}", String::from_utf8_lossy(&chunk.data));
    }

    let end = client.wait(agent.id).await?;
    println!("agent     {}, exit code {:?}", end.status, end.exit_code);

    let mut updates = client.subscribe_status_updates(None).await?;
    if let StatusItem::Agents { agents, .. } = updates.next().await? {
        println!("server    knows {} agents", agents.len());
    }
    client.disconnect().await;
    Ok(())
}
