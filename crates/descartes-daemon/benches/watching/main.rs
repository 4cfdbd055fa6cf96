//! What watching agents costs, and how soon it shows what they do.
//!
//! `cargo bench -p descartes-daemon --bench watching`: the time from an agent's write to a client's read, at rest and
//! beside agents that write as fast as they can; the server's CPU time for events that nobody, a subscriber and a client
//! that asks follow; that of output that nobody watches; and how long queries of that output take.
#![expect(clippy::print_stdout, reason = "printing is what a benchmark does")]

mod lab;
mod latency;

use std::time::{Duration, Instant};

use descartes_client::protocol::{AgentId, Command, StreamSelection};
use descartes_client::{ClientError, OutputQuery, ZmqAgentRunner, ZmqClient};
use descartes_testkit::shim_of;

use lab::{Lab, Usage};

/// What a gigabyte is here.
const GIGABYTE: u64 = 1_000_000_000;

/// How long events are counted.
const EVENTS_MEASURED: Duration = Duration::from_secs(10);

/// An agent that says some 10,000 times a second what it does.
const BUSY: &str = r#"text=$(i=0; while [ $i -lt 48 ]; do printf '{"type":"thinking"}\n{"type":"running"}\n'; i=$((i+1)); done)
while :; do echo "$text"; sleep 0.008; done"#;

#[tokio::main]
async fn main() -> Result<(), ClientError> {
    let lab = Lab::start().await;
    latency::measure(&lab).await?;
    events(&lab).await?;
    gigabyte(&lab).await?;
    lab.stop().await;
    Ok(())
}

/// The server's CPU time for an agent whose status changes all the time.
async fn events(lab: &Lab) -> Result<(), ClientError> {
    let agent = lab.spawn("sh", BUSY).await?;
    report_events(lab, agent, "nobody follows").await?;
    let topic = format!("status/{agent}");
    let subscriber = lab.subscriber(&topic).await;
    let listening = tokio::spawn(async move { while subscriber.recv().await.is_ok() {} });
    report_events(lab, agent, "a subscriber follows").await?;
    let mut updates = lab.client().subscribe_status_updates(None).await?;
    let asking = tokio::spawn(async move { while updates.next().await.is_ok() {} });
    report_events(lab, agent, "a subscriber and one who asks follow").await?;
    listening.abort();
    asking.abort();
    lab.client().kill(agent).await?;
    Ok(())
}

async fn report_events(lab: &Lab, agent: AgentId, who: &str) -> Result<(), ClientError> {
    let events_before = lab.client().agent(agent).await?.agent_sequence;
    let (began, before) = (Instant::now(), lab.usage());
    tokio::time::sleep(EVENTS_MEASURED).await;
    let events = lab.client().agent(agent).await?.agent_sequence - events_before;
    let events = f64::from(u32::try_from(events).unwrap_or(u32::MAX));
    let cpu = lab.usage().since(&before);
    let secs = began.elapsed().as_secs_f64();
    let (per_second, share) = (events / secs, cpu.as_secs_f64() / secs);
    println!(
        "{per_second:.0} events/s, {who}: {:.1} % of a core, {:.1} % for 10,000",
        100.0 * share,
        100.0 * share * 10_000.0 / per_second
    );
    Ok(())
}

/// A gigabyte that nobody watches, and queries of it.
async fn gigabyte(lab: &Lab) -> Result<(), ClientError> {
    let before = lab.usage();
    let write = format!("yes 'a line of an agent, number 17.' | head -c {GIGABYTE}; sleep 1000");
    let agent = lab.spawn("writer", &write).await?;
    let shim = shim_of(&lab.state_dir(), agent);
    while lab.client().agent(agent).await?.output.stdout_bytes < GIGABYTE {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!(
        "1 GB that nobody watches: {:?} of the server's CPU time, {:?} of the shim's",
        lab.usage().since(&before),
        Usage::of(shim).cpu
    );
    let memory = lab.usage().resident;
    let filter = |filter: &str| OutputQuery {
        stream: StreamSelection::Stdout,
        filter: Some(filter.to_owned()),
        limit: Some(10),
        ..OutputQuery::default()
    };
    let last_match = OutputQuery {
        tail: true,
        count: false,
        ..filter("[0-9]+\\.$")
    };
    let first = OutputQuery {
        filter: None,
        ..filter("")
    };
    query(lab.client(), agent, "the first 10 lines", &first).await?;
    query(
        lab.client(),
        agent,
        "matching [0-9]+\\.$",
        &filter("[0-9]+\\.$"),
    )
    .await?;
    query(
        lab.client(),
        agent,
        "the last 10 matching it, uncounted",
        &last_match,
    )
    .await?;
    query(
        lab.client(),
        agent,
        "matching nothing",
        &filter("no line has this"),
    )
    .await?;
    let began = Instant::now();
    let last = Command::QueryOutput {
        stdout: true,
        stderr: false,
        max_lines: Some(10),
        tail: true,
    };
    lab.client().command(agent, &last).await?;
    println!("the last 10 lines: {:?}", began.elapsed());
    let grown = lab.usage().resident.saturating_sub(memory);
    println!("the server's memory has grown by {} KiB", grown / 1024);
    lab.client().kill(agent).await?;
    Ok(())
}

async fn query(
    client: &ZmqClient,
    agent: AgentId,
    what: &str,
    query: &OutputQuery,
) -> Result<(), ClientError> {
    let began = Instant::now();
    let found = client.query_output(agent, query).await?;
    let total = found
        .total_lines
        .map_or("not".to_owned(), |total| total.to_string());
    println!("{what}: {:?}, {total} counted", began.elapsed());
    Ok(())
}
