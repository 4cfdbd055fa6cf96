//! Commands that change nothing.

use descartes_testkit::shell;

use crate::host::{Host, assert_transcript, note, run};

/// A host with an agent that runs, one that has failed, and one with everything that an agent can have.
async fn populated() -> Host {
    let host = Host::start().await;
    let client = host.client().await;
    let mut config = shell("echo ready; exec sleep 1000");
    "runner".clone_into(&mut config.name);
    let labels = [("team".to_owned(), "web".to_owned())];
    config.labels = Some(labels.into());
    let running = host.spawn(config).await;
    client.wait_ready(running).await;
    let mut config = shell("echo to stdout; echo to stderr >&2; exit 3");
    "failure".clone_into(&mut config.name);
    let failed = host.spawn(config).await;
    client.wait_end(failed).await;
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn ls() {
    let mut host = Host::start().await;
    host.run(&["ls"]);
    drop(host);
    let mut host = populated().await;
    host.run(&["ls"]);
    host.run(&["ls", "--all"]);
    host.run(&["ls", "--all", "--json"]);
    host.run(&["ls", "--status", "failed"]);
    host.run(&["ls", "--label", "team=web", "--quiet"]);
    host.run(&["ls", "--all", "--sort", "name"]);
    host.run(&["ls", "--backend", "claude"]);
    host.run(&["ls", "--status", "sleeping"]);
    host.run(&["ls", "--watch"]);
    assert_transcript!("ls", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn show() {
    let mut host = populated().await;
    host.run(&["show", "failure"]);
    host.run(&["show", "runner", "failure", "--json"]);
    host.run(&["show", "runer"]);
    host.run(&["show", "01"]);
    host.run(&["show", "01900000-0000-7000-8000-000000000000"]);
    host.run(&["show"]);
    assert_transcript!("show", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs() {
    let mut host = populated().await;
    host.run(&["logs", "failure"]);
    host.run(&["logs", "failure", "--stdout"]);
    host.run(&["logs", "failure", "--stderr"]);
    host.run(&["logs", "failure", "--timestamps"]);
    host.run(&["logs", "failure", "--json"]);
    host.run(&["logs", "failure", "--follow"]);
    host.run(&["logs", "failure", "--since", "1h"]);
    host.run(&["logs", "failure", "--since", "2999-01-01T00:00:00Z"]);
    host.run(&["logs", "failure", "--since", "yesterday"]);
    host.run(&["logs", "nobody"]);
    assert_transcript!("logs", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_of_the_last_lines() {
    let host = Host::start().await;
    let client = host.client().await;
    let agent = client.spawn("seq 1 100000; seq 1 5 >&2").await;
    client.wait_end(agent.id).await;
    let id = agent.id.to_string();
    let last = host.quietly(&["logs", &id, "--tail", "3"]);
    assert_eq!(last.stdout, "99998\n99999\n100000\n");
    assert_eq!(last.stderr, "3\n4\n5\n");
    let none = host.quietly(&["logs", &id, "--tail", "0"]);
    assert_eq!((none.stdout.as_str(), none.stderr.as_str()), ("", ""));
    let flood = client.spawn("yes").await.id.to_string();
    let last = host.quietly(&["logs", &flood, "--tail", "3"]);
    assert!(last.stdout.lines().count() <= 3, "{}", last.stdout.len());
    let all = host.quietly(&["logs", &id, "--tail", "1000000", "--stdout"]);
    assert_eq!(all.stdout.lines().count(), 100_000);
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_by_expression() {
    let mut host = populated().await;
    host.run(&["logs", "failure", "--grep", "^to"]);
    host.run(&["logs", "failure", "--grep", "STDERR"]);
    host.run(&["logs", "failure", "--grep", "(?i)STDERR", "--json"]);
    host.run(&["logs", "failure", "--stderr", "-g", "err$"]);
    host.run(&["logs", "failure", "--grep", "(to"]);
    host.run(&["logs", "failure", "--grep", "-to|err"]);
    host.run(&["logs", "failure", "--grep", "to", "--follow"]);
    assert_transcript!("logs_by_expression", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_lines_that_match_are_found_or_the_last_ones() {
    let host = Host::start().await;
    let client = host.client().await;
    let agent = client.spawn("seq 1 200000; seq 1 25 >&2").await;
    client.wait_end(agent.id).await;
    let id = agent.id.to_string();
    // More than one answer holds.
    let odd = host.quietly(&["logs", &id, "--stdout", "--grep", "[13579]$"]);
    let numbers = odd.stdout.lines().map(|line| line.parse::<u32>().unwrap());
    assert!(numbers.eq((1..200_000).step_by(2)));
    let last = host.quietly(&["logs", &id, "--grep", "5$", "--tail", "2"]);
    assert_eq!(last.stdout, "199985\n199995\n");
    assert_eq!(last.stderr, "15\n25\n");
    // More than one answer holds.
    let last = host.quietly(&["logs", &id, "--stdout", "--grep", "", "--tail", "150000"]);
    let numbers = last.stdout.lines().map(|line| line.parse::<u32>().unwrap());
    assert!(numbers.eq(50_001..=200_000));
    // It ends where the output ended when it began, and it may be that all of that is dropped before it is there.
    let flood = client.spawn("exec seq 1 1000000000000").await.id;
    client
        .stdout_until(flood, |output| output.len() > 1 << 20)
        .await;
    let found = host.quietly(&["logs", &flood.to_string(), "--grep", "77$"]);
    assert_eq!(found.code, 0, "{}", found.stderr);
    assert!(found.stdout.lines().all(|line| line.ends_with("77")));
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_known_agents_are_rendered_where_that_is_wanted() {
    let mut host = Host::start().await;
    let said = r#"{"type":"item.completed","item":{"type":"agent_message","text":"Done."}}"#;
    let script = format!("echo starting; echo '{said}'; echo ended >&2");
    let agent = host.client().await.spawn(&script).await;
    host.client().await.wait_end(agent.id).await;
    host.run(&["logs", "test-agent", "--render", "always"]);
    host.run(&["logs", "test-agent"]);
    host.run(&["logs", "test-agent", "--render", "always", "--grep", "ted"]);
    let piece = |text: &str| {
        format!(
            r#"{{"type":"message","timestamp":"2026","role":"assistant","content":"{text}","delta":true}}"#
        )
    };
    let pieces = ["one error", ", and more", "another error"].map(piece);
    let mut config = shell(&format!("printf '%s\n' '{}'", pieces.join("' '")));
    "pieces".clone_into(&mut config.name);
    let agent = host.spawn(config).await;
    host.client().await.wait_end(agent).await;
    host.run(&["logs", "pieces", "--render", "always"]);
    host.run(&["logs", "pieces", "--render", "always", "--grep", "error"]);
    assert_transcript!("rendered", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn events() {
    let mut host = populated().await;
    host.run(&["events"]);
    host.run(&["events", "failure", "--json"]);
    host.run(&["events", "--tail", "1"]);
    host.run(&["events", "nobody"]);
    assert_transcript!("events", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn health() {
    let mut host = populated().await;
    host.run(&["health"]);
    host.run(&["health", "--json"]);
    assert_transcript!("health", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn stats() {
    let mut host = populated().await;
    host.run(&["stats"]);
    host.run(&["stats", "--json"]);
    // How many there are is up to how often the test had to ask.
    let transcript = host.transcript().await;
    let counts = |char: char| char.is_ascii_digit();
    let names: Vec<&str> = transcript
        .split(counts)
        .filter(|part| !part.is_empty())
        .collect();
    assert_transcript!("stats", names.join("N"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there() {
    let mut transcript = String::new();
    for (server, arguments) in [
        ("ipc:///nonexistent/server.sock", &["health"][..]),
        ("ipc:///nonexistent/server.sock", &["ls", "--json"]),
        ("ipc:///nonexistent/server.sock", &["wait", "somebody"]),
        ("tcp://0.0.0.0:5555", &["health"]),
        ("build", &["health"]),
        ("127.0.0.1:1", &["health"]),
        ("no/such/client.toml", &["health"]),
        ("http://build:80", &["health"]),
    ] {
        let run = run(server, arguments, "");
        let mut words = vec!["--server", server];
        words.extend(arguments);
        note(&mut transcript, &words, &run);
    }
    assert_transcript!("a_server_that_is_not_there", transcript);
}

#[tokio::test(flavor = "multi_thread")]
async fn help_and_typing_errors() {
    let mut transcript = String::new();
    for arguments in [
        &["--help"][..],
        &["--version"],
        &["spwan"],
        &["ls", "--stauts", "failed"],
        &["spawn", "--help"],
        &["completions", "tcsh"],
    ] {
        let run = run("", arguments, "");
        note(&mut transcript, arguments, &run);
    }
    assert_transcript!("help_and_typing_errors", transcript);
    for shell in ["bash", "zsh", "fish"] {
        let script = run("", &["completions", shell], "");
        assert!(script.stdout.contains("close-stdin"), "{}", script.stderr);
    }
}
