//! `descartes health`.

use std::time::{Duration, Instant};

use clap::Args;
use descartes_client::ZmqAgentRunner;
use serde_json::json;

use crate::cli::Context;
use crate::error::Result;
use crate::exit;
use crate::output::{self, Format};
use crate::select::count;
use crate::time;

/// Say whether the server is well
///
/// The exit code is 0 where it takes work, and 1 where it answers but does not, as it shuts down.
#[derive(Debug, Args)]
pub(crate) struct Health {}

impl Health {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let server = context.server()?;
        let client = context.connect().await?;
        let asked = Instant::now();
        let health = client.health_check().await?;
        let round_trip = asked.elapsed();
        match context.format {
            Format::Json => output::json(&json!({
                "endpoint": server.endpoint,
                "healthy": health.healthy,
                "protocol_version": health.protocol_version,
                "uptime_secs": health.uptime_secs,
                "active_agents": health.active_agents,
                "round_trip_ms": round_trip.as_secs_f64() * 1000.0,
                "metadata": health.metadata,
            }))?,
            Format::Text => {
                let about = |key: &str| health.metadata.get(key).map_or("?", String::as_str);
                output::line(format_args!(
                    "{} at {} is {}",
                    about("server_id"),
                    server.endpoint,
                    if health.healthy {
                        "healthy"
                    } else {
                        "shutting down"
                    },
                ))?;
                output::line(format_args!(
                    "up {}, {} running, version {}, protocol {}, answered in {:.1} ms",
                    time::short(Duration::from_secs(health.uptime_secs)),
                    count(usize::try_from(health.active_agents).unwrap_or(usize::MAX)),
                    about("server_version"),
                    health.protocol_version,
                    round_trip.as_secs_f64() * 1000.0,
                ))?;
            }
        }
        Ok(if health.healthy {
            exit::DONE
        } else {
            exit::REFUSED
        })
    }
}
