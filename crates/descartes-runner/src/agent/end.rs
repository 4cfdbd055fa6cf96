//! What the record of an agent's end means to clients.

use descartes_protocol::{AgentStatus, EndReason, MapWriter, Raw};
use descartes_shim::record::{self, Exit};

/// The final status: what was done to the agent, or else what it and the kernel say of its end.
pub(super) fn final_status(exit: &Exit, failed: bool) -> AgentStatus {
    match exit.reason {
        record::EndReason::Exited if exit.exit_code == Some(0) && !failed => AgentStatus::Completed,
        record::EndReason::Exited | record::EndReason::Lost | record::EndReason::MemoryLimit => {
            AgentStatus::Failed
        }
        record::EndReason::Stopped
        | record::EndReason::Killed
        | record::EndReason::Timeout
        | record::EndReason::IdleTimeout
        | record::EndReason::ServerShutdown
        | record::EndReason::Orphaned => AgentStatus::Terminated,
    }
}

pub(super) fn end_reason(reason: record::EndReason) -> EndReason {
    match reason {
        record::EndReason::Exited => EndReason::Exited,
        record::EndReason::Stopped => EndReason::Stopped,
        record::EndReason::Killed => EndReason::Killed,
        record::EndReason::Timeout => EndReason::Timeout,
        record::EndReason::IdleTimeout => EndReason::IdleTimeout,
        record::EndReason::ServerShutdown => EndReason::ServerShutdown,
        record::EndReason::Orphaned => EndReason::Orphaned,
        record::EndReason::MemoryLimit => EndReason::MemoryLimit,
        record::EndReason::Lost => EndReason::Lost,
    }
}

pub(super) fn exit_data(exit: &Exit) -> Raw {
    let mut data = MapWriter::new();
    data = match exit.exit_code {
        Some(code) => data.int("exit_code", code.into()),
        None => data.nil("exit_code"),
    };
    data = match exit.exit_signal {
        Some(signal) => data.int("exit_signal", signal.into()),
        None => data.nil("exit_signal"),
    };
    data.str("end_reason", end_reason(exit.reason).as_str())
        .finish()
}

/// How an agent ended, for people.
pub(crate) fn in_words(exit: &Exit) -> String {
    let how = how_in_words(exit);
    if exit.left_over.is_empty() {
        return how;
    }
    format!("{how}; processes {:?} could not be killed", exit.left_over)
}

fn how_in_words(exit: &Exit) -> String {
    let how = match (exit.exit_code, exit.exit_signal) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended without an exit code".to_owned(),
    };
    let why = match exit.reason {
        record::EndReason::Exited => return how,
        record::EndReason::Stopped => "stopped",
        record::EndReason::Killed => "killed",
        record::EndReason::Timeout => "stopped at its runtime limit",
        record::EndReason::IdleTimeout => "stopped for its silence",
        record::EndReason::ServerShutdown => "stopped by the server's shutdown",
        record::EndReason::Orphaned => "stopped because no server watched it",
        record::EndReason::MemoryLimit => "killed at its memory limit",
        record::EndReason::Lost => "lost its shim",
    };
    format!("{why}; {how}")
}
