//! How clients on the server's own host find it.
#![cfg(test)]

use descartes_core::protocol::{Command, Reply};
use descartes_testkit::TestServer;

#[tokio::test]
async fn health_names_where_events_come_from_as_stream_logs_does() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("true").await;
    let data = client.done(agent.id, &Command::StreamLogs).await;
    let Reply::HealthCheck(health) = client.health().await else {
        panic!("no health");
    };
    let told = &health.metadata.unwrap()["pub_endpoint"];
    assert_eq!(
        data.get("pub_endpoint").unwrap().as_str(),
        Some(told.as_str())
    );
    test.stop().await;
    let silent = TestServer::start_with(|config| config.pub_endpoint = Some(String::new())).await;
    let Reply::HealthCheck(health) = silent.client().await.health().await else {
        panic!("no health");
    };
    assert_eq!(health.metadata.unwrap().get("pub_endpoint"), None);
    silent.stop().await;
}
