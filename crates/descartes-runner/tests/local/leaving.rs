//! What a runner that leaves says of the agents that it leaves behind.

use std::path::Path;

use descartes_protocol::{
    AgentStatus, ErrorCode, PauseRequest, SignalNumber, SignalScope, StdinPosition,
};
use descartes_runner::{
    AgentError, AgentHandle, AgentRunner, Departure, DepartureTime, LocalProcessRunner,
};
use descartes_shim::record::{self, State};
use rustix::process::{Pid, Signal, kill_process};

use super::common::{PATIENCE, config, open, order, soon};

async fn spawn(runner: &LocalProcessRunner, request_id: &str) -> AgentHandle {
    let order = order(request_id, "sleep 1000");
    runner.spawn(order).await.unwrap().agent
}

async fn detach(runner: LocalProcessRunner) {
    let time = DepartureTime::starting_now(PATIENCE);
    soon("the end", runner.leave(Departure::Detach, &time)).await;
}

/// Ends an agent that was left behind.
async fn end(dir: &Path, agent: &AgentHandle) {
    let runner = open(&config(dir)).await;
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
    let runner = open(&config(dir.path())).await;
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
    let runner = open(&config(dir.path())).await;
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
