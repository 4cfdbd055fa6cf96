//! Commands that feed agents.

use descartes_testkit::soon;

use crate::host::{Host, assert_transcript};

async fn with_echo() -> Host {
    let host = Host::start().await;
    host.quietly(&[
        "spawn",
        "sh",
        "while read -r line; do echo \"got $line\"; done",
        "--name",
        "echo",
    ]);
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn send_and_close_stdin() {
    let mut host = with_echo().await;
    host.run(&["send", "echo", "hello", "world"]);
    host.run(&["send", "echo", "more", "--json"]);
    host.run(&["send", "nobody", "hello"]);
    host.run(&["close-stdin", "echo"]);
    host.run(&["wait", "echo"]);
    host.run(&["logs", "echo"]);
    host.run(&["send", "echo", "too late"]);
    host.run(&["close-stdin", "echo", "--json"]);
    assert_transcript!("send_and_close_stdin", host.transcript().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_has_just_answered_is_in_its_logs() {
    let host = with_echo().await;
    for number in 1..=5 {
        let text = number.to_string();
        host.quietly(&["send", "echo", &text]);
        let answer = format!("got {number}\n");
        // A search looks at what is on the disk, and does not tell the server how much that is.
        let written = async {
            while host.quietly(&["logs", "echo", "--grep", &text]).stdout != answer {
                tokio::task::yield_now().await;
            }
        };
        soon("the answer", written).await;
        let logs = host.quietly(&["logs", "echo"]).stdout;
        assert!(logs.ends_with(&answer), "{logs:?}");
    }
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_from_elsewhere_is_sent_as_it_is() {
    let host = with_echo().await;
    host.with_input(&["send", "echo", "--close"], "one\ntwo");
    let waited = host.quietly(&["wait", "echo"]);
    assert_eq!(waited.code, 0, "{}", waited.stderr);
    // `read` fails at a line without an end, and so the loop ends before it.
    assert_eq!(host.quietly(&["logs", "echo"]).stdout, "got one\n");
    host.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attach() {
    let mut host = with_echo().await;
    let attached = host.with_input(&["attach", "echo"], "hello\n");
    assert_eq!(
        (attached.stdout.as_str(), attached.code),
        ("got hello\n", 0)
    );
    host.run(&["attach", "echo", "--from-start"]);
    host.run(&["attach", "echo", "--from-start", "--json"]);
    host.run(&["attach", "nobody"]);
    assert_transcript!("attach", host.transcript().await);
}
