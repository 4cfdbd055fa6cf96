//! What a finished agent's output said, kept beside its exit record, so that a restarted server
//! need not read all output of all finished agents again.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use descartes_protocol::{AgentResult, AgentStatus, Usage};
use descartes_shim::record;
use serde::{Deserialize, Serialize};

use crate::agent::{Agent, AgentState};
use crate::parser::ParserKind;

const NAME: &str = "summary.json";

/// The last word on a finished agent.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) status: AgentStatus,
    pub(crate) session_id: Option<String>,
    pub(crate) model: Option<String>,
    /// Input, output and cached tokens.
    pub(crate) tokens: Option<[u64; 3]>,
    pub(crate) cost_usd: Option<f64>,
    /// Whether it was an error, and its text.
    pub(crate) result: Option<(bool, String)>,
}

impl Summary {
    pub(crate) fn of(state: &AgentState) -> Self {
        let said = state.said();
        Self {
            status: state.status(),
            session_id: said.session_id.clone(),
            model: said.model.clone(),
            tokens: said.usage.map(|usage| {
                [
                    usage.input_tokens,
                    usage.output_tokens,
                    usage.cache_read_tokens,
                ]
            }),
            cost_usd: said.usage.map(|usage| usage.cost_usd),
            result: said
                .result
                .clone()
                .map(|result| (result.is_error, result.text)),
        }
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        let [input_tokens, output_tokens, cache_read_tokens] = self.tokens?;
        Some(Usage {
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cost_usd: self.cost_usd.unwrap_or(0.0),
        })
    }

    pub(crate) fn result(&self) -> Option<AgentResult> {
        self.result
            .clone()
            .map(|(is_error, text)| AgentResult { is_error, text })
    }
}

impl record::Record for Summary {}

/// Keeps the summary of an agent whose kind says something of itself.
pub(crate) async fn write(agent: &Arc<Agent>, summary: Summary) {
    if agent.notes.parser == ParserKind::Text {
        return;
    }
    let agent = Arc::clone(agent);
    let written = tokio::task::spawn_blocking(move || keep(&agent.dir, &summary));
    if let Ok(Err(error)) = written.await {
        tracing::warn!(%error, "failed to write an agent's summary");
    }
}

/// Puts the summary into an agent's folder. Blocks.
pub(crate) fn keep(dir: &Path, summary: &Summary) -> io::Result<()> {
    record::write(&File::open(dir)?, NAME, summary)
}

/// The summary in an agent's folder, if there is one that can be read. Blocks.
pub(crate) fn read(dir: &Path) -> Option<Summary> {
    record::read(dir, NAME).ok().flatten()
}
