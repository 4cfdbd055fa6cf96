//! `custom_action_request`, and the command `custom_action`.

use descartes_protocol::{CustomActionRequest, ErrorCode, MapWriter, Raw};

use super::control::Outcome;
use super::{Handlers, Refusal};
use crate::dispatch::Dispatched;
use crate::stats::count;

impl Handlers {
    pub(super) fn custom_action(&self, request: CustomActionRequest) -> Dispatched {
        count(&self.shared.counters.control_commands);
        let outcome = match self.agent(request.agent_id) {
            Ok(_) => run(&request.action, request.params.as_ref()),
            Err(refusal) => Err((refusal, None)),
        };
        Dispatched::ready(self.respond(request.request_id, request.agent_id, outcome))
    }
}

/// The actions that every agent has: `ping` and `echo`.
pub(super) fn run(action: &str, params: Option<&Raw>) -> Outcome {
    let data = MapWriter::new().str("action", action);
    match action {
        "ping" => Ok(Some(data.str("result", "pong").finish())),
        "echo" => Ok(Some(
            data.raw("result", params.unwrap_or(&Raw::nil())).finish(),
        )),
        unknown => {
            let refusal = Refusal {
                error: format!("unknown action {unknown:?}; known are ping and echo"),
                code: ErrorCode::UnsupportedCommand,
            };
            Err((refusal, None))
        }
    }
}
