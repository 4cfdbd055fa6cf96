//! What is in the state folder after a crash, damaged in every way, and what a server makes of it.
#![cfg(test)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_core::ZmqServerConfig;
use descartes_core::protocol::{
    AgentId, AgentStatus, Command, EndReason, Reply, Request, SpawnRequest,
};
use descartes_shim::tree::Process;
use descartes_testkit::{Client, Stranger, TestServer, processes_of, shell, shim_of, signal, soon};

const ECHOES: &str = "echo ready; while read -r line; do echo \"got $line\"; done";

fn folder(state_dir: &Path, agent: AgentId) -> PathBuf {
    state_dir.join("agents").join(agent.to_string())
}

fn state_dir(test: &TestServer) -> PathBuf {
    test.server.config().state_dir()
}

fn reason(state_dir: &Path, name: &str) -> String {
    let path = state_dir.join("damaged").join(format!("{name}.reason"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

async fn answers(client: &Client, agent: AgentId, word: &str) {
    let line = Command::WriteStdin {
        data: format!("{word}\n").into_bytes().into(),
        close: false,
        position: descartes_core::protocol::StdinPosition::Next,
    };
    client.done(agent, &line).await;
    let wanted = format!("got {word}\n");
    client
        .stdout_until(agent, |seen| seen.ends_with(wanted.as_bytes()))
        .await;
}

fn spawn(request_id: &str, script: &str) -> Request {
    Request::Spawn(SpawnRequest {
        request_id: request_id.to_owned(),
        config: shell(script),
        ..SpawnRequest::default()
    })
}

async fn spawned(client: &Client, request: Request) -> AgentId {
    match client.ask(request).await {
        Reply::Spawn(reply) => reply.agent_info.expect("an agent").id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_exit_record_that_is_cut_short_makes_a_lost_agent_with_all_its_output() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let whole = client.spawn("exit 0").await;
    let cut = spawned(&client, spawn("cut", "echo said; exit 3")).await;
    client.wait_end(whole.id).await;
    client.wait_end(cut).await;
    let again = test
        .crash_and_restart(async |state_dir| {
            let exit = folder(state_dir, cut).join("exit.json");
            std::fs::write(exit, "{\"version\":1,\"exi").unwrap();
            std::fs::create_dir(state_dir.join("agents").join("no-agent")).unwrap();
        })
        .await;
    let client = again.client().await;
    let listed = client.list().await.agents;
    let ids: Vec<AgentId> = listed.iter().map(|agent| agent.id).collect();
    assert_eq!(ids, [whole.id, cut]);
    assert_eq!(listed[0].status, AgentStatus::Completed);
    assert_eq!(listed[1].status, AgentStatus::Failed);
    assert_eq!(listed[1].end_reason, Some(EndReason::Lost));
    assert_eq!(client.stdout(cut).await, "said\n");
    let reason = reason(&state_dir(&again), &format!("{cut}.exit.json"));
    assert!(reason.contains("exit.json"), "{reason}");
    assert!(state_dir(&again).join("damaged/no-agent").is_dir());
    // Its request is still known.
    assert_eq!(
        spawned(&client, spawn("cut", "echo said; exit 3")).await,
        cut
    );
    again.stop().await;
}

#[tokio::test]
async fn an_end_is_known_also_without_the_record_of_the_processes() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("exit 7").await;
    client.wait_end(agent.id).await;
    let again = test
        .crash_and_restart(async |state_dir| {
            std::fs::write(folder(state_dir, agent.id).join("state.json"), "").unwrap();
        })
        .await;
    let info = again.client().await.info(agent.id).await;
    assert_eq!(info.exit_code, Some(7));
    assert_eq!((info.pid, info.status), (None, AgentStatus::Failed));
    again.stop().await;
}

#[tokio::test]
async fn a_finished_agent_whose_spec_is_damaged_is_set_aside_with_its_output() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let (damaged, gone) = (
        client.spawn("echo kept").await.id,
        client.spawn("exit 0").await.id,
    );
    let whole = client.spawn("exit 0").await.id;
    for agent in [damaged, gone, whole] {
        client.wait_end(agent).await;
    }
    let again = test
        .crash_and_restart(async |state_dir| {
            std::fs::write(folder(state_dir, damaged).join("spec.json"), "{}").unwrap();
            std::fs::remove_file(folder(state_dir, gone).join("spec.json")).unwrap();
        })
        .await;
    let listed = again.client().await.list().await.agents;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id, whole);
    let state_dir = state_dir(&again);
    assert!(reason(&state_dir, &damaged.to_string()).contains("missing field"));
    assert!(reason(&state_dir, &gone.to_string()).contains("spec.json is missing"));
    let aside = state_dir.join("damaged").join(damaged.to_string());
    let segment = aside.join("stdout").join("0".repeat(20));
    assert_eq!(std::fs::read_to_string(segment).unwrap(), "kept\n");
    again.stop().await;
}

#[tokio::test]
async fn a_running_agents_damaged_records_are_put_back_by_its_shim() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("a cut spec", |it| {
            std::fs::write(it.join("spec.json"), "{\"ver").unwrap();
        }),
        ("no spec", |it| {
            std::fs::remove_file(it.join("spec.json")).unwrap();
        }),
        ("an empty state", |it| {
            std::fs::write(it.join("state.json"), "").unwrap();
        }),
        ("no state", |it| {
            std::fs::remove_file(it.join("state.json")).unwrap();
        }),
        ("no lock", |it| {
            std::fs::remove_file(it.join("lock")).unwrap();
        }),
    ];
    let mut test = TestServer::start().await;
    let agent = test.client().await.spawn(ECHOES).await;
    for (name, harm) in harms {
        test = test
            .crash_and_restart(async |state_dir| harm(&folder(state_dir, agent.id)))
            .await;
        let client = test.client().await;
        let listed = client.list().await.agents;
        assert_eq!(listed.len(), 1, "{name}");
        assert_eq!(
            (listed[0].pid, &listed[0].name, listed[0].status),
            (agent.pid, &agent.name, AgentStatus::Running),
            "{name}"
        );
        answers(&client, agent.id, "hello").await;
    }
    let damaged = state_dir(&test).join("damaged");
    for record in ["spec.json", "state.json"] {
        assert!(damaged.join(format!("{}.{record}", agent.id)).exists());
    }
    let client = test.client().await;
    client.done(agent.id, &Command::Kill).await;
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    test.stop().await;
}

