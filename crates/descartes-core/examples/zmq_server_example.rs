//! The smallest server: `cargo run --example zmq_server_example`. Ctrl-C stops it and its agents.

use descartes_core::{ZmqAgentServer, ZmqServerConfig};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();

    // The endpoint can be reached from other hosts, so the server makes keys at its first start,
    // and its log names the file that a client needs.
    let config = ZmqServerConfig {
        endpoint: "tcp://0.0.0.0:5555".to_string(),
        server_id: "server-01".to_string(),
        max_agents: 100,
        status_update_interval_secs: 10,
        enable_status_updates: true,
        ..Default::default()
    };
    let server = ZmqAgentServer::new(config);

    let stopping = server.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_err() {
            tracing::warn!("Ctrl-C cannot be caught; the server stops with the terminal");
            return;
        }
        let stats = stopping.stats();
        tracing::info!(
            spawn_requests = stats.spawn_requests,
            successful_spawns = stats.successful_spawns,
            active_agents = stopping.active_agent_count(),
            uptime_secs = stopping.uptime_secs().unwrap_or(0),
            "stopping"
        );
        if let Err(error) = stopping.stop().await {
            tracing::error!(%error, "failed to stop in order");
        }
    });

    server.start().await?;
    Ok(())
}
