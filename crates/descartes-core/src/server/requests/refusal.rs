//! Requests that are refused before anything is done, in the shape in which their client expects
//! an answer.

use descartes_protocol::{
    BatchControlResponse, BatchResult, CommandResponse, ErrorCode, ErrorResponse, Reply, Request,
    SpawnResponse,
};

/// A refusal that belongs to no request that could be read.
pub(super) fn unread(error_code: ErrorCode, error: String) -> Reply {
    owed(None, error_code, error)
}

/// The answer to a request whose handler panicked.
pub(super) fn failed(request_id: String) -> Reply {
    let error = "the request failed inside the server; its log says more".to_owned();
    owed(Some(request_id), ErrorCode::Internal, error)
}

/// In the place of a reply for which there is no room: what was asked for was done.
pub(super) fn no_room(request_id: Option<String>) -> Reply {
    let error =
        "too many replies wait for this client to read them; read, and ask again".to_owned();
    owed(request_id, ErrorCode::Busy, error)
}

/// A refusal of a request of which only the id is known any more.
fn owed(request_id: Option<String>, error_code: ErrorCode, error: String) -> Reply {
    Reply::Error(ErrorResponse {
        request_id,
        error,
        error_code,
    })
}

/// A refusal of this request.
pub(super) fn of(request: Request, code: ErrorCode, error: String) -> Reply {
    match request {
        Request::Spawn(request) => Reply::Spawn(SpawnResponse {
            request_id: request.request_id,
            success: false,
            agent_info: None,
            error: Some(error),
            server_id: None,
            error_code: Some(code),
        }),
        Request::Control(request) => command(request.request_id, request.agent_id, code, error),
        Request::CustomAction(request) => {
            command(request.request_id, request.agent_id, code, error)
        }
        Request::BatchControl(request) => {
            let failed = request.agent_ids.len() as u64;
            let refused = |agent_id| BatchResult {
                agent_id,
                success: false,
                status: None,
                error: Some(error.clone()),
                error_code: Some(code),
            };
            Reply::BatchControl(BatchControlResponse {
                request_id: request.request_id,
                success: false,
                results: request.agent_ids.into_iter().map(refused).collect(),
                successful: 0,
                failed,
            })
        }
        other => owed(Some(other.request_id().to_owned()), code, error),
    }
}

fn command(
    request_id: String,
    agent_id: descartes_protocol::AgentId,
    code: ErrorCode,
    error: String,
) -> Reply {
    Reply::Command(CommandResponse {
        request_id,
        agent_id,
        success: false,
        status: None,
        data: None,
        error: Some(error),
        error_code: Some(code),
    })
}
