//! `descartes keys`.

use std::fs;
use std::path::PathBuf;

use descartes_client::transport::PublicKey;
use descartes_core::{AuthorizedClients, Role};

use crate::{CLIENT_KEY, SERVER_KEY, User, bundle, mode};

const OTHER_KEY: &str = "-ne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const LIST: &str = "\
# The clients that may connect, by their public keys.

# The machine under the stairs.
[[client]]
name = \"first\"
public_key = \"Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID\"
role = \"admin\" # for now

# Ask Ann before removing clients.
";

/// A user whose server has keys.
fn operator() -> (User, PathBuf) {
    let user = User::new();
    let keys = ".local/state/descartes/build/keys";
    user.write(&format!("{keys}/server.pub"), &format!("{SERVER_KEY}\n"));
    let bundle = bundle("tcp://build.example:5555");
    user.write(&format!("{keys}/client.toml"), &bundle);
    let list = user.write(&format!("{keys}/authorized_clients.toml"), LIST);
    (user, list)
}

#[test]
fn keys_as_people_see_them() {
    let (user, _) = operator();
    let seen = user.session(&[
        &["keys"],
        &["keys", "add", "laptop", OTHER_KEY],
        &["keys", "list"],
        &["keys", "role", "laptop", "observe"],
        &["keys", "remove", "first"],
        &["keys"],
        &["keys", "remove", "laptop"],
        &["keys"],
    ]);
    user.snapshot("keys", &seen);
}

#[test]
fn keys_as_programs_see_them() {
    let (user, _) = operator();
    let seen = user.session(&[
        &["--json", "keys"],
        &[
            "--json", "keys", "add", "--role", "observe", "laptop", OTHER_KEY,
        ],
        &["--json", "keys", "role", "laptop", "admin"],
        &["--json", "keys", "remove", "first"],
        &["--json", "keys"],
        &["--json", "keys", "remove", "nobody"],
    ]);
    user.snapshot("keys_json", &seen);
}

#[test]
fn changes_of_the_list_that_are_refused() {
    let (user, list) = operator();
    let seen = user.session(&[
        &["keys", "add", "first", OTHER_KEY],
        &["keys", "add", "again", CLIENT_KEY],
        &["keys", "add", "laptop", "Yne@"],
        &["keys", "add", "laptop", SERVER_KEY],
        &["keys", "add", "", OTHER_KEY],
        &["keys", "role", "laptop", "admin"],
        &["keys", "role", "first", "king"],
        &["keys", "remove", "laptop"],
    ]);
    user.snapshot("keys_refused", &seen);
    assert_eq!(fs::read_to_string(list).unwrap(), LIST);
}

#[test]
fn faults_in_the_files_are_told() {
    let (user, list) = operator();
    let mut seen = String::new();
    for text in [
        "[[client]]\nname = \"a\"\n",
        "[[client]]\nname = \"a\"\npublic_key = \"b\"\nrole = \"admin\"\n",
        "client = 3\n",
        &LIST.replace("admin", "king"),
    ] {
        fs::write(&list, text).unwrap();
        seen += &user.session(&[&["keys"]]);
    }
    fs::write(&list, format!("{LIST}{}", LIST.replace("first", "twin"))).unwrap();
    seen += &user.session(&[&["keys", "remove", "twin"]]);
    fs::remove_file(&list).unwrap();
    seen += &user.session(&[&["keys"]]);
    user.snapshot("keys_faults", &seen);
}

