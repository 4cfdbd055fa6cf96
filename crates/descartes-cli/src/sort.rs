//! The order in which agents are listed.

use std::cmp::{Ordering, Reverse};

use clap::ValueEnum;
use descartes_client::protocol::{AgentInfo, Timestamp};

use crate::time;

/// What agents are sorted by. Those that are alike in it keep their order: the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// The oldest first
    Started,
    Name,
    Status,
    Backend,
    /// The longest first
    Runtime,
    /// The most first
    Output,
}

impl Sort {
    /// Which of two comes first, `now`.
    pub(crate) fn compare(self, one: &AgentInfo, other: &AgentInfo, now: Timestamp) -> Ordering {
        match self {
            Self::Started => Ordering::Equal,
            Self::Name => one.name.cmp(&other.name),
            Self::Status => one.status.as_str().cmp(other.status.as_str()),
            Self::Backend => one.model_backend.cmp(&other.model_backend),
            Self::Runtime => {
                let runtime = |info: &AgentInfo| {
                    time::between(info.started_at, info.finished_at.or(Some(now)))
                };
                Reverse(runtime(one)).cmp(&Reverse(runtime(other)))
            }
            Self::Output => Reverse(written(one)).cmp(&Reverse(written(other))),
        }
    }
}

/// Bytes that an agent has written.
pub(crate) fn written(info: &AgentInfo) -> u64 {
    info.output.stdout_bytes + info.output.stderr_bytes
}
