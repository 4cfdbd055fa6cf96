//! `servers`, `keys` and `keygen`: how a client gets to a server on another host.
#![cfg(test)]

mod keygen;
mod keys;
mod servers;
mod ways;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// An endpoint at which nobody listens: only root could, and has no reason to.
const NOWHERE: &str = "tcp://127.0.0.1:1";

/// The example keys of `zmq_curve(7)`.
const SERVER_KEY: &str = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7";
const CLIENT_KEY: &str = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
const CLIENT_SECRET: &str = "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs";

/// A user with a home of their own.
#[derive(Debug)]
struct User {
    home: TempDir,
}

/// What a command came to.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl User {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn home(&self) -> &Path {
        self.home.path()
    }

    fn config(&self, name: &str) -> PathBuf {
        self.home().join(".config/descartes").join(name)
    }

    /// Runs `descartes`, and makes sure that it keeps every secret.
    #[expect(
        clippy::disallowed_methods,
        reason = "the command line is what is tested"
    )]
    fn descartes(&self, args: &[&str]) -> Ran {
        let mut command = Command::new(env!("CARGO_BIN_EXE_descartes"));
        let command = command.args(args).current_dir(self.home());
        let output = command.env_clear().env("HOME", self.home()).output();
        let output = output.unwrap();
        let ran = Ran {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        let own = fs::read_to_string(self.config("client.key")).unwrap_or_default();
        for secret in [CLIENT_SECRET, own.trim()] {
            let is_told = ran.stdout.contains(secret) || ran.stderr.contains(secret);
            assert!(secret.is_empty() || !is_told, "{ran:?}");
        }
        ran
    }

    fn json(&self, args: &[&str]) -> serde_json::Value {
        let ran = self.descartes(args);
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
    }

    /// What a person sees who enters one command after the other.
    fn session(&self, lines: &[&[&str]]) -> String {
        let mut seen = String::new();
        for line in lines {
            let ran = self.descartes(line);
            writeln!(seen, "$ descartes {}", line.join(" ")).unwrap();
            seen.push_str(&ran.stdout);
            for line in ran.stderr.lines() {
                writeln!(seen, "2> {line}").unwrap();
            }
            if ran.code != 0 {
                writeln!(seen, "=> {}", ran.code).unwrap();
            }
            seen.push('\n');
        }
        seen
    }

    /// Writes a file below home that only its owner can read.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Compares with the snapshot of this name.
    fn snapshot(&self, name: &str, seen: &str) {
        let mut settings = insta::Settings::clone_current();
        let home = self.home().to_str().unwrap().replace('.', r"\.");
        settings.add_filter(&home, "[HOME]");
        // As wide as the ports that the system gives out.
        settings.add_filter(r"127\.0\.0\.1:\d{2,}", "127.0.0.1:54321");
        settings.add_filter(
            r#""server_version":"[^"]+""#,
            r#""server_version":"[VERSION]""#,
        );
        settings.set_omit_expression(true);
        settings.set_prepend_module_to_snapshot(false);
        settings.bind(|| insta::assert_snapshot!(name, seen));
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn bundle(endpoint: &str) -> String {
    format!(
        "endpoint = \"{endpoint}\"\nserver_key = \"{SERVER_KEY}\"\npublic_key = \"{CLIENT_KEY}\"\nsecret_key = \"{CLIENT_SECRET}\"\n"
    )
}
