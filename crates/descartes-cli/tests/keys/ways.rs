//! The ways to a server on another host, from the first command to the last.

use std::fs;

use descartes_core::{SecurityMode, ZmqServerConfig};
use descartes_testkit::TestServer;

use crate::{Ran, User};

/// A server that encrypts, and the user whose it is.
async fn server() -> (TestServer, User) {
    let operator = User::new();
    let state = operator.home().join(".local/state/descartes/test-server");
    let encrypted = |config: &mut ZmqServerConfig| {
        config.security.mode = SecurityMode::Curve;
        config.state_dir = Some(state);
    };
    (TestServer::start_with(encrypted).await, operator)
}

/// Runs a line as a shell would, but without one.
fn run(user: &User, line: &str) -> Ran {
    let words = line.trim().strip_prefix("descartes ").unwrap().split(' ');
    let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
    user.descartes(&words)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_the_first_clients_bundle_is_all_that_it_takes() {
    let (server, operator) = server().await;
    let user = User::new();
    let keys = server.server.config().state_dir().join("keys");
    // What scp does.
    fs::copy(keys.join("client.toml"), user.home().join("client.toml")).unwrap();
    let seen = user.session(&[
        &["servers", "add", "build", "client.toml"],
        &["--server", "build", "ls"],
        &["servers", "check"],
    ]);
    user.snapshot("way_by_bundle", &seen);
    // On the server's own host nothing at all is needed.
    assert_eq!(operator.descartes(&["ls"]).code, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_in_with_its_own_key_until_that_is_taken_out_of_the_list() {
    let (server, operator) = server().await;
    let user = User::new();
    let key = user.descartes(&["keygen"]).stdout;
    let key = key.trim();
    let added = operator.descartes(&["keys", "add", "laptop", key, "--role", "control"]);
    assert_eq!(added.code, 0, "{added:?}");
    // What it prints is all that the client has to run.
    let named = run(&user, &added.stdout);
    assert_eq!(named.code, 0, "{named:?}");
    assert!(named.stderr.contains("it answers: healthy"), "{named:?}");
    let listed = user.descartes(&["--server", "test-server", "ls"]);
    assert_eq!(listed.code, 0, "{listed:?}");
    // The endpoint alone is enough as well, once it has a name.
    let endpoint = server.server.endpoint().unwrap();
    assert_eq!(user.descartes(&["--server", &endpoint, "ls"]).code, 0);

    operator.descartes(&["keys", "role", "laptop", "observe"]);
    let spawn = ["--server", "test-server", "spawn", "sh", "true"];
    let refused = user.descartes(&spawn);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("authorized_clients"), "{refused:?}");

    operator.descartes(&["keys", "remove", "laptop"]);
    let refused = user.descartes(&["--server", "test-server", "ls"]);
    assert_eq!(refused.code, 3, "{refused:?}");
    let hint = "descartes keys add NAME PUBLIC_KEY";
    assert!(refused.stderr.contains(hint), "{refused:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_know_the_key_yet_is_kept_and_it_is_told_why() {
    let (server, operator) = server().await;
    let user = User::new();
    user.descartes(&["keygen"]);
    let keys = operator.json(&["keys", "--json"]);
    let server_key = keys["server_key"].as_str().unwrap();
    let endpoint = server.server.endpoint().unwrap();
    let add = ["servers", "add", "build", &endpoint];
    let early = user.descartes(&[add.as_slice(), &["--server-key", server_key]].concat());
    assert_eq!(early.code, 0, "{early:?}");
    assert!(
        early.stderr.contains("does not let this client in"),
        "{early:?}"
    );
    let keyless = user.descartes(&["servers", "add", "keyless", &endpoint]);
    assert!(keyless.stderr.contains("it needs keys"), "{keyless:?}");
    server.stop().await;
}
