//! When an agent has ended, no process of it is left: by cgroup where one can be had, and without.
#![cfg(test)]

use std::path::PathBuf;
use std::time::Duration;

use descartes_core::protocol::{AgentId, AgentStatus, Command, EndReason, PauseRequest, Stream};
use descartes_testkit::{Client, TestServer, processes_of, processes_whose, shim_of, signal};

/// A way to find and kill the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Means {
    Cgroup,
    Descent,
}

/// How an agent comes to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    ByItself,
    Stop,
    Kill,
    KillWhilePaused,
}

/// Starts a server with these means; `None`, loudly, where this host does not have them.
async fn server(means: Means) -> Option<TestServer> {
    if means == Means::Cgroup
        && let Err(reason) = descartes_core::runner::cgroups_available()
    {
        eprintln!("SKIPPED the cgroup half of a test: {reason}");
        return None;
    }
    let use_cgroups = means == Means::Cgroup;
    Some(TestServer::start_with(|config| config.runner_config.use_cgroups = use_cgroups).await)
}

/// A script that starts a family of the worst kind and prints `ready` when all of it is there.
/// `token` stands in every member's command line, also where the environment was cleared.
fn family(token: &str, then: &str) -> String {
    format!(
        "( trap '' TERM HUP INT; exec setsid sleep 1000.{token} ) &
         ( ( setsid sh -c 'trap \"\" TERM; sleep 1001.{token} & sleep 1002.{token}' & ) & )
         ( env -i setsid sh -c 'trap \"\" TERM; sleep 1003.{token} & sleep 1004.{token}' & )
         nohup sleep 1005.{token} >/dev/null 2>&1 &
         until [ $(grep -lsa '100[0-5]\\.{token}' /proc/[0-9]*/cmdline | xargs -r grep -Lsa 'sh' | wc -l) -ge 6 ]; do sleep 0.02; done
         echo ready
         {then}"
    )
}

/// Pids of processes that have `token` in their command line.
fn members(token: &str) -> Vec<i32> {
    processes_whose("cmdline", |command| {
        String::from_utf8_lossy(command).contains(token)
    })
}

fn token() -> String {
    let id = AgentId::generate().to_string();
    let digits = u64::from_str_radix(&id[id.len() - 12..], 16).unwrap();
    format!("{digits:015}")
}

async fn end(client: &Client, id: AgentId, how: End) {
    match how {
        End::ByItself => {
            let go = Command::CloseStdin;
            client.done(id, &go).await;
        }
        End::Stop => {
            let grace = Some(Duration::from_millis(200));
            let data = client.done(id, &Command::Stop { grace, wait: true }).await;
            assert_eq!(data.get("forced").unwrap().as_bool(), Some(true));
        }
        End::Kill => drop(client.done(id, &Command::Kill).await),
        End::KillWhilePaused => {
            let mode = PauseRequest::Forced;
            client.done(id, &Command::Pause { mode }).await;
            client.done(id, &Command::Kill).await;
        }
    }
}

async fn nothing_is_left(means: Means, how: End, reason: EndReason) {
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let token = token();
    let agent = client.spawn(&family(&token, "read line; exit 0")).await;
    client.wait_ready(agent.id).await;
    assert!(members(&token).len() >= 6);
    end(&client, agent.id, how).await;
    let info = client.wait_end(agent.id).await;
    assert_eq!(info.end_reason, Some(reason), "{info:?}");
    assert_eq!(members(&token), Vec::<i32>::new(), "{means:?} {how:?}");
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    assert_eq!(leaves_of(agent.id), Vec::<PathBuf>::new());
    server.stop().await;
}

fn leaves_of(id: AgentId) -> Vec<PathBuf> {
    fn look(dir: PathBuf, name: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name() == name {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                look(entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    look("/sys/fs/cgroup".into(), &id.to_string(), &mut found);
    found
}

macro_rules! for_both_means {
    ($($name:ident: $how:expr, $reason:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn with_a_cgroup() {
                nothing_is_left(Means::Cgroup, $how, $reason).await;
            }

            #[tokio::test]
            async fn without_one() {
                nothing_is_left(Means::Descent, $how, $reason).await;
            }
        }
    )*};
}

for_both_means! {
    an_agent_that_ended_by_itself_leaves_nothing: End::ByItself, EndReason::Exited;
    an_agent_that_was_stopped_leaves_nothing: End::Stop, EndReason::Stopped;
    an_agent_that_was_killed_leaves_nothing: End::Kill, EndReason::Killed;
    an_agent_that_was_killed_while_paused_leaves_nothing: End::KillWhilePaused, EndReason::Killed;
}

async fn a_pause_stops_every_process(means: Means) {
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let script = "echo ready; setsid sh -c 'while :; do echo child; sleep 0.01; done' & \
                  while :; do echo leader; sleep 0.01; done";
    let agent = client.spawn(script).await;
    client.wait_ready(agent.id).await;
    let mode = PauseRequest::Forced;
    client.done(agent.id, &Command::Pause { mode }).await;
    assert_eq!(client.info(agent.id).await.status, AgentStatus::Paused);
    // What was in the pipe when the tree froze is still copied; after that nothing comes.
    let mut offset = 0;
    let mut silent = false;
    for _ in 0..1000 {
        let read = Command::Read {
            stream: Stream::Stdout,
            offset: Some(offset),
            max_bytes: None,
            wait: Duration::from_millis(300),
            since: None,
            times: false,
        };
        let data = client.done(agent.id, &read).await;
        offset = data.get("next_offset").unwrap().as_u64().unwrap();
        silent = data.get("bytes").unwrap().as_u64() == Some(0);
        if silent {
            break;
        }
    }
    assert!(silent, "the paused agent went on writing");
    client.done(agent.id, &Command::Resume).await;
    let before = usize::try_from(offset).unwrap();
    client
        .stdout_until(agent.id, |output| output.len() > before)
        .await;
    server.stop().await;
}

#[tokio::test]
async fn a_pause_stops_every_process_with_a_cgroup() {
    a_pause_stops_every_process(Means::Cgroup).await;
}

#[tokio::test]
async fn a_pause_stops_every_process_without_one() {
    a_pause_stops_every_process(Means::Descent).await;
}

async fn what_a_dead_shim_leaves_is_killed(means: Means) {
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let agent = client
        .spawn("setsid sleep 1000 & echo ready; sleep 1000")
        .await;
    client.wait_ready(agent.id).await;
    signal(
        shim_of(&server.server.config().state_dir(), agent.id),
        "KILL",
    );
    let info = client.wait_end(agent.id).await;
    assert_eq!(
        (info.status, info.end_reason),
        (AgentStatus::Failed, Some(EndReason::Lost))
    );
    assert_eq!((info.exit_code, info.exit_signal), (None, None));
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    server.stop().await;
}

#[tokio::test]
async fn what_a_dead_shim_leaves_is_killed_with_a_cgroup() {
    what_a_dead_shim_leaves_is_killed(Means::Cgroup).await;
}

#[tokio::test]
async fn what_a_dead_shim_leaves_is_killed_without_one() {
    what_a_dead_shim_leaves_is_killed(Means::Descent).await;
}
