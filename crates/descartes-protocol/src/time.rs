//! Points in time, and what happened at them.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::codec::{Element, record};
use crate::limits::MAX_TIMES_IN_REPLY;

record! {
    /// A point in time, in UTC.
    #[derive(Debug, Copy, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
    pub struct Timestamp {
        /// Whole seconds since 1970-01-01 00:00:00 UTC.
        pub secs_since_epoch: u64,
        /// Nanoseconds since that second, below 1,000,000,000.
        pub nanos_since_epoch: u32,
    }
}

record! {
    /// When an agent's output arrived: the byte at `offset`, and those that follow up to the next such entry
    /// shortly after it.
    #[derive(Debug, Copy, Eq)]
    pub struct OutputTime {
        /// Offset of the byte in its stream.
        pub offset: u64,
        /// When it arrived, to the millisecond.
        pub time: Timestamp,
    }
}

impl Element for OutputTime {
    const MAX: usize = MAX_TIMES_IN_REPLY;
}

impl Timestamp {
    /// The present time by the system's clock.
    #[must_use]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The same time for the standard library; `None` if it is too far off for it.
    #[must_use]
    pub fn to_system_time(self) -> Option<SystemTime> {
        let nanos = Duration::from_nanos(self.nanos_since_epoch.into());
        let since_epoch = Duration::from_secs(self.secs_since_epoch).checked_add(nanos)?;
        SystemTime::UNIX_EPOCH.checked_add(since_epoch)
    }
}

impl From<SystemTime> for Timestamp {
    /// A time before 1970 becomes the first second of 1970.
    fn from(time: SystemTime) -> Self {
        let since_epoch = time
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            secs_since_epoch: since_epoch.as_secs(),
            nanos_since_epoch: since_epoch.subsec_nanos(),
        }
    }
}
