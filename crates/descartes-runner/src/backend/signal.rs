//! Signals by name.

use descartes_protocol::SignalNumber;

/// By which signals a program pauses and goes on of its own accord.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PauseSignals {
    pub(super) pause: i32,
    pub(super) resume: i32,
}

/// The number of a signal, from its name with or without `SIG`, in capitals or not. A number is no
/// name.
#[must_use]
pub(super) fn signal_number(name: &str) -> Option<i32> {
    if name.starts_with(|first: char| !first.is_ascii_alphabetic()) {
        return None;
    }
    name.parse().ok().map(SignalNumber::number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_its_number_with_and_without_prefix() {
        assert_eq!(signal_number("SIGTERM"), Some(15));
        assert_eq!(signal_number("term"), Some(15));
        assert_eq!(signal_number("SIGSIGTERM"), None);
        assert_eq!(signal_number(""), None);
        assert_eq!(signal_number("15"), None);
        assert_eq!(signal_number("+15"), None);
    }
}
