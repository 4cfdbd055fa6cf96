//! What an agent says, and somebody who has no time to hear it.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use descartes_protocol::{AgentStatus, UpdateType};
use descartes_runner::backend::Backends;
use descartes_runner::{AgentRunner, AgentUpdate, LocalProcessRunner, Observer};

use crate::common::{config, order, soon};

/// Keeps updates, and never has room for more.
#[derive(Debug, Default)]
struct Full(Mutex<Vec<AgentUpdate>>);

impl Observer for Full {
    fn update(&self, update: AgentUpdate) {
        if update.agent_sequence.is_some() {
            self.0.lock().unwrap().push(update);
        }
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(pending())
    }
}

#[tokio::test]
async fn an_agents_end_is_told_though_there_is_no_room_for_what_it_said() {
    let dir = tempfile::tempdir().unwrap();
    let table = toml::toml! {
        [sh]
        command = "sh"
        args = ["-c", "{task}"]
        stdin = "pipe"
        parser = "jsonl"
    };
    let mut config = config(dir.path());
    config.backends = Backends::builtin().with_config(&table).unwrap();
    let observer = Arc::new(Full::default());
    let runner = LocalProcessRunner::open(config, observer.clone())
        .await
        .unwrap();
    // Far more than is told at a time.
    let task = r#"yes '{"type":"thinking"}
{"type":"running"}' | head -n 20000; exit 3"#;
    let agent = runner.spawn(order("talk", task)).await.unwrap().agent;
    let mut progress = agent.progress();
    let ended = progress.wait_for(|progress| progress.finished);
    drop(soon("the end", ended).await.unwrap());
    let told = observer.0.lock().unwrap().clone();
    let last = told.last().unwrap();
    assert_eq!(
        (last.kind, last.status),
        (UpdateType::Completed, AgentStatus::Failed)
    );
    assert!(told.len() < 1000, "{} updates were told", told.len());
    let numbers: Vec<_> = told
        .iter()
        .filter_map(|update| update.agent_sequence)
        .collect();
    assert!(
        numbers
            .iter()
            .zip(1..)
            .all(|(number, expected)| *number == expected)
    );
}
