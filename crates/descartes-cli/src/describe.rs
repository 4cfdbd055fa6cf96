//! What is known of an agent, in words, colours and numbers.

use anstyle::{AnsiColor, Style};
use descartes_client::protocol::{AgentInfo, AgentStatus, EndReason, SignalNumber, Stream};

/// `exit code 1`, `stopped, signal 15 (SIGTERM)`, and so on, for an agent that has ended.
pub(crate) fn how_it_ended(info: &AgentInfo) -> Option<String> {
    let reason = info.end_reason?;
    let code = info.exit_code.map(|code| format!("exit code {code}"));
    let signal = info.exit_signal.map(signal_words);
    let end = code.or(signal);
    Some(match (reason.as_str(), end) {
        ("exited", Some(end)) => end,
        (reason, Some(end)) => format!("{}, {end}", reason.replace('_', " ")),
        (reason, None) => reason.replace('_', " "),
    })
}

/// `signal 9 (SIGKILL)`.
pub(crate) fn signal_words(number: i32) -> String {
    match SignalNumber::new(number).and_then(SignalNumber::name) {
        Some(name) => format!("signal {number} ({name})"),
        None => format!("signal {number}"),
    }
}

/// The status, and for one that is no plain success, why in a word.
pub(crate) fn status_words(info: &AgentInfo) -> String {
    match (info.status, info.end_reason, info.exit_code) {
        (AgentStatus::Failed, Some(EndReason::Exited), Some(code)) => format!("failed ({code})"),
        (AgentStatus::Failed | AgentStatus::Terminated, Some(reason), _) => {
            format!("{} ({})", info.status, reason.as_str().replace('_', " "))
        }
        (status, ..) => status.to_string(),
    }
}

/// The colour of a status.
pub(crate) fn status_style(status: AgentStatus) -> Style {
    match status {
        AgentStatus::Running | AgentStatus::Thinking => AnsiColor::Green.on_default(),
        AgentStatus::Paused | AgentStatus::Idle | AgentStatus::Initializing => {
            AnsiColor::Yellow.on_default()
        }
        AgentStatus::Completed => Style::new(),
        AgentStatus::Failed => AnsiColor::Red.on_default(),
        AgentStatus::Terminated => AnsiColor::Magenta.on_default(),
    }
}

/// How many bytes of a stream there were when the agent was looked at.
pub(crate) fn size(agent: &AgentInfo, stream: Stream) -> u64 {
    match stream {
        Stream::Stdout => agent.output.stdout_bytes,
        Stream::Stderr => agent.output.stderr_bytes,
    }
}

/// `512 B`, `1.5 kB`, `12 MB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if count < 1000 {
        return format!("{count} B");
    }
    // In tenths of the unit.
    let mut tenths = count / 100;
    for unit in UNITS {
        if tenths < 100 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
        if tenths < 10_000 {
            return format!("{} {unit}", tenths / 10);
        }
        tenths /= 1000;
    }
    format!("{} EB", tenths / 10)
}
