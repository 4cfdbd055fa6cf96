//! What an agent finds on its standard input.

use serde_json::json;

use super::error::Refusal;
use super::launch::{ClientStdin, StdinPlan};

/// A backend's `stdin` and `first_stdin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stdin {
    Null,
    Pipe(FirstStdin),
    /// The task, then the end.
    Task,
}

/// What is written before anything that a client writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstStdin {
    Nothing,
    Task,
    ClaudeJson,
}

impl Stdin {
    /// The plan of one spawn, and the bytes to write first. A client may open standard input where
    /// the backend would not, but not take it from a backend that reads its task there.
    pub(super) fn plan(
        self,
        backend: &str,
        client: Option<ClientStdin>,
        task: &str,
    ) -> Result<(StdinPlan, Vec<u8>), Refusal> {
        let first = match self {
            Self::Null | Self::Pipe(FirstStdin::Nothing) => Vec::new(),
            Self::Pipe(FirstStdin::Task) => format!("{task}\n").into_bytes(),
            Self::Pipe(FirstStdin::ClaudeJson) => claude_line(task),
            Self::Task => task.as_bytes().to_vec(),
        };
        let has_task = !matches!(self, Self::Null | Self::Pipe(FirstStdin::Nothing));
        let plan = match (client, self) {
            (Some(ClientStdin::Null), _) if has_task => {
                return Err(Refusal::StdinNeeded {
                    backend: backend.to_owned(),
                });
            }
            (Some(ClientStdin::Null), _) | (None, Self::Null) => StdinPlan::Null,
            (Some(ClientStdin::Pipe), _) | (None, Self::Pipe(_)) => StdinPlan::Pipe,
            (None, Self::Task) => StdinPlan::PipeThenClose,
        };
        Ok((plan, first))
    }
}

/// The first user message of Claude Code's stream-json input.
fn claude_line(task: &str) -> Vec<u8> {
    let message = json!({"type": "user", "message": {"role": "user", "content": task}});
    format!("{message}\n").into_bytes()
}
