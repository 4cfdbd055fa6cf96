//! `spawn`.

use descartes_testkit::soon;

use crate::host::{Host, assert_transcript};

#[tokio::test(flavor = "multi_thread")]
async fn spawn() {
    let mut host = Host::start().await;
    host.run(&["spawn", "sh", "sleep 1000", "--name", "sleeper"]);
    host.run(&[
        "spawn",
        "sh",
        "sleep 1000",
        "--name",
        "labelled",
        "--label",
        "team=web",
        "--metadata",
        "ticket=7",
        "--json",
    ]);
    host.run(&["spawn", "sh", "echo out; echo err >&2; exit 3", "--follow"]);
    host.run(&[
        "spawn", "sh", "echo out", "--name", "told", "--follow", "--json",
    ]);
    host.run(&["spawn", "sh", "kill -KILL $$", "--wait"]);
    host.run(&["spawn", "sh", "true", "--wait", "--detach"]);
    host.run(&["spawn", "shh", "true"]);
    host.run(&["spawn", "absent", "true"]);
    host.run(&["spawn", "sh", "true", "--env", "LD_PRELOAD=x"]);
    host.run(&["spawn", "sh", "true", "--env", "NOT_SET_ANYWHERE"]);
    host.run(&["spawn", "sh", "true", "--cwd", "/no/such/place"]);
    host.run(&["spawn", "sh", "true", "--model", "large"]);
    host.run(&["spawn", "sh", "true", "--memory", "much"]);
    host.run(&["spawn", "sh", ""]);
    host.run(&["spawn", "sh"]);
    assert_transcript!("spawn", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_says_so() {
    let mut host = Host::start_with(|config| config.max_agents = 1).await;
    host.quietly(&["spawn", "sh", "sleep 1000"]);
    host.run(&["spawn", "sh", "sleep 1000"]);
    host.run(&["spawn", "sh", "sleep 1000", "--follow"]);
    assert_transcript!("a_full_server_says_so", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn environment_directory_task_and_input_reach_the_agent() {
    let host = Host::start().await;
    let environment = host.quietly(&[
        "spawn",
        "sh",
        "echo $GREETING; pwd",
        "--env",
        "GREETING=hello",
        "--cwd",
        "/",
        "--follow",
    ]);
    assert_eq!(environment.stdout, "hello\n/\n");
    let task = host.with_input(
        &["spawn", "sh", "-", "--follow"],
        "echo from standard input",
    );
    assert_eq!(task.stdout, "from standard input\n");
    let followed = host.with_input(&["spawn", "sh", "cat", "--stdin", "--follow"], "one\ntwo\n");
    assert_eq!((followed.stdout.as_str(), followed.code), ("one\ntwo\n", 0));
    let unread = "line\n".repeat(1_000_000);
    let waited = host.with_input(
        &["spawn", "sh", "head -1; exit 6", "--stdin", "--wait"],
        &unread,
    );
    assert_eq!(waited.code, 6, "{}", waited.stderr);
    let fed = host.with_input(&["spawn", "sh", "cat", "--stdin"], "three\n");
    let id = fed.stdout.trim().parse().unwrap();
    assert_eq!(host.client().await.stdout(id).await, "three\n");
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_did_not_complete_is_never_exit_code_0() {
    let host = Host::start().await;
    let waiting = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done";
    let id = host
        .quietly(&["spawn", "sh", waiting, "--name", "obedient"])
        .stdout;
    let id = id.trim().parse().unwrap();
    host.client().await.wait_ready(id).await;
    host.quietly(&["stop", "obedient"]);
    let info = soon("the end", host.client().await.wait_end(id)).await;
    assert_eq!(info.exit_code, Some(0));
    let waited = host.quietly(&["wait", "obedient"]);
    assert_eq!(
        (waited.stdout.as_str(), waited.code),
        ("obedient terminated (stopped, exit code 0)\n", 1)
    );
    host.server.stop().await;
}
