//! What goes into an agent and what comes out of it, through the server.
#![cfg(test)]

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use descartes_core::protocol::{
    AgentId, Command, ErrorCode, OutputTime, StdinPosition, Stream, Timestamp,
};
use descartes_testkit::{Client, TestServer, soon};

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

#[tokio::test]
async fn what_several_writers_repeat_arrives_once_also_after_a_crash_of_the_server() {
    let test = TestServer::start().await;
    let (one, two) = (test.client().await, test.client().await);
    let agent = one.spawn("echo ready; exec cat").await.id;
    one.wait_ready(agent).await;
    assert_eq!(written(&one, agent, write("one", 0, "a1 ")).await, (3, 3));
    assert_eq!(written(&two, agent, write("two", 0, "b1 ")).await, (3, 6));
    assert_eq!(written(&one, agent, write("one", 0, "a1 ")).await, (3, 6));
    let test = test.crash_and_restart(async |_| {}).await;
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

/// What a read of stdout brings.
#[derive(Debug)]
struct Output {
    offset: u64,
    data: Bytes,
    times: Vec<OutputTime>,
}

async fn read(client: &Client, agent: AgentId, offset: Option<u64>, since: Timestamp) -> Output {
    let read = Command::Read {
        stream: Stream::Stdout,
        offset,
        max_bytes: None,
        wait: Duration::ZERO,
        since: Some(since),
        times: true,
    };
    output(client, agent, read).await
}

async fn output(client: &Client, agent: AgentId, read: Command) -> Output {
    let data = client.done(agent, &read).await;
    let get = |key| data.get(key).unwrap();
    Output {
        offset: get("offset").as_u64().unwrap(),
        data: get("data").as_bin().unwrap(),
        times: get("times").as_output_times().unwrap(),
    }
}

const LONG_AGO: Timestamp = Timestamp {
    secs_since_epoch: 0,
    nanos_since_epoch: 0,
};

const FAR_AHEAD: Timestamp = Timestamp {
    secs_since_epoch: u64::MAX,
    nanos_since_epoch: 0,
};

fn later(time: Timestamp, ms: u64) -> Timestamp {
    let time = time.to_system_time().unwrap();
    (time + Duration::from_millis(ms)).into()
}

/// Waits until output that arrives gets a time of its own.
async fn pass(time: Timestamp) {
    let end = later(time, 20).to_system_time().unwrap();
    let passed = async {
        while SystemTime::now() < end {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon("the clock", passed).await;
}

/// An agent that printed `ready` and then, with a time of its own, `one`: the two times.
async fn printed_twice(client: &Client) -> (AgentId, [Timestamp; 2]) {
    let before = Timestamp::now();
    let agent = client.spawn("echo ready; exec cat").await.id;
    client.wait_ready(agent).await;
    let first = read(client, agent, None, LONG_AGO).await.times;
    assert_eq!((first.len(), first[0].offset), (1, 0));
    assert!(later(first[0].time, 1) > before && first[0].time <= Timestamp::now());
    pass(first[0].time).await;
    client.done(agent, &write("one", 0, "one\n")).await;
    client
        .stdout_until(agent, |output| output.ends_with(b"one\n"))
        .await;
    let all = read(client, agent, None, LONG_AGO).await;
    assert_eq!((all.offset, &all.data[..]), (0, &b"ready\none\n"[..]));
    assert_eq!((all.times.len(), all.times[1].offset), (2, 6));
    assert!(all.times[1].time >= later(first[0].time, 20));
    (agent, [first[0].time, all.times[1].time])
}

/// Reads that begin at each of these times, and where they should.
async fn check_since(client: &Client, agent: AgentId, [first, second]: [Timestamp; 2]) {
    let one = OutputTime {
        offset: 6,
        time: second,
    };
    for (since, offset, begins) in [
        (LONG_AGO, None, 0),
        (first, None, 0),
        (later(first, 15), None, 6),
        (second, None, 6),
        (first, Some(6), 6),
        (second, Some(2), 6),
        (FAR_AHEAD, None, 10),
        (FAR_AHEAD, Some(3), 10),
    ] {
        let found = read(client, agent, offset, since).await;
        assert_eq!(found.offset, begins, "{since:?} {offset:?}");
        let expected = if begins < 10 { Some(&one) } else { None };
        assert_eq!(found.times.last(), expected, "{since:?} {offset:?}");
    }
}

#[tokio::test]
async fn output_since_a_time_is_found_also_after_a_crash_and_after_the_end() {
    let test = TestServer::start().await;
    let (agent, times) = printed_twice(&test.client().await).await;
    let test = test.crash_and_restart(async |_| {}).await;
    let client = test.client().await;
    check_since(&client, agent, times).await;
    client.done(agent, &Command::CloseStdin).await;
    client.wait_end(agent).await;
    check_since(&client, agent, times).await;
    // None of these reads moved the cursor.
    let at_cursor = Command::Read {
        stream: Stream::Stdout,
        offset: None,
        max_bytes: Some(7),
        wait: Duration::ZERO,
        since: None,
        times: true,
    };
    let found = output(&client, agent, at_cursor).await;
    assert_eq!(&found.data[..], b"ready\no");
    assert_eq!(found.times.len(), 2);
    test.stop().await;
}

#[tokio::test]
async fn a_read_since_a_time_that_nothing_is_as_new_as_waits_for_what_comes() {
    let test = TestServer::start().await;
    let (client, other) = (test.client().await, test.client().await);
    let (agent, _) = printed_twice(&client).await;
    let waiting_read = Command::Read {
        stream: Stream::Stdout,
        offset: None,
        max_bytes: None,
        wait: Duration::from_secs(15),
        since: Some(FAR_AHEAD),
        times: false,
    };
    let another = async {
        // Bytes that came before the read is there are older than it and not for it.
        let mut sent = 4;
        loop {
            other.done(agent, &write("one", sent, "x")).await;
            sent += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let data = tokio::select! {
        data = client.done(agent, &waiting_read) => data,
        () = another => unreachable!("it goes on for ever"),
    };
    let came = data.get("data").and_then(|data| data.as_bin()).unwrap();
    assert!(came.starts_with(b"x"), "{came:?}");
    assert!(data.get("offset").unwrap().as_u64() >= Some(10));
    assert!(data.get("times").is_none());
    test.stop().await;
}

#[tokio::test]
async fn output_of_unknown_time_has_none_and_counts_as_new() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("echo ready").await.id;
    client.wait_end(agent).await;
    let stdout = format!("agents/{agent}/stdout/00000000000000000000.times");
    std::fs::remove_file(test.server.config().state_dir().join(stdout)).unwrap();
    let found = read(&client, agent, None, FAR_AHEAD).await;
    assert_eq!((found.offset, &found.data[..]), (0, &b"ready\n"[..]));
    assert_eq!(found.times, []);
    test.stop().await;
}
