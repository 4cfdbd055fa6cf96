//! What an agent is to be, from the command line.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::time::Duration;

use clap::Args;
use descartes_client::protocol::{AgentConfig, Limits, SpawnRequest, StdinMode};

use crate::error::{CliError, Result};
use crate::time;

/// Bytes that a suffix stands for.
const UNITS: [(&str, u64); 4] = [
    ("K", 1 << 10),
    ("M", 1 << 20),
    ("G", 1 << 30),
    ("T", 1 << 40),
];

// Not a doc comment: those would be Markdown, with marks that a terminal shows.
const TOOL_LEVEL_HELP: &str =
    "How much the agent may do, as far as the backend knows it: read_only, edit or full";

/// The agent that is asked for.
#[derive(Debug, Args)]
pub(crate) struct AgentOptions {
    /// The backend, by its name in the server's configuration: claude, codex, opencode, gemini, …
    #[arg(value_name = "BACKEND")]
    backend: String,

    /// What the agent is to do; - reads it from standard input. Write -- before a task that begins with a hyphen
    #[arg(value_name = "TASK", required = true)]
    task: Vec<String>,

    /// A name for the agent; default: the backend's and four random characters
    #[arg(short, long)]
    name: Option<String>,

    /// An environment variable; without a value, this side's; repeatable
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    env: Vec<String>,

    /// The directory on the server's host in which the agent works
    #[arg(short = 'C', long, value_name = "DIR")]
    cwd: Option<String>,

    /// A label, to find the agent by; repeatable
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,

    /// Something to keep with the agent; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,

    /// The model, where the backend has a choice
    #[arg(short, long)]
    model: Option<String>,

    /// What the agent should know besides its task
    #[arg(long, value_name = "TEXT")]
    context: Option<String>,

    /// The system prompt, where the backend takes one
    #[arg(long, value_name = "TEXT")]
    system_prompt: Option<String>,

    #[arg(long, value_name = "LEVEL", help = TOOL_LEVEL_HELP)]
    tool_level: Option<String>,

    /// A session of the backend's to go on with
    #[arg(long, value_name = "SESSION")]
    resume_session: Option<String>,

    /// An argument for the backend's program, where the backend allows that; repeatable
    #[arg(long = "arg", value_name = "ARG", allow_hyphen_values = true)]
    args: Vec<String>,

    /// Give the agent an open standard input: this side's, or what `send` and `attach` bring
    #[arg(short = 'i', long)]
    stdin: bool,

    /// End the agent after this time (90, 90s, 5m, 1h30m)
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, help_heading = "Limits")]
    max_runtime: Option<Duration>,

    /// End the agent after this time without output
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, help_heading = "Limits")]
    idle_timeout: Option<Duration>,

    /// Memory of all its processes together, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    memory: Option<u64>,

    /// Percent of one CPU; 200 is two CPUs
    #[arg(long, value_name = "PERCENT", help_heading = "Limits")]
    cpu: Option<u64>,

    /// Processes and threads
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pids: Option<u64>,

    /// How much of each output stream is kept, in bytes or with K, M, G
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Limits")]
    keep_output: Option<u64>,

    /// How long the agent may take to start; default: the server's choice
    #[arg(long, value_name = "DURATION", value_parser = time::parse_duration, help_heading = "Limits")]
    start_timeout: Option<Duration>,
}

impl AgentOptions {
    pub(crate) fn has_stdin(&self) -> bool {
        self.stdin
    }

