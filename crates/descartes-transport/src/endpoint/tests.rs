use super::*;

fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap()
}

fn refusal(text: &str) -> String {
    text.parse::<Endpoint>().unwrap_err().to_string()
}

#[test]
fn an_endpoint_reads_and_prints_the_same() {
    for text in [
        "tcp://127.0.0.1:5555",
        "tcp://[::1]:0",
        "tcp://agents.example.org:65535",
        "ipc:///run/descartes/s.sock",
    ] {
        assert_eq!(endpoint(text).to_string(), text);
    }
    assert_eq!(endpoint("tcp://*:5555").to_string(), "tcp://0.0.0.0:5555");
}

#[test]
fn only_ipc_loopback_and_localhost_count_as_local() {
    for local in [
        "ipc:///tmp/s",
        "tcp://127.9.9.9:1",
        "tcp://[::1]:1",
        "tcp://[::ffff:127.0.0.1]:1",
        "tcp://LocalHost:1",
    ] {
        assert!(endpoint(local).is_local_only(), "{local}");
    }
    for remote in [
        "tcp://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://10.0.0.1:1",
        "tcp://localhost.example.org:1",
        "tcp://127.1:1",
    ] {
        assert!(!endpoint(remote).is_local_only(), "{remote}");
    }
}

#[test]
fn wildcards_are_known_in_all_their_forms() {
    for wildcard in [
        "tcp://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://[::ffff:0.0.0.0]:1",
    ] {
        assert!(endpoint(wildcard).is_wildcard(), "{wildcard}");
    }
    assert!(!endpoint("tcp://127.0.0.1:1").is_wildcard());
    assert!(!endpoint("ipc:///tmp/s").is_wildcard());
}

#[test]
fn its_own_host_reaches_a_wildcard_by_loopback_and_all_else_as_it_is() {
    for (listens, reached) in [
        ("tcp://*:1", "tcp://127.0.0.1:1"),
        ("tcp://[::]:1", "tcp://[::1]:1"),
        ("tcp://[::ffff:0.0.0.0]:1", "tcp://127.0.0.1:1"),
        ("tcp://10.0.0.1:1", "tcp://10.0.0.1:1"),
        ("tcp://agents.example.org:1", "tcp://agents.example.org:1"),
        ("ipc:///tmp/s", "ipc:///tmp/s"),
    ] {
        assert_eq!(endpoint(listens).on_own_host().to_string(), reached);
    }
}

#[test]
fn events_are_one_port_further() {
    assert_eq!(
        endpoint("tcp://10.0.0.1:5555").default_pub(),
        Ok(endpoint("tcp://10.0.0.1:5556"))
    );
    assert_eq!(
        endpoint("tcp://10.0.0.1:0").default_pub(),
        Ok(endpoint("tcp://10.0.0.1:0"))
    );
    assert_eq!(
        endpoint("ipc:///tmp/s.sock").default_pub(),
        Ok(endpoint("ipc:///tmp/s.sock.pub"))
    );
    assert!(matches!(
        endpoint("tcp://h:65535").default_pub(),
        Err(EndpointError::NoNextPort { .. })
    ));
    let longest = format!("ipc:///{}", "x".repeat(SOCKET_PATH_MAX - 1));
    assert!(matches!(
        endpoint(&longest).default_pub(),
        Err(EndpointError::PathTooLong { length: 107, .. })
    ));
}

#[test]
fn another_host_keeps_the_port() {
    let bound = endpoint("tcp://*:5555");
    assert_eq!(
        bound.with_host("agents.example.org").unwrap().to_string(),
        "tcp://agents.example.org:5555"
    );
    assert_eq!(
        bound.with_host("fe80::1").unwrap().to_string(),
        "tcp://[fe80::1]:5555"
    );
    assert_eq!(
        bound.with_host("[fe80::1]").unwrap().to_string(),
        "tcp://[fe80::1]:5555"
    );
    assert!(matches!(
        bound.with_host("a b"),
        Err(EndpointError::BadHost { .. })
    ));
    assert_eq!(
        endpoint("ipc:///tmp/s").with_host("x").unwrap(),
        endpoint("ipc:///tmp/s")
    );
}

#[test]
fn what_cannot_be_an_endpoint_says_why() {
    assert_eq!(
        refusal("inproc://server"),
        "transport \"inproc\" is not supported: write tcp://host:port or ipc:///path"
    );
    assert_eq!(
        refusal("5555"),
        "endpoint \"5555\" has no transport: write tcp://host:port or ipc:///path"
    );
    assert!(refusal("tcp://::1:5555").contains("needs brackets"));
    assert!(refusal("ipc://@abstract").contains("needs an absolute path"));
    assert!(refusal("tcp://host").contains("is not tcp://host:port"));
    for port in ["", "+1", "-1", "65536", "http"] {
        assert!(
            refusal(&format!("tcp://host:{port}")).contains("is not a number from 0 to 65535"),
            "{port}"
        );
    }
    for host in ["", "[::1", "[127.0.0.1]", "user@host", "host/path", "**"] {
        assert!(
            refusal(&format!("tcp://{host}:1")).contains("neither an IP address nor"),
            "{host}"
        );
    }
    for path in ["/", "/run/", "/run/..", "/run/\0x"] {
        assert!(
            refusal(&format!("ipc://{path}")).contains("needs a file name"),
            "{path}"
        );
    }
    assert!(refusal(&format!("ipc:///{}", "x".repeat(SOCKET_PATH_MAX))).contains("at most 103"));
}
