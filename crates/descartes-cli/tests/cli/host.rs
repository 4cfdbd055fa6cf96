//! A server, and the program beside it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use descartes_core::{AgentConfig, AgentId, ZmqServerConfig};
use descartes_testkit::{Client, TestServer, config, socket_endpoint};

/// A server of the test's own, and what was printed so far.
pub(crate) struct Host {
    pub(crate) server: TestServer,
    endpoint: String,
    transcript: String,
}

/// What one run of the program came to.
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

impl Host {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut ZmqServerConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let mut config = config(dir.path());
        let absent = toml::toml! {
            [absent]
            command = "descartes-no-such-program"
        };
        let backends = config.backends.with_config(&absent);
        config.backends = backends.unwrap_or_else(|faults| panic!("{faults:?}"));
        config.endpoint = socket_endpoint(dir.path());
        change(&mut config);
        let endpoint = config.endpoint.clone();
        Self {
            server: TestServer::start_in(dir, config).await,
            endpoint,
            transcript: String::new(),
        }
    }

    /// A client of the test's own.
    pub(crate) async fn client(&self) -> Client {
        self.server.client().await
    }

    /// Starts an agent without the program.
    pub(crate) async fn spawn(&self, config: AgentConfig) -> AgentId {
        let spawned = self.client().await.try_spawn(config).await;
        match spawned.agent_info {
            Some(info) => info.id,
            None => panic!("{spawned:?}"),
        }
    }

    /// Runs the program without a word about it.
    pub(crate) fn quietly(&self, arguments: &[&str]) -> Run {
        self.with_input(arguments, "")
    }

    /// Runs the program with something on its standard input.
    pub(crate) fn with_input(&self, arguments: &[&str], input: &str) -> Run {
        run(&self.endpoint, arguments, input)
    }

    /// Runs the program, and notes what it printed.
    pub(crate) fn run(&mut self, arguments: &[&str]) -> Run {
        let run = self.quietly(arguments);
        note(&mut self.transcript, arguments, &run);
        run
    }

    /// All that was noted.
    pub(crate) async fn transcript(self) -> String {
        self.server.stop().await;
        self.transcript
    }
}

/// Runs the program for that server.
#[expect(
    clippy::disallowed_methods,
    reason = "the program under test; no agent is started here"
)]
pub(crate) fn run(server: &str, arguments: &[&str], input: &str) -> Run {
    let running = Command::new(env!("CARGO_BIN_EXE_descartes"))
        .args(arguments)
        .env_clear()
        .env("DESCARTES_SERVER", server)
        // Nobody's configuration, and no server that runs beside the test.
        .env("HOME", Path::new("/nonexistent"))
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut running = running.unwrap_or_else(|error| panic!("{error}"));
    let done = tokio::task::block_in_place(|| {
        if let Some(mut stdin) = running.stdin.take() {
            // A program that does not read its input is none of the test's business.
            let _ = stdin.write_all(input.as_bytes());
        }
        running.wait_with_output()
    });
    let done = done.unwrap_or_else(|error| panic!("{error}"));
    Run {
        stdout: String::from_utf8_lossy(&done.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&done.stderr).into_owned(),
        code: done.status.code().unwrap_or(-1),
    }
}

/// Notes a run in a transcript, as a terminal would show it.
pub(crate) fn note(transcript: &mut String, arguments: &[&str], run: &Run) {
    let words = arguments.iter().map(|word| {
        if word.contains([' ', '$', ';']) || word.is_empty() {
            format!("'{word}'")
        } else {
            (*word).to_owned()
        }
    });
    let words: Vec<String> = words.collect();
    let _ = writeln!(transcript, "$ descartes {}", words.join(" "));
    transcript.push_str(&run.stdout);
    for line in run.stderr.lines() {
        let _ = writeln!(transcript, "[stderr] {line}");
    }
    if run.code != 0 {
        let _ = writeln!(transcript, "[exit code {}]", run.code);
    }
    transcript.push('\n');
}

/// Compares a transcript with the one that was approved, apart from what differs each time.
macro_rules! assert_transcript {
    ($name:literal, $transcript:expr) => {
        let transcript = $transcript;
        insta::with_settings!({
            filters => vec![
                (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[ID]"),
                (r"\b01[0-9a-f]{6}(-[0-9a-f]{1,4}){0,4}\b", "[ID]"),
                (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "[TIME]"),
                (r"\b(\d+h )?(\d+m )?\d+s( ago)?  ", "[DURATION]$3  "),
                (r"(runtime +|up )(\d+h )?(\d+m )?\d+s", "$1[DURATION]"),
                (r"(answered in |round_trip_ms.:)[0-9.]+", "$1[N]"),
                (r"(uptime_secs\W+|pid\W+)\d+", "$1[N]"),
                (r#"ipc://[^\s"]+/server.sock"#, "ipc://[DIR]/server.sock"),
                (r#""epoch":"[0-9a-f]+""#, r#""epoch":"[EPOCH]""#),
                (r"PATH `[^`]*`", "PATH `[PATH]`"),
                (r" {3,}", "  "),
            ],
            omit_expression => true,
        }, {
            insta::assert_snapshot!($name, transcript);
        });
    };
}
pub(crate) use assert_transcript;
