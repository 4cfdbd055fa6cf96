//! A pause is of the whole tree.

use std::time::Duration;

use descartes_core::protocol::{AgentStatus, Command, PauseRequest, Stream};

use super::common::{Means, for_both_means, server};

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

for_both_means! {
    a_pause_stops_every_process:
    a_pause_stops_every_process_until_it_is_over();
}
