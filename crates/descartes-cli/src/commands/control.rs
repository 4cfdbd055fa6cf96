//! `descartes pause`, `resume`, `stop`, `kill` and `signal`: what is done to one agent or to many.

use std::future::Future;
use std::time::Duration;

use clap::Args;
use descartes_client::protocol::{
    AgentInfo, EndReason, ErrorCode, PauseRequest, SignalNumber, SignalScope, UnknownName,
};
use descartes_client::{ClientError, Ended, ZmqClient};
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;

use crate::cli::{Context, one_of};
use crate::describe::signal_words;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::progress;
use crate::select::{Doing, Targets, count};
use crate::table::plain;
use crate::time;

/// Pause agents: all their processes stand still
#[derive(Debug, Args)]
pub(crate) struct Pause {
    #[command(flatten)]
    targets: Targets,

    /// How: as the backend does best, by freezing the processes, or by asking the agent
    #[arg(long, default_value_t = PauseRequest::Auto, value_parser = one_of(PauseRequest::ALL, PauseRequest::as_str))]
    mode: PauseRequest,
}

/// Let paused agents go on
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    targets: Targets,
}

/// End agents, gently first
///
/// Each gets the backend's stop signal, and is killed when its time to end is over. The command ends
/// when no process of them is left.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    targets: Targets,

    /// How long an agent may take to end by itself; default: the server's choice
    #[arg(short, long, value_name = "DURATION", value_parser = time::parse_duration)]
    grace: Option<Duration>,

    /// Do not wait for the end
    #[arg(long)]
    no_wait: bool,
}

/// End agents at once
#[derive(Debug, Args)]
pub(crate) struct Kill {
    #[command(flatten)]
    targets: Targets,
}

/// Send agents a signal
#[derive(Debug, Args)]
pub(crate) struct Signal {
    /// A name, with or without SIG, or a number
    #[arg(value_name = "SIGNAL", allow_hyphen_values = true, value_parser = signal_number)]
    number: SignalNumber,

    #[command(flatten)]
    targets: Targets,

    /// Only to the process that was started first, not to all of the agent's
    #[arg(long)]
    leader: bool,
}

/// Of an agent that is not waited for.
const NOT_YET: Ended = Ended {
    exit_code: None,
    exit_signal: None,
    end_reason: None,
    forced: None,
};

/// Reads a signal; a hyphen before it, as kill(1) has it, says nothing.
fn signal_number(text: &str) -> std::result::Result<SignalNumber, UnknownName> {
    text.strip_prefix('-').unwrap_or(text).parse()
}

/// What became of one agent: words for people, and what `--json` adds.
pub(crate) type Outcome = std::result::Result<(String, Value), ClientError>;

impl Pause {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let mode = self.mode;
        let pause = move |client: ZmqClient, info: AgentInfo| async move {
            let mode = client.pause(info.id, mode).await?;
            Ok(("paused".to_owned(), json!({"pause_mode": mode.as_str()})))
        };
        each(context, &self.targets, ("pause", "pausing"), pause).await
    }
}

impl Resume {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let resume = |client: ZmqClient, info: AgentInfo| async move {
            client.resume(info.id).await?;
            Ok(("resumed".to_owned(), json!({})))
        };
        each(context, &self.targets, ("resume", "resuming"), resume).await
    }
}

impl Stop {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let (grace, no_wait) = (self.grace, self.no_wait);
        let stop = move |client: ZmqClient, info: AgentInfo| async move {
            if no_wait {
                return match client.begin_stop(info.id, grace).await {
                    Ok(()) => Ok(("is being stopped".to_owned(), end_json(&NOT_YET))),
                    Err(error) => ended_before(&client, &info, error).await,
                };
            }
            end(&client, &info, "stopped", client.stop(info.id, grace).await).await
        };
        each(context, &self.targets, ("stop", "stopping"), stop).await
    }
}

impl Kill {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let kill = |client: ZmqClient, info: AgentInfo| async move {
            end(&client, &info, "killed", client.kill(info.id).await).await
        };
        each(context, &self.targets, ("kill", "killing"), kill).await
    }
}

impl Signal {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let signal = self.number;
        let scope = if self.leader {
            SignalScope::Leader
        } else {
            SignalScope::Tree
        };
        let send = move |client: ZmqClient, info: AgentInfo| async move {
            client.signal(info.id, signal, scope).await?;
            let name = signal
                .name()
                .map_or_else(|| signal.number().to_string(), str::to_owned);
            Ok((format!("got {name}"), json!({"signal": name})))
        };
        each(context, &self.targets, ("signal", "signalling"), send).await
    }
}

