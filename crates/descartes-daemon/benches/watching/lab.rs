//! The real server in a process of its own, so that what it uses can be told from what its clients use.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use descartes_client::protocol::{AgentConfig, AgentId};
use descartes_client::transport::{ClientSecurity, Endpoint, Limits, Subscriber};
use descartes_client::{ClientError, ZmqAgentRunner, ZmqClient, ZmqRunnerConfig};
use descartes_testkit::soon;
use tempfile::TempDir;

/// A server, and a client of it.
pub(crate) struct Lab {
    dir: TempDir,
    server: Child,
    client: ZmqClient,
}

/// What a process has used, and uses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    /// Bytes of memory.
    pub(crate) resident: u64,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().display();
        let config = format!(
            r#"endpoint = "ipc://{path}/requests"
pub_endpoint = "ipc://{path}/events"
state_dir = "{path}/state"
request_timeout_secs = 30
[runner]
output_bytes = 2000000000
[backends.sh]
command = "sh"
args = ["-c", "{{task}}"]
parser = "jsonl"
[backends.writer]
command = "sh"
args = ["-c", "{{task}}"]
parser = "text"
"#
        );
        let file = dir.path().join("server.toml");
        std::fs::write(&file, config).expect("the file is written");
        #[expect(clippy::disallowed_methods, reason = "the server is what is measured")]
        let server = Command::new(env!("CARGO_BIN_EXE_descartes-server"))
            .arg("--config")
            .arg(file)
            .arg("--log-level")
            .arg("warn")
            .spawn();
        let client = ZmqClient::new(ZmqRunnerConfig {
            endpoint: format!("ipc://{path}/requests"),
            ..ZmqRunnerConfig::default()
        });
        let serving = async {
            while client.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("the server", serving).await;
        Self {
            server: server.expect("the program starts"),
            dir,
            client,
        }
    }

    pub(crate) fn client(&self) -> &ZmqClient {
        &self.client
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Starts an agent whose task is a shell script.
    pub(crate) async fn spawn(&self, backend: &str, script: &str) -> Result<AgentId, ClientError> {
        let config = AgentConfig {
            name: backend.to_owned(),
            model_backend: backend.to_owned(),
            task: script.to_owned(),
            ..AgentConfig::default()
        };
        Ok(self.client.spawn_remote(config, None).await?.id)
    }

    /// Somebody who listens on the event socket.
    pub(crate) async fn subscriber(&self, topic: &str) -> Subscriber {
        let endpoint = format!("ipc://{}/events", self.dir.path().display());
        let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
        let limits = Limits::default();
        let connecting = Subscriber::connect(&endpoint, ClientSecurity::Null, &limits);
        let subscriber = connecting.await.expect("the server listens");
        subscriber.subscribe(topic).await.expect("it is connected");
        subscriber
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(i32::try_from(self.server.id()).expect("a pid"))
    }

    /// Stops the server and all agents.
    pub(crate) async fn stop(mut self) {
        self.client.disconnect().await;
        descartes_testkit::signal(i32::try_from(self.server.id()).expect("a pid"), "TERM");
        let ended = tokio::task::spawn_blocking(move || self.server.wait());
        soon("the server's end", ended)
            .await
            .expect("it does not panic")
            .expect("it is this process's child");
    }
}

impl Usage {
    pub(crate) fn of(pid: i32) -> Self {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"))
        };
        // The name of the program, in parentheses, may hold anything.
        let stat = read("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        let ticks_a_second = rustix::param::clock_ticks_per_second();
        let statm = read("statm");
        let pages = statm
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        Self {
            cpu: Duration::from_millis(ticks * 1000 / ticks_a_second),
            resident: pages.unwrap_or_default() * rustix::param::page_size() as u64,
        }
    }

    pub(crate) fn since(&self, before: &Self) -> Duration {
        self.cpu.saturating_sub(before.cpu)
    }
}
