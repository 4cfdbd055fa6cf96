//! How clients on the server's own host find it.
#![cfg(test)]

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use descartes_core::protocol::{Command, Reply};
use descartes_core::transport::{ClientSecurity, Endpoint, Keypair, PublicKey, SecretKey};
use descartes_core::{ClientBundle, ServerAddress};
use descartes_testkit::{Client, TestServer};

fn address(state_dir: &Path) -> Option<ServerAddress> {
    ServerAddress::read(state_dir).unwrap()
}

fn port(endpoint: &str) -> Option<u16> {
    endpoint.parse::<Endpoint>().unwrap().port()
}

/// What a client's bundle has of keys.
fn keys(bundle: &Path) -> ClientSecurity {
    let text = std::fs::read_to_string(bundle).unwrap();
    let bundle: ClientBundle = toml::from_str(&text).unwrap();
    ClientSecurity::Curve {
        keypair: Keypair::from(SecretKey::from_z85(&bundle.secret_key).unwrap()),
        server_key: PublicKey::from_z85(&bundle.server_key).unwrap(),
    }
}

#[tokio::test]
async fn the_address_is_there_while_the_server_serves_and_after_a_crash() {
    let test = TestServer::start().await;
    let mut config = test.server.config().clone();
    let state_dir = config.state_dir();
    let told = address(&state_dir).unwrap();
    let expected = ServerAddress {
        server_id: "test-server".to_owned(),
        pid: std::process::id(),
        endpoint: test.server.endpoint().unwrap(),
        pub_endpoint: test.server.pub_endpoint().unwrap(),
        client_bundle: None,
    };
    assert_eq!(told, expected);
    let path = state_dir.join(ServerAddress::FILE_NAME);
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    let dir = test.crash().await;
    assert_eq!(address(&state_dir), Some(told));
    config.pub_endpoint = Some(String::new());
    let again = TestServer::start_in(dir, config).await;
    let told = address(&state_dir).unwrap();
    assert_eq!(Some(told.endpoint), again.server.endpoint());
    assert_eq!(told.pub_endpoint, "");
    let _dir = again.stop_and_keep().await;
    assert_eq!(address(&state_dir), None);
}

#[tokio::test]
async fn a_server_on_all_interfaces_is_reached_by_loopback_with_the_bundle_that_its_address_names()
{
    let test = TestServer::start_with(|config| {
        "tcp://0.0.0.0:0".clone_into(&mut config.endpoint);
        config.advertise_host = Some("agents.example.org".to_owned());
    })
    .await;
    let told = address(&test.server.config().state_dir()).unwrap();
    let pub_endpoint = test.server.pub_endpoint().unwrap();
    for (told, real) in [
        (&told.endpoint, test.server.endpoint().unwrap()),
        (&told.pub_endpoint, pub_endpoint.clone()),
    ] {
        assert!(told.starts_with("tcp://127.0.0.1:"), "{told}");
        assert_eq!(port(told), port(&real));
    }
    let bundle = told.client_bundle.unwrap();
    assert!(bundle.is_absolute());
    let client = Client::connect_as(&told.endpoint, keys(&bundle)).await;
    let Reply::HealthCheck(health) = client.health().await else {
        panic!("no health");
    };
    // Others are told another name.
    let port = port(&pub_endpoint).unwrap();
    assert_eq!(
        health.metadata.unwrap()["pub_endpoint"],
        format!("tcp://agents.example.org:{port}")
    );
    test.stop().await;
}

#[tokio::test]
async fn a_bundle_that_the_operator_moved_away_is_not_named() {
    let test = TestServer::start_with(|config| {
        config.security.mode = descartes_core::SecurityMode::Curve;
    })
    .await;
    let config = test.server.config().clone();
    let state_dir = config.state_dir();
    let bundle = address(&state_dir).unwrap().client_bundle.unwrap();
    let dir = test.stop_and_keep().await;
    std::fs::remove_file(bundle).unwrap();
    let again = TestServer::start_in(dir, config).await;
    assert_eq!(address(&state_dir).unwrap().client_bundle, None);
    again.stop().await;
}

#[tokio::test]
async fn a_server_that_cannot_write_its_address_serves_all_the_same() {
    let test = TestServer::start().await;
    let config = test.server.config().clone();
    let dir = test.stop_and_keep().await;
    let in_the_way = config.state_dir().join(ServerAddress::FILE_NAME);
    std::fs::create_dir_all(in_the_way.join("something")).unwrap();
    let again = TestServer::start_in(dir, config).await;
    let health = again.client().await.health().await;
    assert!(matches!(health, Reply::HealthCheck(_)), "{health:?}");
    again.stop().await;
}

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
