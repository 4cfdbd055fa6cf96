//! A server of a test's own.

use std::path::Path;

use descartes_core::{AgentResult, Backends, ProcessRunnerConfig, ZmqAgentServer, ZmqServerConfig};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::soon;

/// A running server with a state folder that goes away with it.
#[derive(Debug)]
pub struct TestServer {
    /// The server.
    pub server: ZmqAgentServer,
    task: JoinHandle<AgentResult<()>>,
    dir: TempDir,
}

/// The built-in backends, and `sh`, which runs its task as a shell script with an open stdin.
///
/// # Panics
/// If its own TOML is wrong.
#[must_use]
pub fn shell_backends() -> Backends {
    let table = toml::toml! {
        [sh]
        command = "sh"
        args = ["-c", "{task}"]
        stdin = "pipe"
        parser = "text"
    };
    match Backends::builtin().with_config(&table) {
        Ok(backends) => backends,
        Err(faults) => panic!("{faults:?}"),
    }
}

/// A configuration with free ports of the loopback and everything below `dir`.
#[must_use]
pub fn config(dir: &Path) -> ZmqServerConfig {
    ZmqServerConfig {
        endpoint: "tcp://127.0.0.1:0".to_owned(),
        server_id: "test-server".to_owned(),
        state_dir: Some(dir.join("state")),
        backends: shell_backends(),
        runner_config: ProcessRunnerConfig {
            // What an interrupted test leaves behind does not stay for a day.
            orphan_timeout_secs: 120,
            ..ProcessRunnerConfig::default()
        },
        ..ZmqServerConfig::default()
    }
}

/// Where a server of [`TestServer::start_on_socket`] listens.
#[must_use]
pub fn socket_endpoint(dir: &Path) -> String {
    format!("ipc://{}/server.sock", dir.display())
}

impl TestServer {
    /// Starts a server with the defaults of [`config`].
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a server with the defaults of [`config`], changed by `change`.
    ///
    /// # Panics
    /// If there is no temporary folder, or the server does not begin to serve.
    pub async fn start_with(change: impl FnOnce(&mut ZmqServerConfig)) -> Self {
        let dir =
            tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let mut config = config(dir.path());
        change(&mut config);
        Self::start_in(dir, config).await
    }

    /// Starts a server whose files are in `dir`, and that listens on a socket there: started again
    /// in the same folder, it is found at the same endpoint, [`socket_endpoint`].
    pub async fn start_on_socket(dir: TempDir) -> Self {
        let config = ZmqServerConfig {
            endpoint: socket_endpoint(dir.path()),
            ..config(dir.path())
        };
        Self::start_in(dir, config).await
    }

    /// Starts a server whose files are in `dir`.
    ///
    /// # Panics
    /// If it does not begin to serve.
    pub async fn start_in(dir: TempDir, config: ZmqServerConfig) -> Self {
        let server = ZmqAgentServer::new(config);
        let starting = server.clone();
        let task = tokio::spawn(async move { starting.start().await });
        // `ready` is false before the task has begun as well.
        while !soon("the server", server.ready()).await {
            assert!(!task.is_finished(), "the server ended: {:?}", task.await);
            tokio::task::yield_now().await;
        }
        Self { server, task, dir }
    }

    /// A new client of its own connection.
    ///
    /// # Panics
    /// If the server does not serve.
    pub async fn client(&self) -> Client {
        let endpoint = self
            .server
            .endpoint()
            .unwrap_or_else(|| panic!("the server does not serve"));
        Client::connect(&endpoint).await
    }

    /// Stops the server, and with it every agent.
    ///
    /// # Panics
    /// If it fails.
    pub async fn stop(self) {
        self.stop_and_keep().await;
    }

    /// Stops the server and hands on its files.
    ///
    /// # Panics
    /// If it fails.
    pub async fn stop_and_keep(self) -> TempDir {
        if let Err(error) = soon("the server's stop", self.server.stop()).await {
            panic!("{error}");
        }
        match self.task.await {
            Ok(Ok(())) => self.dir,
            other => panic!("the server failed: {other:?}"),
        }
    }

    /// Ends the server as a crash would: nothing is stopped, told or closed in order.
    pub async fn crash(self) -> TempDir {
        self.task.abort();
        let _ = self.task.await;
        self.dir
    }

    /// Ends the server as a crash would, and starts it again with the same configuration and
    /// files. Meanwhile `between` may do something to the state folder.
    pub async fn crash_and_restart(self, between: impl AsyncFnOnce(&Path)) -> Self {
        let config = self.server.config().clone();
        let dir = self.crash().await;
        between(&config.state_dir()).await;
        Self::start_in(dir, config).await
    }
}
