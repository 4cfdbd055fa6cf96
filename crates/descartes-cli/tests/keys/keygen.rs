//! `descartes keygen`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use descartes_client::transport::{PublicKey, SecretKey};

use crate::{CLIENT_KEY, CLIENT_SECRET, User, mode};

#[test]
fn the_first_run_makes_a_pair_that_nobody_else_can_read_and_the_next_prints_it() {
    let user = User::new();
    let made = user.json(&["keygen", "--json"]);
    assert_eq!(made["created"], true);
    let public = PublicKey::from_z85(made["public_key"].as_str().unwrap()).unwrap();
    let path = user.config("client.key");
    let secret = fs::read_to_string(&path).unwrap();
    let secret = SecretKey::from_z85(secret.trim()).unwrap();
    assert_eq!(secret.public(), public);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let again = user.json(&["keygen", "--json"]);
    assert_eq!(again["created"], false);
    assert_eq!(again["public_key"], made["public_key"]);
}

#[test]
fn what_is_to_be_run_next_is_told_with_the_new_key() {
    let user = User::new();
    let made = user.descartes(&["keygen"]);
    let key = made.stdout.trim();
    assert!(PublicKey::from_z85(key).is_ok(), "{made:?}");
    let word = shell_word(key);
    assert!(
        made.stderr
            .contains(&format!("descartes keys add NAME {word}")),
        "{made:?}"
    );
}

/// A key has no single quote in it, but nearly always something else that a shell acts on.
fn shell_word(key: &str) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-.:+=/@%".contains(char);
    if key.chars().all(is_plain) {
        key.to_owned()
    } else {
        format!("'{key}'")
    }
}

#[test]
fn only_force_makes_another_pair_and_names_the_servers_that_keep_the_old_one() {
    let user = User::new();
    user.write(
        ".config/descartes/client.key",
        &format!("{CLIENT_SECRET}\n"),
    );
    let server = crate::bundle("tcp://build.example:5555");
    user.write(
        ".config/descartes/config.toml",
        &format!("[servers.build]\n{server}"),
    );
    assert_eq!(user.descartes(&["keygen"]).stdout.trim(), CLIENT_KEY);
    let new = user.descartes(&["keygen", "--force"]);
    assert_ne!(new.stdout.trim(), CLIENT_KEY);
    assert!(new.stderr.contains("build"), "{new:?}");
    let shown = user.descartes(&["keygen", "--show"]);
    assert_eq!(shown.stdout, new.stdout);
    assert_eq!(mode(&user.config("client.key")), 0o600);
}

#[test]
fn keygen_as_people_and_programs_see_it() {
    let user = User::new();
    let mut seen = user.session(&[&["keygen", "--show"], &["keygen", "--show", "--json"]]);
    user.write(".config/descartes/client.key", CLIENT_SECRET);
    seen += &user.session(&[&["keygen"], &["keygen", "--show", "--json"]]);
    user.write(".config/descartes/client.key", "nonsense");
    seen += &user.session(&[&["keygen"]]);
    let path = user.write(".config/descartes/client.key", CLIENT_SECRET);
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    seen += &user.session(&[&["keygen"]]);
    user.snapshot("keygen", &seen);
}
