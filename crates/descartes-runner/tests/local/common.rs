//! A runner in a folder of a test's own, and agents that are shell scripts.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use descartes_protocol::AgentConfig;
use descartes_runner::backend::{Backends, HostEnv};
use descartes_runner::{
    AgentUpdate, LocalProcessRunner, LocalRunnerConfig, Observer, ProcessRunnerConfig, SpawnOrder,
};

/// Longer than anything that works takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn update(&self, _: AgentUpdate) {}
}

/// Keeps everything, and readers do not count once they are done.
pub(crate) fn config(dir: &Path) -> LocalRunnerConfig {
    let table = toml::toml! {
        [sh]
        command = "sh"
        args = ["-c", "{task}"]
        stdin = "pipe"
    };
    LocalRunnerConfig {
        server_id: "test-server".to_owned(),
        state_dir: dir.join("state"),
        max_agents: 100,
        process: ProcessRunnerConfig {
            orphan_timeout_secs: 120,
            ..ProcessRunnerConfig::default()
        },
        backends: Backends::builtin().with_config(&table).unwrap(),
        host_env: HostEnv::from_process(),
        retain_finished: usize::MAX,
        retain_for: Duration::from_hours(1),
        retain_bytes: u64::MAX,
        retain_read_for: Duration::ZERO,
    }
}

pub(crate) async fn open(config: &LocalRunnerConfig) -> LocalProcessRunner {
    let opened = LocalProcessRunner::open(config.clone(), Arc::new(Nobody));
    opened.await.unwrap()
}

pub(crate) fn order(request_id: &str, task: &str) -> SpawnOrder {
    SpawnOrder {
        client: None,
        request_id: request_id.to_owned(),
        config: AgentConfig {
            name: "test-agent".to_owned(),
            model_backend: "sh".to_owned(),
            task: task.to_owned(),
            ..AgentConfig::default()
        },
        metadata: None,
        timeout: PATIENCE,
    }
}

pub(crate) async fn soon<T>(what: &str, event: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, event).await;
    came.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}
