//! Turns what a client asks for into what a shim is told to run.

use std::path::{Path, PathBuf};

use descartes_protocol::limits::{MAX_NAME_BYTES, MAX_TASK_IN_REPLY_BYTES, MAX_TEXT_BYTES};
use descartes_protocol::{AgentConfig, AgentId, Limits, Raw, StdinMode, StringMap};
use descartes_shim::cgroup::Base;
use descartes_shim::record::{self, PauseSignals, Spec, Stdin};

use crate::backend::{ClientStdin, Launch, LaunchRequest, StdinPlan};
use crate::config::{LocalRunnerConfig, OUTPUT_BYTES_MIN};
use crate::error::SpawnError;
use crate::spawns::now_secs;
use crate::store::{Notes, SpawnKey};

mod resources;

pub(crate) use resources::controllers;

/// Labels and metadata of one agent together, in bytes.
const TAGS_BYTES_MAX: usize = 64 * 1024;

/// The `agents` of one request, in bytes.
const AGENTS_BYTES_MAX: usize = 128 * 1024;

/// What one agent's preparation needs beside the request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a LocalRunnerConfig,
    pub(crate) cgroups: Option<&'a Base>,
    pub(crate) descriptors_soft: Option<u64>,
}

/// Checks the request and says what to run. Looks into the file system; blocks.
pub(crate) fn prepare(
    surroundings: Surroundings<'_>,
    id: AgentId,
    asked: &AgentConfig,
    metadata: Option<StringMap>,
    spawn: SpawnKey,
) -> Result<(Spec, Notes), SpawnError> {
    check_texts(asked)?;
    check_tags(asked, metadata.as_ref())?;
    let config = surroundings.config;
    let backend = config.backends.get(&asked.model_backend)?;
    let working_dir = working_dir(config.process.working_dir.as_deref(), asked)?;
    let agents_json = asked.agents.as_ref().map(to_json).transpose()?;
    let agent_id = id.to_string();
    let request = LaunchRequest {
        agent_id: &agent_id,
        task: &asked.task,
        context: asked.context.as_deref(),
        system_prompt: asked.system_prompt.as_deref(),
        model: asked.model.as_deref(),
        tool_level: asked.tool_level.as_deref(),
        resume_session: asked.resume_session.as_deref(),
        agents_json: agents_json.as_deref(),
        args: asked.args.as_deref().unwrap_or_default(),
        environment: &asked.environment,
        stdin: asked.stdin.map(|stdin| match stdin {
            StdinMode::Null => ClientStdin::Null,
            StdinMode::Pipe => ClientStdin::Pipe,
        }),
        working_dir: &working_dir,
    };
    let launch = backend.launch(&request, &config.host_env)?;
    let notes = notes(surroundings, asked, metadata, &launch, spawn);
    let spec = spec(surroundings, agent_id, asked, launch, working_dir, &notes)?;
    Ok((spec, notes))
}

fn notes(
    surroundings: Surroundings<'_>,
    asked: &AgentConfig,
    metadata: Option<StringMap>,
    launch: &Launch,
    spawn: SpawnKey,
) -> Notes {
    let reads_along = surroundings.config.process.enable_json_streaming;
    Notes {
        name: asked.name.clone(),
        backend: asked.model_backend.clone(),
        task: cut(&asked.task, MAX_TASK_IN_REPLY_BYTES).to_owned(),
        model: asked.model.clone().filter(|model| !model.is_empty()),
        labels: asked.labels.clone(),
        metadata,
        parser: if reads_along {
            launch.parser
        } else {
            crate::parser::ParserKind::Text
        },
        spawn,
        spawned_at: now_secs(),
    }
}

fn spec(
    surroundings: Surroundings<'_>,
    agent_id: String,
    asked: &AgentConfig,
    launch: Launch,
    working_dir: PathBuf,
    notes: &Notes,
) -> Result<Spec, SpawnError> {
    let limits = asked.limits.unwrap_or_default();
    let owner = serde_json::to_value(notes).map_err(|error| SpawnError::Start {
        action: "note down the request".to_owned(),
        source: error.into(),
    })?;
    Ok(Spec {
        version: record::VERSION,
        cgroup: surroundings.cgroups.map(|base| base.leaf(&agent_id)),
        cgroup_limits: resources::limits(surroundings.cgroups, &limits)?,
        agent_id,
        program: launch.program,
        args: launch.args,
        env: launch.env,
        working_dir,
        stdin: stdin(launch.stdin, &launch.first_stdin),
        stop_signal: launch.stop_signal,
        pause_signals: launch
            .pause
            .map(|(pause, resume)| PauseSignals { pause, resume }),
        descriptors_soft: surroundings.descriptors_soft,
        limits: times_and_bytes(surroundings.config, &limits)?,
        owner,
    })
}

