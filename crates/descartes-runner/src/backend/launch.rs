//! What one spawn makes of a backend.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{LaunchError, Refusal, shown};
use super::template::{Placeholder, Values};
use super::{Backend, HostEnv, ToolLevel, environment, program};
use crate::parser::ParserKind;

/// The longest argument, and the longest variable with its name, in bytes. The kernel's
/// `MAX_ARG_STRLEN` (execve(2)) counts the NUL at the end: 131,072.
pub const ARGUMENT_BYTES_MAX: usize = 128 * 1024 - 1;

/// The most that arguments and environment may have together, in bytes. The kernel allows a quarter
/// of the stack limit, 2 MiB at the usual 8 MiB (execve(2)); what is left is for its own data.
pub const ENVIRONMENT_BYTES_MAX: usize = 1536 * 1024;

/// One spawn, as far as a backend is concerned. An empty text is the same as none.
#[derive(Clone, Copy)]
pub struct LaunchRequest<'a> {
    /// The agent's id, for `DESCARTES_AGENT_ID`.
    pub agent_id: &'a str,
    /// What the agent is to do.
    pub task: &'a str,
    /// What it should know first.
    pub context: Option<&'a str>,
    /// What to add to its system prompt.
    pub system_prompt: Option<&'a str>,
    /// Which model it should use, in the words of its program.
    pub model: Option<&'a str>,
    /// `read_only`, `edit` or `full`.
    pub tool_level: Option<&'a str>,
    /// The session to go on with, in the words of its program.
    pub resume_session: Option<&'a str>,
    /// Agents that it may call, as one JSON object.
    pub agents_json: Option<&'a str>,
    /// More arguments.
    pub args: &'a [String],
    /// Variables that the client sets.
    pub environment: &'a BTreeMap<String, String>,
    /// What the client wants of standard input; the backend's choice where it says nothing.
    pub stdin: Option<ClientStdin>,
    /// Where the agent works: an absolute path. Whether it exists is not looked at here.
    pub working_dir: &'a Path,
}

/// A client's wish for standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStdin {
    /// Nothing to read.
    Null,
    /// Open, to be written later.
    Pipe,
}

/// All that is needed to start one agent.
#[derive(Clone, PartialEq, Eq)]
pub struct Launch {
    /// The program, an absolute path.
    pub program: PathBuf,
    /// Its arguments, without the program's name.
    pub args: Vec<String>,
    /// Its whole environment.
    pub env: BTreeMap<String, String>,
    /// What its standard input is.
    pub stdin: StdinPlan,
    /// What is written to its standard input before anything else.
    pub first_stdin: Vec<u8>,
    /// The signal that asks it to end.
    pub stop_signal: i32,
    /// The signals by which it pauses and goes on of its own accord, where it can.
    pub pause: Option<(i32, i32)>,
    /// What reads its standard output.
    pub parser: ParserKind,
}

impl fmt::Debug for LaunchRequest<'_> {
    /// Without the values of variables.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LaunchRequest")
            .field("agent_id", &self.agent_id)
            .field("environment", &self.environment.keys())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Launch {
    /// Without the values of variables.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Launch")
            .field("program", &self.program)
            .field("args", &self.args)
            .field("env", &self.env.keys())
            .finish_non_exhaustive()
    }
}

/// What an agent's standard input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StdinPlan {
    /// `/dev/null`.
    Null,
    /// A pipe that stays open until a client closes it.
    Pipe,
    /// A pipe that is closed when [`Launch::first_stdin`] is written.
    PipeThenClose,
}

impl Backend {
    /// Everything that starting an agent with this backend takes. Looks for the program in the file
    /// system, and does nothing else.
    ///
    /// # Errors
    ///
    /// [`LaunchError::InvalidConfig`] where the request does not fit the backend,
    /// [`LaunchError::BackendUnavailable`] where the program cannot be run.
    pub fn launch(
        &self,
        request: &LaunchRequest<'_>,
        host: &HostEnv,
    ) -> Result<Launch, LaunchError> {
        let request = request.without_empty_texts();
        let no_level = ToolLevel::default();
        let level = self.tool_level(request.tool_level)?.unwrap_or(&no_level);
        let task = self.task_with_context(&request);
        let env = environment::build(self, level, request.environment, host, request.agent_id)?;
        let args = self.render_args(&request, &task, level)?;
        check_size(&args, &env)?;
        let (stdin, first_stdin) = self.stdin.plan(&self.name, request.stdin, &task)?;
        Ok(Launch {
            program: self.find_program(&env)?,
            args,
            env,
            stdin,
            first_stdin,
            stop_signal: self.stop_signal,
            pause: self.pause.map(|signals| (signals.pause, signals.resume)),
            parser: self.parser,
        })
    }

