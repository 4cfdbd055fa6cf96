//! Where an agent comes from.

use descartes_protocol::Timestamp;
use descartes_shim::tree::ProcessKey;
use descartes_shim::{record, wire};

use super::timestamp;

/// Which processes an agent is, and since when.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Its first process; `None` where the record of it is gone.
    pub(super) leader: Option<ProcessKey>,
    pub(super) shim: Option<ProcessKey>,
    /// The version of the shim's socket.
    pub(super) wire_version: u32,
    pub(super) started_at: Timestamp,
}

impl From<&record::State> for Origin {
    fn from(state: &record::State) -> Self {
        Self {
            leader: Some(state.leader()),
            shim: Some(state.shim()),
            wire_version: state.wire_version,
            started_at: timestamp(state.started_at),
        }
    }
}

impl Origin {
    /// Of an agent whose record of it is gone; `spawned_at` in seconds since the epoch.
    pub(crate) fn unknown(spawned_at: u64) -> Self {
        Self {
            leader: None,
            shim: None,
            wire_version: wire::VERSION,
            started_at: Timestamp {
                secs_since_epoch: spawned_at,
                nanos_since_epoch: 0,
            },
        }
    }
}
