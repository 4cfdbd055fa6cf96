//! `descartes servers`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use descartes_testkit::TestServer;

use crate::{CLIENT_KEY, CLIENT_SECRET, NOWHERE, SERVER_KEY, User, bundle, mode};

/// Says that a server runs on this host: this process.
fn runs_here(user: &User, server_id: &str, endpoint: &str) {
    user.write(
        &format!(".local/state/descartes/{server_id}/address.toml"),
        &format!(
            "server_id = \"{server_id}\"\npid = {}\nendpoint = \"{endpoint}\"\n",
            std::process::id()
        ),
    );
}

#[test]
fn servers_as_people_see_them() {
    let user = User::new();
    user.write("client.toml", &bundle(NOWHERE));
    let mut seen = user.session(&[&["servers"]]);
    runs_here(&user, "alone", "ipc:///run/alone.sock");
    seen += &user.session(&[
        &["servers"],
        &["servers", "add", "build", "client.toml", "--default"],
        &["servers", "add", "plain", NOWHERE],
        &["servers", "list"],
        &["servers", "default", "--none"],
        &["servers", "default", "plain"],
        &["servers", "remove", "plain"],
        &["servers"],
    ]);
    user.snapshot("servers", &seen);
    assert_eq!(mode(&user.config("config.toml")), 0o600);
    assert_eq!(mode(&user.config("")), 0o700);
}

#[test]
fn servers_as_programs_see_them() {
    let user = User::new();
    user.write(".config/descartes/client.key", CLIENT_SECRET);
    runs_here(&user, "here", NOWHERE);
    let seen = user.session(&[
        &["--json", "servers"],
        &[
            "--json",
            "servers",
            "add",
            "build",
            NOWHERE,
            "--server-key",
            SERVER_KEY,
        ],
        &["--json", "servers", "default", "build"],
        &["--json", "servers"],
        &["--json", "servers", "check", "build"],
        &["--json", "servers", "default", "--none"],
        &["--json", "servers", "remove", "build"],
        &["--json", "servers", "remove", "build"],
    ]);
    user.snapshot("servers_json", &seen);
}

#[test]
fn servers_that_are_not_added() {
    let user = User::new();
    let somewhere = "tcp://build.example:5555";
    let with_key = ["servers", "add", "new", somewhere, "--server-key"];
    let with_key = |key| [with_key.as_slice(), &[key]].concat();
    user.write(
        ".config/descartes/config.toml",
        "[servers.build]\nendpoint = \"tcp://build.example:5555\"\n",
    );
    user.write("client.toml", &bundle(somewhere));
    user.write("empty.toml", &bundle(""));
    let other = bundle(somewhere).replace(CLIENT_KEY, SERVER_KEY);
    user.write("unfitting.toml", &other);
    let open = user.write("open.toml", &bundle(somewhere));
    fs::set_permissions(open, fs::Permissions::from_mode(0o644)).unwrap();
    let before = fs::read_to_string(user.config("config.toml")).unwrap();
    let mut seen = user.session(&[
        &["servers", "add", "build", "client.toml"],
        &["servers", "add", "a/b", "client.toml"],
        &["servers", "add", "tcp://here:1", "client.toml"],
        &["servers", "add", "build.toml", "client.toml"],
        &["servers", "add", "new", "nothing.toml"],
        &["servers", "add", "new", "empty.toml"],
        &["servers", "add", "new", "unfitting.toml"],
        &["servers", "add", "new", "open.toml"],
        &[
            "servers",
            "add",
            "new",
            "client.toml",
            "--server-key",
            SERVER_KEY,
        ],
        &[
            "servers",
            "add",
            "new",
            "client.toml",
            "--endpoint",
            "build",
        ],
        &["servers", "add", "new", somewhere, "--endpoint", somewhere],
        &["servers", "add", "new", "tcp://0.0.0.0:5555"],
        &["servers", "add", "new", "tcp://build.example:0"],
        &["servers", "add", "new", "tcp://build.example"],
        &with_key(SERVER_KEY),
        &["servers", "default", "biuld"],
        &["servers", "default"],
        &["servers", "remove", "other"],
        &["servers", "check", "other"],
    ]);
    user.write(".config/descartes/client.key", CLIENT_SECRET);
    seen += &user.session(&[&with_key(CLIENT_KEY), &with_key("rq:rM")]);
    user.snapshot("servers_refused", &seen);
    let after = fs::read_to_string(user.config("config.toml")).unwrap();
    assert_eq!(after, before);
}

#[test]
fn faults_in_the_config_file_are_told_without_what_stands_there() {
    let user = User::new();
    let mut seen = String::new();
    for text in [
        "default = \"gone\"\n",
        &format!("[servers.build]\nsecret_key = \"{CLIENT_SECRET}\n"),
        &format!("[servers.build]\nsecret_key = \"{CLIENT_SECRET}\"\n"),
        "[servers.build]\nendpoint = 3\n",
        "[server.build]\nendpoint = \"ipc:///build\"\n",
    ] {
        user.write(".config/descartes/config.toml", text);
        seen += &user.session(&[&["servers"]]);
    }
    user.snapshot("servers_faults", &seen);
}

#[test]
fn force_replaces_a_server_and_leaves_the_rest_of_the_file_alone() {
    let user = User::new();
    let text = "# mine\ndefault = \"other\"\n\n[servers.build] # old\nendpoint = \"ipc:///old\"\n\n# the other one\n[servers.other]\nendpoint = \"ipc:///other\"\n";
    user.write(".config/descartes/config.toml", text);
    user.write("client.toml", &bundle("tcp://inside:5555"));
    let args = ["servers", "add", "build", "client.toml", "--force"];
    let moved = ["--endpoint", NOWHERE];
    let added = user.descartes(&[args.as_slice(), &moved].concat());
    assert_eq!(added.code, 0, "{added:?}");
    let text = fs::read_to_string(user.config("config.toml")).unwrap();
    for kept in [
        "# mine\ndefault = \"other\"\n",
        "# the other one\n[servers.other]\n",
    ] {
        assert!(text.contains(kept), "{text}");
    }
    assert!(text.contains(NOWHERE), "{text}");
    assert!(!text.contains("ipc:///old"), "{text}");
    assert!(!text.contains("inside"), "{text}");
}

#[test]
fn a_plain_server_elsewhere_is_warned_of() {
    let user = User::new();
    // A name that never resolves (RFC 6761).
    let endpoint = "tcp://build.invalid:5555";
    let added = user.json(&["servers", "add", "build", endpoint, "--json"]);
    let warning = added["warning"].as_str().unwrap();
    assert!(warning.contains("plain text"), "{added}");
    let local = user.json(&["servers", "add", "here", NOWHERE, "--json"]);
    assert!(local["warning"].is_null(), "{local}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_tells_those_that_are_well_from_those_that_are_not() {
    let server = TestServer::start().await;
    let user = User::new();
    let endpoint = server.server.endpoint().unwrap();
    let mut seen = user.session(&[
        &["servers", "check"],
        &["servers", "add", "well", &endpoint],
        &["servers", "check"],
        &["servers", "add", "gone", NOWHERE],
        &["servers", "check"],
        &["servers", "check", "--json"],
        &["servers", "check", "well"],
    ]);
    server.stop().await;
    seen += &user.session(&[&["servers", "check", "well"]]);
    user.snapshot("servers_check", &seen);
}