/// Does something to each agent that is meant, all at once, and prints what became of each.
pub(crate) async fn each<F>(
    context: &Context,
    targets: &Targets,
    (verb, doing): (&'static str, &str),
    deed: impl Fn(ZmqClient, AgentInfo) -> F,
) -> Result<u8>
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let client = context.connect().await?;
    let agents = targets.find(&client, Doing::Acting(verb)).await?;
    let mut tasks = JoinSet::new();
    for (index, info) in agents.iter().enumerate() {
        let deed = deed(client.clone(), info.clone());
        tasks.spawn(async move { (index, deed.await) });
    }
    let doing = format!("{doing} {}", count(agents.len()));
    let mut outcomes = progress::during(&doing, tasks.join_all()).await;
    outcomes.sort_by_key(|(index, _)| *index);
    let mut failure = None;
    for (info, (_, outcome)) in agents.iter().zip(outcomes) {
        match (outcome, context.format) {
            (Ok((words, _)), Format::Text) => {
                output::line(format_args!("{} {words}", plain(&info.name)))?;
            }
            (Ok((_, more)), Format::Json) => output::json(&result(info, more))?,
            (Err(error), format) => {
                let error = about(info, error);
                match format {
                    Format::Text => output::complain(&error, format),
                    Format::Json => output::json(&failed(info, &error))?,
                }
                failure = failure.max(Some(error.exit));
            }
        }
    }
    Ok(failure.unwrap_or(exit::DONE))
}

/// An error with the agent that it is about.
fn about(info: &AgentInfo, error: ClientError) -> CliError {
    let error = CliError::from(error);
    CliError {
        message: format!("{}: {}", info.name, error.message),
        ..error
    }
}

fn result(info: &AgentInfo, more: Value) -> Value {
    let mut object = Map::from_iter([
        ("id".to_owned(), info.id.to_string().into()),
        ("name".to_owned(), info.name.clone().into()),
        ("success".to_owned(), true.into()),
        ("error".to_owned(), Value::Null),
        ("error_code".to_owned(), Value::Null),
        ("hint".to_owned(), Value::Null),
    ]);
    if let Value::Object(more) = more {
        object.extend(more);
    }
    Value::Object(object)
}

fn failed(info: &AgentInfo, error: &CliError) -> Value {
    json!({
        "id": info.id.to_string(),
        "name": info.name,
        "success": false,
        "error": error.message,
        "error_code": error.code.map(ErrorCode::as_str),
        "hint": error.hint,
    })
}

/// What became of an agent that was to end.
async fn end(
    client: &ZmqClient,
    info: &AgentInfo,
    verb: &str,
    outcome: std::result::Result<Ended, ClientError>,
) -> Outcome {
    match outcome {
        Ok(ended) => {
            let forced = ended.forced == Some(true) && verb == "stopped";
            let note = if forced {
                ", killed after its grace time"
            } else {
                ""
            };
            let how = how(ended.exit_code, ended.exit_signal);
            Ok((format!("{verb}{how}{note}"), end_json(&ended)))
        }
        Err(error) => ended_before(client, info, error).await,
    }
}

/// An agent that had ended before is as it was to be.
async fn ended_before(client: &ZmqClient, info: &AgentInfo, error: ClientError) -> Outcome {
    if !error.is(ErrorCode::InvalidState) {
        return Err(error);
    }
    let info = client.agent(info.id).await?;
    if !info.status.is_final() {
        return Err(error);
    }
    let ended = Ended::from(&info);
    let how = how(info.exit_code, info.exit_signal);
    Ok((format!("had ended already{how}"), end_json(&ended)))
}

fn how(exit_code: Option<i32>, exit_signal: Option<i32>) -> String {
    match (exit_code, exit_signal) {
        (Some(code), _) => format!(": exit code {code}"),
        (None, Some(number)) => format!(": {}", signal_words(number)),
        (None, None) => String::new(),
    }
}

fn end_json(ended: &Ended) -> Value {
    json!({
        "exit_code": ended.exit_code,
        "exit_signal": ended.exit_signal,
        "end_reason": ended.end_reason.map(EndReason::as_str),
        "forced": ended.forced,
    })
}