/// The agent's records are those of a process that has nothing to do with it.
async fn a_foreign_process_is_left_alone(change: impl FnOnce(&mut serde_json::Value, u64)) {
    let stranger = Stranger::start();
    let Process {
        pid, start_time, ..
    } = stranger.process();
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("sleep 1000").await;
    let shim = shim_of(&state_dir(&test), agent.id);
    let again = test
        .crash_and_restart(async |state_dir| {
            signal(shim, "KILL");
            let path = folder(state_dir, agent.id).join("state.json");
            let record = std::fs::read_to_string(&path).unwrap();
            let mut state: serde_json::Value = serde_json::from_str(&record).unwrap();
            state["pid"] = pid.into();
            state["shim_pid"] = pid.into();
            change(&mut state, start_time);
            std::fs::write(&path, state.to_string()).unwrap();
        })
        .await;
    let info = again.client().await.info(agent.id).await;
    assert_eq!(info.status, AgentStatus::Failed);
    assert_eq!(info.end_reason, Some(EndReason::Lost));
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    again.stop().await;
    assert!(!stranger.process().is_dead(), "it was signalled");
}

#[tokio::test]
async fn a_process_that_has_an_agents_pid_by_now_is_left_alone() {
    a_foreign_process_is_left_alone(|_, _| {}).await;
}

#[tokio::test]
async fn after_a_reboot_nothing_is_signalled_by_its_pid() {
    a_foreign_process_is_left_alone(|state, started| {
        state["start_time"] = started.into();
        state["shim_start_time"] = started.into();
        state["boot_id"] = "another boot".into();
    })
    .await;
}

fn checks_often(config: &mut ZmqServerConfig) {
    config.runner_config.health_check_interval_secs = 1;
}

async fn comes_back(path: &Path) {
    let is_there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(&path.display().to_string(), is_there).await;
}

#[tokio::test]
async fn an_agent_whose_folder_is_removed_runs_on_and_is_found_by_the_next_server() {
    let test = TestServer::start_with(checks_often).await;
    let client = test.client().await;
    let agent = client.spawn(ECHOES).await;
    client.wait_ready(agent.id).await;
    let home = folder(&state_dir(&test), agent.id);
    std::fs::remove_dir_all(&home).unwrap();
    comes_back(&home.join("state.json")).await;
    answers(&client, agent.id, "hello").await;
    let again = test.crash_and_restart(async |_| {}).await;
    let client = again.client().await;
    assert_eq!(client.info(agent.id).await.pid, agent.pid);
    answers(&client, agent.id, "again").await;
    client.done(agent.id, &Command::Kill).await;
    let info = client.info(agent.id).await;
    assert_eq!(info.end_reason, Some(EndReason::Killed));
    assert!(home.join("exit.json").exists());
    again.stop().await;
}

#[tokio::test]
async fn an_agent_whose_folder_goes_with_its_server_makes_it_anew() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn(ECHOES).await;
    client.wait_ready(agent.id).await;
    let home = folder(&state_dir(&test), agent.id);
    std::fs::remove_dir_all(&home).unwrap();
    let back = home.join("state.json");
    let again = test
        .crash_and_restart(async |_| comes_back(&back).await)
        .await;
    let client = again.client().await;
    assert_eq!(client.info(agent.id).await.pid, agent.pid);
    answers(&client, agent.id, "hello").await;
    again.stop().await;
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
}

#[tokio::test]
async fn an_agent_whose_shim_stands_still_is_taken_on_from_its_record() {
    let test = TestServer::start().await;
    let agent = test.client().await.spawn(ECHOES).await;
    let shim = shim_of(&state_dir(&test), agent.id);
    signal(shim, "STOP");
    let again = test.crash_and_restart(async |_| {}).await;
    let client = again.client().await;
    let info = client.info(agent.id).await;
    assert_eq!((info.pid, info.status), (agent.pid, AgentStatus::Running));
    signal(shim, "CONT");
    answers(&client, agent.id, "hello").await;
    again.stop().await;
}

#[tokio::test]
async fn a_repeated_spawn_waits_for_an_agent_that_cannot_be_taken_on_yet() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = spawned(&client, spawn("once", "sleep 1000")).await;
    let shim = shim_of(&state_dir(&test), agent);
    signal(shim, "STOP");
    let again = test
        .crash_and_restart(async |state_dir| {
            std::fs::remove_file(folder(state_dir, agent).join("state.json")).unwrap();
        })
        .await;
    let client = again.client().await;
    assert_eq!(client.list().await.agents.len(), 0);
    let repeated = spawned(&client, spawn("once", "sleep 1000"));
    let other = async {
        let other = again.client().await;
        let new = spawned(&other, spawn("another", "exit 0")).await;
        signal(shim, "CONT");
        new
    };
    let (found, new) = tokio::join!(repeated, other);
    assert_eq!(found, agent);
    let ids: Vec<AgentId> = client.list().await.agents.iter().map(|it| it.id).collect();
    assert_eq!(ids, [agent, new]);
    again.stop().await;
}
