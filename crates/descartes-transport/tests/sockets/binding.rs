//! TCP addresses: taken, free again, not ours.

use descartes_transport::{
    BindError, ClientSecurity, ConnectError, Endpoint, EventSocket, Limits, RequestSocket,
    Requester, ServerSecurity,
};

use crate::support::{exchange, loopback, requester, server, subscriber};

async fn bind(endpoint: &Endpoint) -> Result<RequestSocket, BindError> {
    RequestSocket::bind(endpoint, ServerSecurity::Null, &Limits::default()).await
}

#[tokio::test]
async fn a_port_in_use_is_refused_with_a_way_to_find_out_by_whom() {
    let server = server().await;
    let endpoint = server.local_endpoint();
    let port = endpoint.port().unwrap();
    let error = bind(endpoint).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("failed to bind ROUTER socket to tcp://127.0.0.1:{port}: Address already in use")
    );
    let hint = format!(
        "another process uses the port: `ss -ltnp 'sport = :{port}'` shows which; or choose another endpoint"
    );
    assert_eq!(error.hint(), Some(hint.as_str()));
    let error = EventSocket::bind(endpoint, ServerSecurity::Null, &Limits::default())
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("failed to bind PUB socket to tcp://127.0.0.1:"),
        "{error}"
    );
}

#[tokio::test]
async fn a_port_is_free_again_as_soon_as_the_socket_is_closed() {
    let mut endpoint = loopback();
    for _ in 0..5 {
        let server = bind(&endpoint).await.unwrap();
        endpoint = server.local_endpoint().clone();
        let client = requester(&endpoint).await;
        exchange(&server, &client).await;
        server.close().await;
        let events = EventSocket::bind(&endpoint, ServerSecurity::Null, &Limits::default())
            .await
            .unwrap();
        let _subscriber = subscriber(&endpoint, "").await;
        events.close().await;
    }
}

#[tokio::test]
async fn closing_twice_does_no_harm() {
    let server = server().await;
    server.close().await;
    server.close().await;
    assert!(server.recv().await.is_err());
}

#[tokio::test]
async fn an_address_of_another_host_is_refused() {
    // TEST-NET-1, which no host has (RFC 5737).
    let error = bind(&"tcp://192.0.2.1:5555".parse().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, BindError::AddressNotAvailable { .. }),
        "{error:?}"
    );
    assert_eq!(
        error.to_string(),
        "failed to bind ROUTER socket to tcp://192.0.2.1:5555: Cannot assign requested address"
    );
}

#[tokio::test]
async fn localhost_is_bound_on_loopback() {
    let server = bind(&"tcp://localhost:0".parse().unwrap()).await.unwrap();
    assert!(
        server
            .local_endpoint()
            .to_string()
            .starts_with("tcp://127.0.0.1:")
    );
    assert_ne!(server.local_endpoint().port(), Some(0));
}

#[tokio::test]
async fn limits_that_the_protocol_cannot_express_are_refused() {
    let limits = Limits {
        heartbeat_ttl: std::time::Duration::from_secs(7000),
        ..Limits::default()
    };
    let error = RequestSocket::bind(&loopback(), ServerSecurity::Null, &limits)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("heartbeat_ttl"), "{error}");
}

#[tokio::test]
async fn a_wildcard_is_nothing_to_connect_to() {
    for text in ["tcp://*:5555", "tcp://127.0.0.1:0"] {
        let error = Requester::connect(
            &text.parse().unwrap(),
            ClientSecurity::Null,
            &Limits::default(),
        )
        .await;
        assert!(
            matches!(
                error,
                Err(ConnectError::Wildcard { .. } | ConnectError::NoPort { .. })
            ),
            "{error:?}"
        );
    }
}
