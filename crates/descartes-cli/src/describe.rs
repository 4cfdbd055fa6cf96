//! What is known of an agent, in words, colours and numbers.

use anstyle::{AnsiColor, Style};
use descartes_client::protocol::{AgentInfo, AgentStatus, SignalNumber, Stream};

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
