//! `batch_control_command`.

use descartes_protocol::{
    AgentId, BatchControlCommand, BatchControlResponse, BatchResult, Command,
};
use tokio::task::JoinSet;

use super::control::{Begun, Outcome};
use super::{Handlers, Refusal};
use crate::dispatch::Dispatched;
use crate::stats::count;

impl Handlers {
    /// The same command for several agents: all at once, or with `fail_fast` one after the other
    /// until one fails; the results end there.
    pub(super) fn batch(&self, request: BatchControlCommand) -> Dispatched {
        let command = Command::parse(&request.command_type, request.payload.as_ref());
        let command = command.map_err(Refusal::from).and_then(worth_a_batch);
        if request.fail_fast {
            let handlers = self.clone();
            return Dispatched::later(async move {
                let results = handlers.one_by_one(&request.agent_ids, &command).await;
                respond(request.request_id, results).into()
            });
        }
        let begun: Vec<Begun> = request
            .agent_ids
            .iter()
            .map(|&id| {
                count(&self.shared.counters.control_commands);
                self.begin(id, command.clone())
            })
            .collect();
        let handlers = self.clone();
        Dispatched::later(async move {
            let results = handlers.together(request.agent_ids, begun).await;
            respond(request.request_id, results).into()
        })
    }

    async fn one_by_one(
        &self,
        ids: &[AgentId],
        command: &Result<Command, Refusal>,
    ) -> Vec<BatchResult> {
        let mut results = Vec::new();
        let limit = self.shared.request_timeout;
        let deadline = tokio::time::Instant::now() + limit;
        for &id in ids {
            count(&self.shared.counters.control_commands);
            let settled = settle(self.begin(id, command.clone()));
            let outcome = tokio::time::timeout_at(deadline, settled).await;
            let outcome = outcome.unwrap_or_else(|_| Err((Refusal::timeout(limit, None), None)));
            let result = self.result(id, outcome);
            let failed = !result.success;
            results.push(result);
            if failed {
                break;
            }
        }
        results
    }

    async fn together(&self, ids: Vec<AgentId>, begun: Vec<Begun>) -> Vec<BatchResult> {
        let mut settling = JoinSet::new();
        let mut outcomes: Vec<Option<Outcome>> = Vec::with_capacity(begun.len());
        for (index, begun) in begun.into_iter().enumerate() {
            outcomes.push(None);
            match begun {
                Begun::Done(outcome) => outcomes[index] = Some(outcome),
                Begun::UnderWay(outcome) => {
                    settling.spawn(async move { (index, outcome.await) });
                }
            }
        }
        while let Some(settled) = settling.join_next().await {
            if let Ok((index, outcome)) = settled {
                outcomes[index] = Some(outcome);
            }
        }
        ids.into_iter()
            .zip(outcomes)
            .map(|(id, outcome)| self.result(id, outcome.unwrap_or_else(interrupted)))
            .collect()
    }

    fn result(&self, id: AgentId, outcome: Outcome) -> BatchResult {
        let response = self.respond(String::new(), id, outcome);
        BatchResult {
            agent_id: id,
            success: response.success,
            status: response.status,
            error: response.error,
            error_code: response.error_code,
        }
    }
}

/// A batch's results carry no data, so what only brings data is refused rather than thrown away.
fn worth_a_batch(command: Command) -> Result<Command, Refusal> {
    match command {
        Command::Read { .. }
        | Command::QueryOutput { .. }
        | Command::StreamLogs
        | Command::CustomAction { .. } => Err(Refusal {
            error: format!(
                "{} brings data, which a batch's results do not carry",
                command.command_type()
            ),
            code: descartes_protocol::ErrorCode::UnsupportedCommand,
        }),
        command => Ok(command),
    }
}

async fn settle(begun: Begun) -> Outcome {
    match begun {
        Begun::Done(outcome) => outcome,
        Begun::UnderWay(outcome) => outcome.await,
    }
}

fn interrupted() -> Outcome {
    let refusal = Refusal {
        error: "the command was interrupted; its outcome will show in the agent's status"
            .to_owned(),
        code: descartes_protocol::ErrorCode::Internal,
    };
    Err((refusal, None))
}

fn respond(request_id: String, results: Vec<BatchResult>) -> BatchControlResponse {
    let successful = results.iter().filter(|result| result.success).count() as u64;
    let failed = results.len() as u64 - successful;
    BatchControlResponse {
        request_id,
        success: failed == 0,
        results,
        successful,
        failed,
    }
}
