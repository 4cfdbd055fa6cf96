//! What goes on while the server does not.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use descartes_testkit::{TestServer, socket_endpoint, soon};

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::disallowed_methods,
    reason = "the program under test; no agent is started here"
)]
async fn a_follower_sees_every_line_across_a_crash_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = socket_endpoint(dir.path());
    let mut server = TestServer::start_on_socket(dir).await;
    let script = "i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.01; done; exit 5";
    let mut follower = Command::new(env!("CARGO_BIN_EXE_descartes"))
        .args([
            "spawn", "sh", script, "--name", "counter", "--follow", "--server", &endpoint,
        ])
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(follower.stdout.take().unwrap());
    let (sender, mut lines) = tokio::sync::mpsc::channel(1000);
    std::thread::spawn(move || {
        for line in stdout.lines().map_while(Result::ok) {
            let _ = sender.blocking_send(line);
        }
    });
    for number in 0..200 {
        let line = soon("a line", lines.recv()).await;
        assert_eq!(line.as_deref(), Some(format!("line {number}").as_str()));
        if number == 50 || number == 100 {
            server = TestServer::start_on_socket(server.crash().await).await;
        }
    }
    let status = tokio::task::block_in_place(|| follower.wait()).unwrap();
    assert_eq!(status.code(), Some(5));
    server.stop().await;
}