    fn tool_level(&self, level: Option<&str>) -> Result<Option<&ToolLevel>, Refusal> {
        let Some(level) = level else { return Ok(None) };
        if self.tool_levels.is_empty() {
            return Err(self.no_place("tool_level"));
        }
        match self.tool_levels.get(level) {
            Some(found) => Ok(Some(found)),
            None => Err(Refusal::ToolLevel {
                backend: self.name.clone(),
                level: shown(level),
                known: self.tool_levels.keys().cloned().collect(),
            }),
        }
    }

    fn task_with_context(&self, request: &LaunchRequest<'_>) -> String {
        match request.context {
            Some(context) if !self.args.mention(Placeholder::Context) => {
                format!("{context}\n\n{}", request.task)
            }
            _ => request.task.to_owned(),
        }
    }

    fn render_args(
        &self,
        request: &LaunchRequest<'_>,
        task: &str,
        level: &ToolLevel,
    ) -> Result<Vec<String>, Refusal> {
        if !request.args.is_empty() && !self.client_args_allowed {
            return Err(Refusal::ArgsNotAllowed {
                backend: self.name.clone(),
            });
        }
        let values = Values {
            task,
            context: request.context,
            system_prompt: request.system_prompt,
            model: request.model,
            session: request.resume_session,
            agents: request.agents_json,
            working_dir: request.working_dir.to_str(),
            tool_args: &level.args,
            client_args: request.args,
        };
        self.check_values(&values)?;
        self.args.render(&self.name, &values)
    }

    fn check_values(&self, values: &Values<'_>) -> Result<(), Refusal> {
        use Placeholder::{Agents, Model, Session, SystemPrompt, WorkingDir};
        for placeholder in [SystemPrompt, Model, Session, Agents] {
            if values.get(placeholder).is_some() && !self.args.mention(placeholder) {
                return Err(self.no_place(placeholder.field()));
            }
        }
        for placeholder in [Model, Session, Agents] {
            if values
                .get(placeholder)
                .is_some_and(|value| value.starts_with('-'))
            {
                let field = placeholder.field();
                return Err(Refusal::OptionLike { field });
            }
        }
        if values.working_dir.is_none() && self.args.mention(WorkingDir) {
            return Err(Refusal::WorkingDirNotText);
        }
        Ok(())
    }

    fn find_program(&self, env: &BTreeMap<String, String>) -> Result<PathBuf, LaunchError> {
        let path = env.get("PATH").map_or("", String::as_str);
        program::resolve(&self.command, path).map_err(|reason| LaunchError::BackendUnavailable {
            backend: self.name.clone(),
            command: self.command.clone(),
            reason,
        })
    }

    fn no_place(&self, field: &'static str) -> Refusal {
        Refusal::NoPlace {
            backend: self.name.clone(),
            field,
        }
    }
}

impl LaunchRequest<'_> {
    fn without_empty_texts(mut self) -> Self {
        for text in [
            &mut self.context,
            &mut self.system_prompt,
            &mut self.model,
            &mut self.tool_level,
            &mut self.resume_session,
            &mut self.agents_json,
        ] {
            *text = text.filter(|text| !text.is_empty());
        }
        self
    }
}

/// Refuses what `execve` would refuse with E2BIG, by name.
fn check_size(args: &[String], env: &BTreeMap<String, String>) -> Result<(), Refusal> {
    /// For each string the kernel also stores a NUL and a pointer.
    const OVERHEAD_BYTES: usize = 1 + size_of::<usize>();
    let mut total = 0;
    for arg in args {
        if arg.contains('\0') {
            return Err(Refusal::Nul);
        }
        if arg.len() > ARGUMENT_BYTES_MAX {
            return Err(Refusal::ArgumentTooLong {
                bytes: arg.len(),
                bytes_max: ARGUMENT_BYTES_MAX,
            });
        }
        total += arg.len() + OVERHEAD_BYTES;
    }
    for (name, value) in env {
        let bytes = name.len() + 1 + value.len();
        if bytes > ARGUMENT_BYTES_MAX {
            return Err(Refusal::VariableTooLong {
                name: shown(name),
                bytes,
                bytes_max: ARGUMENT_BYTES_MAX,
            });
        }
        total += bytes + OVERHEAD_BYTES;
    }
    if total > ENVIRONMENT_BYTES_MAX {
        return Err(Refusal::TooLarge {
            bytes: total,
            bytes_max: ENVIRONMENT_BYTES_MAX,
        });
    }
    Ok(())
}
