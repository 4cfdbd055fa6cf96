//! Which finished agents are kept, and what is left of the others.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use descartes_protocol::{AgentId, ErrorCode, StdinPosition, Stream};
use descartes_runner::{
    AgentHandle, AgentRunner, Departure, DepartureTime, LocalProcessRunner, LocalRunnerConfig,
    OutputRead, READ_LEASE, SpawnError,
};

use super::common::{PATIENCE, config, open, order, soon};

async fn close(runner: LocalProcessRunner) {
    let time = DepartureTime::starting_now(PATIENCE);
    runner.leave(Departure::Detach, &time).await;
}

/// Starts an agent and waits for its end.
async fn run(runner: &LocalProcessRunner, request_id: &str, task: &str) -> AgentHandle {
    let agent = runner.spawn(order(request_id, task)).await.unwrap().agent;
    soon("the agent's end", agent.finished()).await;
    agent
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(what, looking).await;
}

fn listed(runner: &LocalProcessRunner) -> Vec<AgentId> {
    runner.agents(None).iter().map(AgentHandle::id).collect()
}

fn folder(config: &LocalRunnerConfig, id: AgentId) -> PathBuf {
    config.state_dir.join("agents").join(id.to_string())
}

/// Waits until an agent has been removed, which another one's end leads to.
async fn sweep(runner: &LocalProcessRunner, request_id: &str) {
    let agent = run(runner, request_id, "true").await.id();
    until("a sweep", || runner.agent(agent).is_none()).await;
}

#[tokio::test]
async fn the_newest_finished_agents_are_kept_and_nothing_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalRunnerConfig {
        retain_finished: 2,
        ..config(dir.path())
    };
    let runner = open(&config).await;
    let lasting = runner.spawn(order("lasting", "sleep 1000")).await.unwrap();
    let mut agents = Vec::new();
    for number in 0..5 {
        agents.push(run(&runner, &number.to_string(), "echo hello").await.id());
    }
    let kept = [lasting.agent.id(), agents[3], agents[4]];
    until("the others to go", || listed(&runner) == kept).await;
    let folders = std::fs::read_dir(config.state_dir.join("agents")).unwrap();
    assert_eq!(folders.count(), kept.len());
    let removed = std::fs::read_dir(config.state_dir.join("removed")).unwrap();
    assert_eq!(removed.count(), 0);
    soon("the end", lasting.agent.kill()).await.unwrap();
    close(runner).await;
}

#[tokio::test]
async fn an_agent_that_ended_too_long_ago_goes() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path());
    let runner = open(&config).await;
    let old = run(&runner, "old", "true").await.id();
    let young = run(&runner, "young", "true").await.id();
    close(runner).await;
    let path = folder(&config, old).join("exit.json");
    let mut exit: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let ended = exit["finished_at"]["secs"].as_u64().unwrap();
    exit["finished_at"]["secs"] = (ended - 3601).into();
    std::fs::write(&path, exit.to_string()).unwrap();
    let runner = open(&config).await;
    until("the old one to go", || listed(&runner) == [young]).await;
    assert!(!folder(&config, old).exists());
    close(runner).await;
}

#[tokio::test]
async fn output_and_its_times_count_as_bytes_of_the_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalRunnerConfig {
        retain_bytes: 150_000,
        ..config(dir.path())
    };
    let runner = open(&config).await;
    let small = run(&runner, "small", "echo hello").await.id();
    let task = "head -c 75000 /dev/zero";
    let first = run(&runner, "first", task).await.id();
    let second = run(&runner, "second", task).await.id();
    // Their times are what is too much.
    until("the older ones to go", || listed(&runner) == [second]).await;
    for id in [small, first] {
        assert!(!folder(&config, id).exists());
    }
    close(runner).await;
}

