//! The command line.

use clap::builder::styling::{AnsiColor, Styles};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::commands::attach::Attach;
use crate::commands::completions::Completions;
use crate::commands::control::{Kill, Pause, Resume, Signal, Stop};
use crate::commands::events::Events;
use crate::commands::health::Health;
use crate::commands::keygen::Keygen;
use crate::commands::keys::Keys;
use crate::commands::logs::Logs;
use crate::commands::ls::Ls;
use crate::commands::send::{CloseStdin, Send};
use crate::commands::servers::Servers;
use crate::commands::show::Show;
use crate::commands::spawn::Spawn;
use crate::commands::stats::Stats;
use crate::commands::top::Top;
use crate::commands::wait::Wait;
use crate::error::Result;
use crate::exit;
use crate::output::Format;
use crate::server::{Persistence, Server};
use descartes_client::ZmqClient;
use descartes_client::protocol::UnknownName;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

// Not a doc comment: those would be Markdown, with marks that a terminal shows.
const SERVER_HELP: &str = "A server's name in the config file, an endpoint (tcp://HOST:PORT, ipc:///PATH), or a \
                           client bundle's path; default: the config file's default, or the server on this host";

/// Start, watch and control CLI agents.
#[derive(Debug, Parser)]
#[command(name = "descartes", version, styles = STYLES, max_term_width = 100, after_help = exit::HELP)]
#[command(arg_required_else_help = true)]
pub(crate) struct Cli {
    #[arg(
        short,
        long,
        global = true,
        value_name = "SERVER",
        env = "DESCARTES_SERVER"
    )]
    #[arg(hide_env_values = true, help_heading = "Global options", help = SERVER_HELP)]
    server: Option<String>,

    /// Print one JSON object a line
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,

    /// Say what happens on the way; twice: everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Spawn(Box<Spawn>),
    Ls(Ls),
    Top(Top),
    Show(Show),
    Logs(Logs),
    Wait(Wait),
    Attach(Attach),
    Send(Send),
    CloseStdin(CloseStdin),
    Pause(Pause),
    Resume(Resume),
    Stop(Stop),
    Kill(Kill),
    Signal(Signal),
    Events(Events),
    Health(Health),
    Stats(Stats),
    Servers(Servers),
    Keys(Keys),
    Keygen(Keygen),
    Completions(Completions),
}

/// What all commands share.
#[derive(Debug)]
pub(crate) struct Context {
    server: Option<String>,
    pub(crate) format: Format,
}

/// Reads one of a fixed set of names, and tells which there are.
pub(crate) fn one_of<T>(
    all: &'static [T],
    name: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T>
where
    T: Copy + std::str::FromStr<Err = UnknownName> + std::marker::Send + Sync,
{
    let names = all.iter().map(|value| name(*value));
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}

impl Cli {
    pub(crate) fn context(&self) -> Context {
        Context {
            server: self.server.clone().filter(|server| !server.is_empty()),
            format: if self.json {
                Format::Json
            } else {
                Format::Text
            },
        }
    }

    /// What the client library says of itself goes to stderr, if it is wanted.
    pub(crate) fn begin_log(&self) {
        let level = match self.verbose {
            0 => return,
            1 => "descartes_client=debug",
            _ => "trace",
        };
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(level))
            .with_writer(std::io::stderr)
            .log_internal_errors(false)
            .init();
    }
}

impl Command {
    /// Runs it, and returns the exit code.
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        match self {
            Self::Spawn(command) => command.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Top(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Wait(command) => command.run(context).await,
            Self::Attach(command) => command.run(context).await,
            Self::Send(command) => command.run(context).await,
            Self::CloseStdin(command) => command.run(context).await,
            Self::Pause(command) => command.run(context).await,
            Self::Resume(command) => command.run(context).await,
            Self::Stop(command) => command.run(context).await,
            Self::Kill(command) => command.run(context).await,
            Self::Signal(command) => command.run(context).await,
            Self::Events(command) => command.run(context).await,
            Self::Health(command) => command.run(context).await,
            Self::Stats(command) => command.run(context).await,
            Self::Servers(command) => command.run(context).await,
            Self::Keys(command) => command.run(context),
            Self::Keygen(command) => command.run(context),
            Self::Completions(command) => command.run(),
        }
    }

    /// Whether the exit code is an agent's.
    pub(crate) fn ends_with_agent(&self) -> bool {
        match self {
            Self::Spawn(spawn) => spawn.ends_with_agent(),
            Self::Wait(_) | Self::Attach(_) => true,
            _ => false,
        }
    }
}

impl Context {
    /// The server that is meant.
    pub(crate) fn server(&self) -> Result<Server> {
        Server::find(self.server.as_deref())
    }

    /// A connection to the server that is meant, for questions that are answered soon.
    pub(crate) async fn connect(&self) -> Result<ZmqClient> {
        self.server()?.connect(Persistence::Brief).await
    }

    /// A connection to the server that is meant, to follow what goes on there whatever becomes of the connection.
    pub(crate) async fn connect_to_follow(&self) -> Result<ZmqClient> {
        self.server()?.connect(Persistence::Endless).await
    }
}
