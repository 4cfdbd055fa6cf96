//! What a runner that leaves says of the agents that it leaves behind.
#![cfg(test)]

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::{
    AgentConfig, AgentStatus, ErrorCode, PauseRequest, SignalNumber, SignalScope, StdinPosition,
};
use descartes_runner::backend::{Backends, HostEnv};
use descartes_runner::{
    AgentError, AgentHandle, AgentRunner, AgentUpdate, Departure, DepartureTime,
    LocalProcessRunner, LocalRunnerConfig, Observer, ProcessRunnerConfig, READ_LEASE, SpawnOrder,
};
use descartes_shim::record::{self, State};
use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything that works takes on a slow machine.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn update(&self, _: AgentUpdate) {}
}

async fn open(dir: &Path) -> LocalProcessRunner {
    let table = toml::toml! {
        [sh]
        command = "sh"
        args = ["-c", "{task}"]
        stdin = "pipe"
    };
    let config = LocalRunnerConfig {
        server_id: "test-server".to_owned(),
        state_dir: dir.join("state"),
        max_agents: 100,
        process: ProcessRunnerConfig {
            orphan_timeout_secs: 120,
            ..ProcessRunnerConfig::default()
        },
        backends: Backends::builtin().with_config(&table).unwrap(),
        host_env: HostEnv::from_process(),
        retain_finished: usize::MAX,
        retain_for: Duration::from_hours(1),
        retain_bytes: u64::MAX,
        retain_read_for: READ_LEASE,
    };
    let opened = LocalProcessRunner::open(config, Arc::new(Nobody));
    opened.await.unwrap()
}

async fn spawn(runner: &LocalProcessRunner, request_id: &str) -> AgentHandle {
    let order = SpawnOrder {
        client: None,
        request_id: request_id.to_owned(),
        config: AgentConfig {
            name: "test-agent".to_owned(),
            model_backend: "sh".to_owned(),
            task: "sleep 1000".to_owned(),
            ..AgentConfig::default()
        },
        metadata: None,
        timeout: PATIENCE,
    };
    runner.spawn(order).await.unwrap().agent
}

async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, event).await;
    came.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

async fn detach(runner: LocalProcessRunner) {
    let time = DepartureTime::starting_now(PATIENCE);
    soon("the end", runner.leave(Departure::Detach, &time)).await;
}

/// Ends an agent that was left behind.
async fn end(dir: &Path, agent: &AgentHandle) {
    let runner = open(dir).await;
    let found = runner.agent(agent.id()).unwrap();
    assert_eq!(found.status(), AgentStatus::Running);
    soon("the agent's end", found.kill()).await.unwrap();
    detach(runner).await;
}

/// What a fault says, to programs and to people.
fn told<T: std::fmt::Debug>(outcome: Result<T, AgentError>) -> (ErrorCode, String) {
    let error = outcome.unwrap_err();
    (error.code(), error.to_string())
}

/// Stands still until this is dropped.
struct Still(Pid);

impl Still {
    fn shim_of(dir: &Path, agent: &AgentHandle) -> Self {
        let folder = dir.join("state/agents").join(agent.id().to_string());
        let state: State = record::read(&folder, record::STATE).unwrap().unwrap();
        let shim = Pid::from_raw(state.shim_pid).unwrap();
        kill_process(shim, Signal::STOP).unwrap();
        Self(shim)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        // It may have gone.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

#[tokio::test]
async fn commands_for_an_agent_that_was_let_go_say_that_the_server_is_shutting_down() {
    let dir = tempfile::tempdir().unwrap();
    let runner = open(dir.path()).await;
    let agent = spawn(&runner, "left").await;
    detach(runner).await;
    let window_change = SignalNumber::new(28).unwrap();
    let outcomes = [
        told(agent.pause(PauseRequest::Forced).await),
        told(agent.signal(window_change, SignalScope::Tree).await),
        told(agent.begin_stop(None)),
        told(agent.kill().await),
        told(
            agent
                .write_stdin("hello\n".into(), StdinPosition::Next, false)
                .await,
        ),
    ];
    for (code, error) in outcomes {
        assert_eq!(code, ErrorCode::ShuttingDown, "{error}");
        assert!(error.ends_with("this was not done"), "{error}");
    }
    end(dir.path(), &agent).await;
}

#[tokio::test]
async fn commands_that_a_shim_has_not_answered_are_of_unknown_outcome_once_the_server_lets_go() {
    let dir = tempfile::tempdir().unwrap();
    let runner = open(dir.path()).await;
    let agent = spawn(&runner, "left").await;
    let still = Still::shim_of(dir.path(), &agent);
    let window_change = SignalNumber::new(28).unwrap();
    let signal = agent.signal(window_change, SignalScope::Tree);
    let write = agent.write_stdin("hello\n".into(), StdinPosition::Next, false);
    detach(runner).await;
    for (code, error) in [told(signal.await), told(write.await)] {
        assert_eq!(code, ErrorCode::ShuttingDown, "{error}");
        assert!(error.ends_with("is not known"), "{error}");
    }
    drop(still);
    end(dir.path(), &agent).await;
}
