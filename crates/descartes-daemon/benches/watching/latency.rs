//! How long it takes from an agent's write to a client's read.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use descartes_client::protocol::{AgentId, Stream};
use descartes_client::{ClientError, OutputReader, ReadFrom};
use tokio::time::Instant;

use crate::lab::Lab;

/// How long each is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// Writes what time it is, again and again.
const CLOCK: &str = "while :; do date +%s%N; sleep 0.02; done";

/// Agents that write as fast as they can.
const FLOODS: usize = 2;

/// Measures at rest, and beside floods.
pub(crate) async fn measure(lab: &Lab) -> Result<(), ClientError> {
    let clock = lab.spawn("writer", CLOCK).await?;
    report(lab, clock, "at rest").await?;
    let mut floods = Vec::new();
    for _ in 0..FLOODS {
        floods.push(lab.spawn("writer", "yes").await?);
    }
    report(lab, clock, "beside two floods").await?;
    for agent in floods.into_iter().chain([clock]) {
        lab.client().kill(agent).await?;
    }
    Ok(())
}

async fn report(lab: &Lab, clock: AgentId, when: &str) -> Result<(), ClientError> {
    let from = lab.client().agent(clock).await?.output.stdout_bytes;
    let reader = lab
        .client()
        .output(clock, Stream::Stdout, ReadFrom::Offset(from));
    println!("{when}, held requests: {}", by_requests(reader).await?);
    println!("{when}, event socket: {}", by_events(lab, clock).await);
    Ok(())
}

async fn by_requests(mut reader: OutputReader) -> Result<Latencies, ClientError> {
    let mut latencies = Latencies::default();
    let end = Instant::now() + MEASURED;
    while Instant::now() < end {
        let Some(chunk) = reader.next().await? else {
            break;
        };
        latencies.add(&chunk.data);
    }
    Ok(latencies)
}

async fn by_events(lab: &Lab, clock: AgentId) -> Latencies {
    let subscriber = lab.subscriber(&format!("log/{clock}/stdout")).await;
    let mut latencies = Latencies::default();
    let end = Instant::now() + MEASURED;
    while Instant::now() < end {
        let Ok((_, body)) = subscriber.recv().await else {
            break;
        };
        let data = descartes_client::protocol::LogStream::decode(body);
        latencies.add(&data.map_or_else(|_| Bytes::new(), |log| log.data));
    }
    latencies
}

/// A distribution.
#[derive(Debug, Default)]
struct Latencies(Vec<Duration>);

impl Latencies {
    /// Takes the time of the last line in it.
    fn add(&mut self, data: &[u8]) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let line = data.trim_ascii_end().rsplit(|byte| *byte == b'\n').next();
        let written = line.and_then(|line| std::str::from_utf8(line).ok()?.parse().ok());
        self.0
            .extend(written.map(|nanos| now.saturating_sub(Duration::from_nanos(nanos))));
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(last) = sorted.last() else {
            return write!(formatter, "nothing came");
        };
        let (p50, p99) = (sorted[sorted.len() / 2], sorted[sorted.len() * 99 / 100]);
        write!(
            formatter,
            "p50 {p50:?}, p99 {p99:?}, max {last:?}, of {}",
            sorted.len()
        )
    }
}
