//! Commands that do something to agents.

use crate::host::{Host, assert_transcript};

/// A host with two agents of the same team, in the order of their names.
async fn two_agents() -> Host {
    let host = Host::start().await;
    for name in ["first", "second"] {
        let spawned = host.quietly(&[
            "spawn",
            "sh",
            "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done",
            "--name",
            name,
            "--label",
            "team=web",
        ]);
        let id = spawned
            .stdout
            .trim()
            .parse()
            .unwrap_or_else(|_| panic!("{}", spawned.stderr));
        host.client().await.wait_ready(id).await;
    }
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn pause_and_resume() {
    let mut host = two_agents().await;
    host.run(&["pause", "first"]);
    host.run(&["pause", "first", "second"]);
    host.run(&["pause", "first", "--json"]);
    host.run(&["show", "first", "--json"]);
    host.run(&["resume", "--label", "team=web", "--yes"]);
    host.run(&["resume", "first", "second", "--json"]);
    host.run(&["pause", "first", "--mode", "cooperative"]);
    host.run(&["pause", "first", "--mode", "gently"]);
    host.run(&["pause", "nobody"]);
    assert_transcript!("pause_and_resume", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_and_kill() {
    let mut host = two_agents().await;
    host.run(&["stop", "first"]);
    host.run(&["stop", "first"]);
    host.run(&["kill", "second", "--json"]);
    host.run(&["kill", "second", "--json"]);
    host.run(&["stop", "--all"]);
    host.run(&["stop"]);
    host.run(&["stop", "first", "--all"]);
    host.run(&["stop", "first", "--grace", "soon"]);
    assert_transcript!("stop_and_kill", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_agents_are_stopped_only_where_that_was_confirmed() {
    let mut host = two_agents().await;
    host.run(&["stop", "--all"]);
    host.run(&["kill", "--label", "team"]);
    host.run(&["ls", "--label", "team=mail"]);
    host.run(&["stop", "--label", "team=mail", "--yes"]);
    host.run(&["stop", "--all", "--yes"]);
    host.run(&["ls"]);
    assert_transcript!(
        "all_agents_are_stopped_only_where_that_was_confirmed",
        host.transcript().await
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signal() {
    let mut host = two_agents().await;
    host.run(&["signal", "SIGWINCH", "first"]);
    host.run(&["signal", "28", "first", "second", "--json", "--leader"]);
    host.run(&["signal", "-28", "first"]);
    host.run(&["signal", "NONSENSE", "first"]);
    host.run(&["signal", "TERM"]);
    assert_transcript!("signal", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait() {
    let mut host = two_agents().await;
    host.run(&["wait", "first", "--timeout", "0.01"]);
    host.quietly(&["kill", "first"]);
    host.quietly(&["kill", "second"]);
    host.quietly(&["spawn", "sh", "exit 3", "--name", "failure", "--wait"]);
    host.run(&["wait", "first", "--timeout", "0"]);
    host.run(&["wait", "failure", "--json"]);
    host.run(&["wait", "failure", "first", "second"]);
    host.run(&["wait", "first", "second", "--any"]);
    host.run(&["wait", "nobody"]);
    host.run(&["wait", "--label", "team=web"]);
    host.quietly(&[
        "spawn",
        "sh",
        "sleep 1000",
        "--name",
        "third",
        "--label",
        "team=web",
    ]);
    host.run(&["wait", "--label", "team=web", "--timeout", "0.01"]);
    assert_transcript!("wait", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_id_is_nobody_elses_name() {
    let host = Host::start().await;
    let meant = host.quietly(&["spawn", "sh", "sleep 1000", "--name", "meant"]);
    let id = meant.stdout.trim();
    host.quietly(&["spawn", "sh", "sleep 1000", "--name", id]);
    let stopped = host.quietly(&["kill", id]);
    assert!(
        stopped.stdout.starts_with("meant killed"),
        "{}",
        stopped.stdout
    );
    host.server.stop().await;
}