#[tokio::test]
async fn a_reader_that_pages_slowly_gets_every_byte_of_an_agent_that_is_due() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalRunnerConfig {
        retain_finished: 0,
        retain_read_for: READ_LEASE,
        ..config(dir.path())
    };
    let runner = open(&config).await;
    // It has been read before it is due.
    let task = "echo 0; read line; seq 1 200000";
    let agent = runner.spawn(order("read", task)).await.unwrap().agent;
    let mut all = Vec::new();
    for page in 0.. {
        let read = OutputRead {
            offset: Some(all.len() as u64),
            max: 400_000,
            wait: PATIENCE,
            ..OutputRead::all(Stream::Stdout)
        };
        let chunk = soon("a page", agent.read(read)).await.unwrap();
        all.extend(chunk.data);
        if chunk.eof {
            break;
        }
        if page == 0 {
            let go = agent.write_stdin(Bytes::from_static(b"go\n"), StdinPosition::Next, false);
            soon("stdin", go).await.unwrap();
        }
        sweep(&runner, &format!("page {page}")).await;
    }
    let numbers = all.split(|&byte| byte == b'\n');
    let expected = (0..=200_000).map(|number| number.to_string().into_bytes());
    assert!(
        numbers.eq(expected.chain([Vec::new()])),
        "{} bytes",
        all.len()
    );
    sweep(&runner, "last").await;
    assert_eq!(listed(&runner), [agent.id()]);
    close(runner).await;
}

#[tokio::test]
async fn an_agent_goes_when_its_last_reader_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalRunnerConfig {
        retain_finished: 0,
        ..config(dir.path())
    };
    let runner = open(&config).await;
    let agent = runner
        .spawn(order("read", "sleep 1000"))
        .await
        .unwrap()
        .agent;
    let readers = [agent.reading().unwrap(), agent.reading().unwrap()];
    soon("the end", agent.kill()).await.unwrap();
    let [first, second] = readers;
    sweep(&runner, "two readers").await;
    drop(first);
    sweep(&runner, "one reader").await;
    assert_eq!(listed(&runner), [agent.id()]);
    drop(second);
    sweep(&runner, "no reader").await;
    until("the agent to go", || listed(&runner).is_empty()).await;
    assert!(!folder(&config, agent.id()).exists());
    // Who still has a handle is told, rather than shown an agent that said nothing.
    let late = agent.read(OutputRead::all(Stream::Stdout)).await;
    assert_eq!(late.unwrap_err().code(), ErrorCode::AgentNotFound);
    close(runner).await;
}

#[tokio::test]
async fn a_removed_agents_request_starts_nothing_for_a_day_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let config = LocalRunnerConfig {
        retain_finished: 0,
        ..config(dir.path())
    };
    let runs = dir.path().join("runs");
    let task = format!("echo ran >> {}", runs.display());
    let mut runner = open(&config).await;
    sweep(&runner, "another").await;
    let agent = run(&runner, "same", &task).await.id();
    until("the agent to go", || runner.agent(agent).is_none()).await;
    for _ in 0..3 {
        let again = runner.spawn(order("same", &task)).await;
        let refused = again.unwrap_err();
        assert_eq!(refused.code(), ErrorCode::AgentNotFound);
        assert!(refused.to_string().contains(&agent.to_string()));
        let other = runner.spawn(order("same", "true")).await;
        assert!(matches!(other, Err(SpawnError::Conflict { .. })));
        close(runner).await;
        runner = open(&config).await;
    }
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "ran\n");
    close(runner).await;
}

#[tokio::test]
async fn a_cgroup_that_was_left_goes_with_its_agent() {
    if let Err(reason) = descartes_runner::cgroups_available() {
        eprintln!("skipped: agents get no cgroups here: {reason}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    let runner = open(&config).await;
    let agent = run(&runner, "agent", "true").await.id();
    close(runner).await;
    let state = std::fs::read(folder(&config, agent).join("state.json")).unwrap();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let leaf = PathBuf::from(state["cgroup"].as_str().unwrap());
    std::fs::create_dir_all(leaf.join("of-its-own")).unwrap();
    config.retain_finished = 0;
    let runner = open(&config).await;
    until("the agent to go", || listed(&runner).is_empty()).await;
    assert!(!leaf.exists());
    close(runner).await;
}