    /// The request for it.
    pub(crate) fn request(&self) -> Result<SpawnRequest> {
        let task = self.task()?;
        if task.trim().is_empty() {
            return Err(CliError::usage("the task is empty"));
        }
        let text = |text: &Option<String>| text.clone();
        let config = AgentConfig {
            name: self.name.clone().unwrap_or_else(|| self.default_name()),
            model_backend: self.backend.clone(),
            task,
            context: text(&self.context),
            system_prompt: text(&self.system_prompt),
            environment: self.environment()?,
            model: text(&self.model),
            tool_level: text(&self.tool_level),
            agents: None,
            working_dir: text(&self.cwd),
            args: (!self.args.is_empty()).then(|| self.args.clone()),
            stdin: self.stdin.then_some(StdinMode::Pipe),
            resume_session: text(&self.resume_session),
            labels: map(&self.labels),
            limits: self.limits(),
        };
        Ok(SpawnRequest {
            request_id: String::new(),
            config,
            timeout_secs: self.start_timeout.map(whole_secs),
            metadata: map(&self.metadata),
        })
    }

    fn task(&self) -> Result<String> {
        if self.task != ["-"] {
            return Ok(self.task.join(" "));
        }
        if self.stdin {
            return Err(CliError::usage(
                "standard input cannot be both the task (-) and the agent's (--stdin)",
            ));
        }
        let mut task = String::new();
        match io::stdin().lock().read_to_string(&mut task) {
            Ok(_) => Ok(task),
            Err(error) => Err(CliError::usage(format!(
                "failed to read the task from standard input: {error}"
            ))),
        }
    }

    fn environment(&self) -> Result<BTreeMap<String, String>> {
        let mut environment = BTreeMap::new();
        for entry in &self.env {
            let (name, value) = match entry.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => match std::env::var(entry) {
                    Ok(value) => (entry.as_str(), value),
                    Err(error) => {
                        let message = format!("--env {entry}: {error}");
                        return Err(CliError::usage(message)
                            .hint(format!("set it here, or write --env {entry}=VALUE")));
                    }
                },
            };
            environment.insert(name.to_owned(), value);
        }
        Ok(environment)
    }

    fn default_name(&self) -> String {
        let random = uuid::Uuid::new_v4().simple().to_string();
        format!("{}-{}", self.backend, &random[..4])
    }

    fn limits(&self) -> Option<Limits> {
        let limits = Limits {
            max_runtime_secs: self.max_runtime.map(whole_secs),
            idle_timeout_secs: self.idle_timeout.map(whole_secs),
            memory_bytes: self.memory,
            cpu_percent: self.cpu,
            pids: self.pids,
            output_bytes: self.keep_output,
        };
        (limits != Limits::default()).then_some(limits)
    }
}

/// None only for none at all, which the server refuses.
fn whole_secs(duration: Duration) -> u64 {
    let part = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(part)
}

fn map(pairs: &[(String, String)]) -> Option<BTreeMap<String, String>> {
    (!pairs.is_empty()).then(|| pairs.iter().cloned().collect())
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("must be KEY=VALUE".to_owned()),
    }
}

fn size(text: &str) -> std::result::Result<u64, String> {
    let problem = || format!("{text:?} is no size: write 1048576, 512K, 64M or 2G");
    let upper = text.to_uppercase();
    let bare = upper.trim_end_matches("IB").trim_end_matches('B');
    let unit = UNITS.iter().find(|(suffix, _)| bare.ends_with(suffix));
    let (number, factor) = match unit {
        Some((suffix, factor)) => (bare.trim_end_matches(suffix), *factor),
        None => (bare, 1),
    };
    let number: u64 = number.trim().parse().map_err(|_| problem())?;
    number.checked_mul(factor).ok_or_else(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        assert_eq!(size("1048576"), Ok(1_048_576));
        assert_eq!(size("512K"), Ok(524_288));
        assert_eq!(size("2GiB"), Ok(2 << 30));
        assert_eq!(size("64 mb"), Ok(64 << 20));
        for wrong in ["", "M", "1.5G", "-1", "12X", "99999999999T"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        assert_eq!(whole_secs(Duration::from_millis(1)), 1);
        assert_eq!(whole_secs(Duration::from_millis(1500)), 2);
        assert_eq!(whole_secs(Duration::ZERO), 0);
    }
}
