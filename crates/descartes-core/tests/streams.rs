//! What goes into an agent and what comes out of it, through the server.
#![cfg(test)]

use bytes::Bytes;
use descartes_core::protocol::{AgentId, Command, ErrorCode, StdinPosition};
use descartes_testkit::{Client, TestServer};

fn write(writer: &str, offset: u64, data: &'static str) -> Command {
    let id = writer.parse().unwrap();
    Command::WriteStdin {
        data: Bytes::from_static(data.as_bytes()),
        close: false,
        position: StdinPosition::Writer { id, offset },
    }
}

/// Writes and returns how many bytes count as written, and how many there are altogether.
async fn written(client: &Client, agent: AgentId, write: Command) -> (u64, u64) {
    let data = client.done(agent, &write).await;
    let number = |key| data.get(key).and_then(|value| value.as_u64()).unwrap();
    (number("bytes_written"), number("stdin_bytes"))
}

/// Ends a server as a crash would and starts it again.
async fn crashed_and_back(test: TestServer, between: impl FnOnce(&std::path::Path)) -> TestServer {
    let mut config = test.server.config().clone();
    let dir = test.crash().await;
    between(&config.state_dir());
    config.endpoint = "tcp://127.0.0.1:0".to_owned();
    TestServer::start_in(dir, config).await
}

#[tokio::test]
async fn what_several_writers_repeat_arrives_once_also_after_a_crash_of_the_server() {
    let test = TestServer::start().await;
    let (one, two) = (test.client().await, test.client().await);
    let agent = one.spawn("echo ready; exec cat").await.id;
    one.wait_ready(agent).await;
    assert_eq!(written(&one, agent, write("one", 0, "a1 ")).await, (3, 3));
    assert_eq!(written(&two, agent, write("two", 0, "b1 ")).await, (3, 6));
    assert_eq!(written(&one, agent, write("one", 0, "a1 ")).await, (3, 6));
    let test = crashed_and_back(test, |_| {}).await;
    let client = test.client().await;
    let again = written(&client, agent, write("one", 0, "a1 a2 ")).await;
    assert_eq!(again, (6, 9));
    assert_eq!(
        written(&client, agent, write("two", 0, "b1 ")).await,
        (3, 9)
    );
    let gap = client.command(agent, &write("two", 4, "b3 ")).await;
    assert_eq!(gap.error_code, Some(ErrorCode::InvalidState));
    let error = gap.error.unwrap();
    assert!(error.contains("the 3 bytes"), "{error}");
    client.done(agent, &Command::CloseStdin).await;
    assert_eq!(client.stdout(agent).await, "ready\na1 b1 a2 ");
    test.stop().await;
}

#[tokio::test]
async fn a_writer_is_told_to_count_by_itself_where_the_shim_is_of_an_earlier_version() {
    let test = TestServer::start().await;
    let agent = test.client().await.spawn("exec cat").await.id;
    let test = crashed_and_back(test, |state_dir| {
        let path = state_dir.join(format!("agents/{agent}/state.json"));
        let state = std::fs::read_to_string(&path).unwrap();
        let earlier = state.replace(",\"wire_version\":2", "");
        assert_ne!(earlier, state);
        std::fs::write(path, earlier).unwrap();
    })
    .await;
    let client = test.client().await;
    let refused = client.command(agent, &write("one", 0, "a")).await;
    assert_eq!(refused.error_code, Some(ErrorCode::UnsupportedCommand));
    let by_offset = Command::WriteStdin {
        data: Bytes::from_static(b"b"),
        close: true,
        position: StdinPosition::Offset(0),
    };
    assert_eq!(written(&client, agent, by_offset).await, (1, 1));
    assert_eq!(client.stdout(agent).await, "b");
    test.stop().await;
}