fn stdin(plan: StdinPlan, first: &[u8]) -> Stdin {
    let first = String::from_utf8_lossy(first).into_owned();
    match plan {
        StdinPlan::Null => Stdin::Null,
        StdinPlan::Pipe => Stdin::Pipe {
            first,
            close: false,
        },
        StdinPlan::PipeThenClose => Stdin::Pipe { first, close: true },
    }
}

fn times_and_bytes(
    config: &LocalRunnerConfig,
    asked: &Limits,
) -> Result<record::Limits, SpawnError> {
    let process = &config.process;
    let millis = |secs: u64| secs.saturating_mul(1000);
    for (field, value) in [
        ("limits.max_runtime_secs", asked.max_runtime_secs),
        ("limits.idle_timeout_secs", asked.idle_timeout_secs),
    ] {
        if value == Some(0) {
            return Err(invalid(
                field,
                "must be at least 1; leave it out for no limit",
            ));
        }
    }
    let output_bytes = asked.output_bytes.unwrap_or(process.output_bytes);
    if output_bytes > process.output_bytes {
        let most = process.output_bytes;
        let reason = format!("must be at most {most}, this server's `runner.output_bytes`");
        return Err(SpawnError::InvalidConfig {
            field: "limits.output_bytes",
            reason,
        });
    }
    if output_bytes < OUTPUT_BYTES_MIN {
        let reason = format!("must be at least {OUTPUT_BYTES_MIN}");
        return Err(SpawnError::InvalidConfig {
            field: "limits.output_bytes",
            reason,
        });
    }
    Ok(record::Limits {
        max_runtime_ms: asked.max_runtime_secs.map(millis),
        idle_timeout_ms: asked.idle_timeout_secs.map(millis),
        orphan_timeout_ms: Some(process.orphan_timeout_secs)
            .filter(|&secs| secs > 0)
            .map(millis),
        stop_grace_ms: millis(process.stop_grace_secs),
        output_bytes_max: output_bytes,
        stdin_bytes_max: process.stdin_bytes,
    })
}

fn check_texts(asked: &AgentConfig) -> Result<(), SpawnError> {
    if asked.name.trim().is_empty() {
        return Err(invalid("name", "must not be empty"));
    }
    if asked.name.len() > MAX_NAME_BYTES {
        return Err(too_long("name", asked.name.len(), MAX_NAME_BYTES));
    }
    if asked.name.chars().any(char::is_control) {
        return Err(invalid("name", "must not hold control characters"));
    }
    for (field, text) in [
        ("task", Some(asked.task.as_str())),
        ("context", asked.context.as_deref()),
        ("system_prompt", asked.system_prompt.as_deref()),
    ] {
        let length = text.map_or(0, str::len);
        if length > MAX_TEXT_BYTES {
            return Err(too_long(field, length, MAX_TEXT_BYTES));
        }
    }
    Ok(())
}

fn check_tags(asked: &AgentConfig, metadata: Option<&StringMap>) -> Result<(), SpawnError> {
    let tags = asked.labels.iter().chain(metadata);
    let bytes: usize = tags
        .flatten()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if bytes > TAGS_BYTES_MAX {
        return Err(too_long("labels and metadata", bytes, TAGS_BYTES_MAX));
    }
    Ok(())
}

fn working_dir(base: Option<&Path>, asked: &AgentConfig) -> Result<PathBuf, SpawnError> {
    let refuse = |path: &Path, reason: &dyn std::fmt::Display| SpawnError::InvalidConfig {
        field: "working_dir",
        reason: format!("{}: {reason}", path.display()),
    };
    let base = match base {
        Some(base) => base.to_owned(),
        None => std::env::current_dir().map_err(|error| refuse(Path::new("."), &error))?,
    };
    let path = match asked.working_dir.as_deref() {
        Some(path) if !path.is_empty() => base.join(path),
        _ => base,
    };
    // Resolved now, so that the agent does not end up elsewhere if a link changes.
    let path = path.canonicalize().map_err(|error| refuse(&path, &error))?;
    if !path.is_dir() {
        return Err(refuse(&path, &"is not a directory"));
    }
    Ok(path)
}

fn to_json(agents: &Raw) -> Result<String, SpawnError> {
    let bytes = agents.as_bytes();
    if bytes.len() > AGENTS_BYTES_MAX {
        return Err(too_long("agents", bytes.len(), AGENTS_BYTES_MAX));
    }
    rmp_serde::from_slice::<serde_json::Value>(bytes)
        .map(|json| json.to_string())
        .map_err(|error| SpawnError::InvalidConfig {
            field: "agents",
            reason: format!("cannot be written as JSON: {error}"),
        })
}

fn invalid(field: &'static str, reason: &str) -> SpawnError {
    SpawnError::InvalidConfig {
        field,
        reason: reason.to_owned(),
    }
}

fn too_long(field: &'static str, bytes: usize, bytes_max: usize) -> SpawnError {
    SpawnError::InvalidConfig {
        field,
        reason: format!("is {bytes} bytes long; at most {bytes_max} are taken"),
    }
}

/// The longest beginning of `text` of at most `bytes_max` bytes.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}
