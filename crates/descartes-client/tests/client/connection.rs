//! Making a connection, losing it, and not getting one.

use std::path::Path;

use descartes_client::protocol::ErrorCode;
use descartes_client::transport::HandshakeFault;
use descartes_client::{ClientBundle, ClientError, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};
use descartes_core::SecurityMode;
use descartes_testkit::{CuttingProxy, TestServer, shell, socket_endpoint, soon};

use crate::{client, config, impatient_client};

#[tokio::test]
async fn a_server_that_is_not_there_is_told_at_once() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("tcp://{}", port.local_addr().unwrap());
    drop(port);
    let client = client(&endpoint);
    let error = client.connect().await.unwrap_err();
    assert!(
        matches!(error, ClientError::Unreachable { .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains(&endpoint), "{error}");
    assert!(!client.is_connected());
}

#[tokio::test]
async fn wrong_settings_are_told_by_the_first_request() {
    for endpoint in ["localhost:5555", "tcp://0.0.0.0:5555", "http://host:80"] {
        let error = client(endpoint).connect().await.unwrap_err();
        assert!(matches!(error, ClientError::Config(_)), "{error:?}");
    }
    let client = ZmqClient::new(ZmqRunnerConfig {
        request_timeout_secs: 0,
        ..config("tcp://127.0.0.1:5555")
    });
    let error = client.connect().await.unwrap_err().to_string();
    assert!(error.contains("request_timeout_secs"), "{error}");
}

#[tokio::test]
async fn a_client_goes_on_after_it_was_disconnected_and_after_a_cut() {
    let server = TestServer::start().await;
    let proxy = CuttingProxy::start(&server.server.endpoint().unwrap()).await;
    let client = client(&proxy.endpoint);
    client.connect().await.unwrap();
    client.disconnect().await;
    assert!(!client.is_connected());
    client.connect().await.unwrap();
    for _ in 0..10 {
        proxy.cut();
        assert!(client.health_check().await.unwrap().healthy);
    }
    assert!(proxy.connections() > 2, "no connection was cut");
    server.stop().await;
}

#[tokio::test]
async fn requests_under_way_are_told_of_a_disconnect() {
    let server = TestServer::start().await;
    let client = client(&server.server.endpoint().unwrap());
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let waiter = client.clone();
    let waiting = tokio::spawn(async move { waiter.wait(agent.id).await });
    server.client().await.health().await;
    while server.server.stats().events_requests == 0 {
        tokio::task::yield_now().await;
    }
    client.disconnect().await;
    let error = soon("the word", waiting).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ClientError::Disconnected { .. }),
        "{error:?}"
    );
    server.stop().await;
}

#[tokio::test]
async fn another_server_than_the_expected_one_is_refused() {
    let server = TestServer::start().await;
    let endpoint = server.server.endpoint().unwrap();
    let expecting = |server_id: &str| {
        ZmqClient::new(ZmqRunnerConfig {
            server_id: Some(server_id.to_owned()),
            ..config(&endpoint)
        })
    };
    expecting("test-server").connect().await.unwrap();
    let error = expecting("other").connect().await.unwrap_err();
    let ClientError::WrongServer { found, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(found, "test-server");
    server.stop().await;
}

#[tokio::test]
async fn keys_open_an_encrypted_server_and_wrong_ones_do_not() {
    let server = TestServer::start_with(|config| config.security.mode = SecurityMode::Curve).await;
    let endpoint = server.server.endpoint().unwrap();
    let bundle = bundle(&server.server.config().state_dir.clone().unwrap());
    let with = |bundle: Option<ClientBundle>| {
        ZmqClient::new(ZmqRunnerConfig {
            endpoint: endpoint.clone(),
            bundle,
            connection_timeout_secs: 2,
            ..ZmqRunnerConfig::default()
        })
    };
    with(Some(bundle.clone())).connect().await.unwrap();

    let stranger = descartes_client::transport::Keypair::generate();
    let unlisted = ClientBundle {
        public_key: stranger.public.to_z85(),
        secret_key: stranger.secret_z85(),
        ..bundle.clone()
    };
    let wrong_server = ClientBundle {
        server_key: stranger.public.to_z85(),
        ..bundle
    };
    for (bundle, why) in [
        (Some(unlisted), HandshakeFault::UnknownKey),
        (Some(wrong_server), HandshakeFault::HungUp),
        (None, HandshakeFault::KeysNeeded),
    ] {
        let error = soon("the refusal", with(bundle).connect())
            .await
            .unwrap_err();
        assert!(
            matches!(&error, ClientError::NotAdmitted { fault, .. } if *fault == why),
            "{error:?}, not {why:?}"
        );
    }
    server.stop().await;
}

fn bundle(state_dir: &Path) -> ClientBundle {
    let bundle = ClientBundle::load(&state_dir.join("keys/client.toml"));
    bundle.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn requests_wait_for_a_server_that_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = socket_endpoint(dir.path());
    let server = TestServer::start_on_socket(dir).await;
    let client = impatient_client(&endpoint);
    let agent = client.spawn_remote(shell("cat"), None).await.unwrap();
    let dir = server.crash().await;
    let asker = client.clone();
    let asking = tokio::spawn(async move { asker.get_remote_agent(agent.id).await });
    let server = TestServer::start_on_socket(dir).await;
    let info = soon("an answer", asking).await.unwrap().unwrap();
    assert_eq!(info.pid, agent.pid);
    let refused = client.resume_agent(agent.id).await.unwrap_err();
    assert!(refused.is(ErrorCode::InvalidState), "{refused:?}");
    client.kill_agent(agent.id).await.unwrap();
    server.stop().await;
}
