//! Signals by number and name.

use std::fmt;
use std::str::FromStr;

use crate::UnknownName;

/// A signal's number, 1 to 64, as Linux has them on `x86_64` and `aarch64`.
///
/// Reads from a name with or without `SIG`, in any case, or from digits; 32 to 64 have no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalNumber(i32);

const FIRST: i32 = 1;
const LAST: i32 = 64;

/// The names of the signals 1 to 31. Source: signal(7).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

impl SignalNumber {
    /// The signal with this number, if there is one that can be sent: the C library keeps 32 and 33
    /// to itself (signal(7)).
    #[must_use]
    pub fn new(number: i32) -> Option<Self> {
        let exists = (FIRST..=LAST).contains(&number) && !matches!(number, 32 | 33);
        exists.then_some(Self(number))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The name, beginning with `SIG`; `None` above 31.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        let index = usize::try_from(self.0 - FIRST).ok()?;
        NAMES.get(index).copied()
    }
}

impl fmt::Display for SignalNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => self.0.fmt(f),
        }
    }
}

impl FromStr for SignalNumber {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = match text.parse() {
            Ok(number) => Some(number),
            Err(_) => number_of(&text.to_ascii_uppercase()),
        };
        let signal = number.and_then(Self::new);
        signal.ok_or_else(|| UnknownName::new("signal", text))
    }
}

fn number_of(name: &str) -> Option<i32> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    let canonical = match bare {
        "IOT" => "ABRT",
        "CLD" => "CHLD",
        "POLL" => "IO",
        other => other,
    };
    (FIRST..)
        .zip(NAMES)
        .find_map(|(number, known)| (known[3..] == *canonical).then_some(number))
}