#[test]
fn a_folder_that_is_not_clear_is_not_guessed() {
    let user = User::new();
    let mut seen = user.session(&[&["keys"], &["keys", "--keys-dir", "here"]]);
    for name in ["one", "two"] {
        let keys = format!(".local/state/descartes/{name}/keys");
        user.write(&format!("{keys}/server.pub"), SERVER_KEY);
        user.write(&format!("{keys}/authorized_clients.toml"), LIST);
    }
    let chosen = user.home().join(".local/state/descartes/two/keys");
    seen += &user.session(&[&["keys"], &["keys", "--keys-dir", chosen.to_str().unwrap()]]);
    // One that runs goes before one that does not.
    user.write(
        ".local/state/descartes/one/address.toml",
        &format!(
            "server_id = \"one\"\npid = {}\nendpoint = \"tcp://127.0.0.1:5555\"\n",
            std::process::id()
        ),
    );
    seen += &user.session(&[&["keys"]]);
    user.snapshot("keys_folders", &seen);
}

#[test]
fn comments_stay_and_the_server_understands_what_was_written() {
    let (user, list) = operator();
    user.descartes(&["keys", "add", "laptop", OTHER_KEY, "--role", "observe"]);
    user.descartes(&["keys", "role", "first", "control"]);
    let text = fs::read_to_string(&list).unwrap();
    user.snapshot("list_after_add", &text);
    let clients = AuthorizedClients::load(&list).unwrap();
    let role = |key| clients.role(&PublicKey::from_z85(key).unwrap());
    assert_eq!(role(OTHER_KEY), Some(Role::Observe));
    assert_eq!(role(CLIENT_KEY), Some(Role::Control));
    assert_eq!(mode(&list), 0o600);
    user.descartes(&["keys", "remove", "first"]);
    user.snapshot("list_after_remove", &fs::read_to_string(&list).unwrap());
    user.descartes(&["keys", "remove", "laptop"]);
    user.snapshot("list_without_clients", &fs::read_to_string(&list).unwrap());
    user.descartes(&["keys", "add", "laptop", OTHER_KEY]);
    user.snapshot("list_filled_again", &fs::read_to_string(&list).unwrap());
}

#[test]
fn a_list_within_brackets_and_an_empty_file_can_be_changed() {
    for text in [
        "",
        "client = []\n",
        "# nobody\n",
        &format!(
            "client = [{{ name = \"first\", public_key = \"{CLIENT_KEY}\", role = \"admin\" }}]\n"
        ),
    ] {
        let (user, list) = operator();
        fs::write(&list, text).unwrap();
        let before = user.json(&["keys", "--json"])["clients"].clone();
        user.descartes(&["keys", "add", "laptop", OTHER_KEY]);
        let clients = user.json(&["keys", "--json"])["clients"].clone();
        let count = before.as_array().unwrap().len();
        assert_eq!(clients.as_array().unwrap().len(), count + 1, "{text}");
        assert_eq!(clients[count]["name"], "laptop");
        let listed = AuthorizedClients::load(&list).unwrap();
        let key = PublicKey::from_z85(OTHER_KEY).unwrap();
        assert_eq!(listed.role(&key), Some(Role::Control));
    }
}

#[test]
fn a_key_may_begin_with_what_looks_like_an_option() {
    for key in [
        "-ne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        "--e@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        "-se@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        "-vvv$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
    ] {
        let (user, _) = operator();
        let added = user.json(&["keys", "add", "laptop", key, "--json", "--role", "admin"]);
        assert_eq!(added["public_key"], key);
        assert_eq!(added["role"], "admin");
    }
}

#[test]
fn an_endpoint_that_is_guessed_is_said_to_be() {
    let (user, list) = operator();
    fs::remove_file(list.with_file_name("client.toml")).unwrap();
    let added = user.json(&["keys", "add", "laptop", OTHER_KEY, "--json"]);
    let endpoint = added["endpoint"].as_str().unwrap();
    assert!(endpoint.ends_with(":5555"), "{added}");
    assert!(!endpoint.contains("127.0.0.1"), "{added}");
    let warning = added["warning"].as_str().unwrap();
    assert!(warning.contains("guess"), "{added}");
    let command = added["client_command"].as_str().unwrap();
    assert!(command.contains(endpoint), "{added}");
}
