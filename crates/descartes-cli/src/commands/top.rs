//! `descartes top`.

use clap::Args;

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::output::{self, Format};
use crate::server::Persistence;
use crate::top::{self, Beginning, Column, Ended};

/// Show all agents on the whole screen
///
/// Their status, how long they have run, what they write and how fast, kept up to date; with keys to see the output of
/// one, to pause, resume, stop and kill, to filter and to sort. `?` lists the keys.
#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Also show agents that have ended
    #[arg(short, long)]
    all: bool,

    /// Only agents with this in their id, name, status, backend, task or labels
    #[arg(
        short,
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    filter: String,

    /// What to sort by
    #[arg(long, value_enum, default_value = "started")]
    sort: Column,
}

impl Top {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        if !output::is_interactive()
            || !output::stdout_is_terminal()
            || context.format == Format::Json
        {
            return Err(CliError::usage("top needs a terminal").hint(
                "`descartes ls --json` and `descartes events --follow --json` are for programs",
            ));
        }
        let server = context.server()?;
        let client = server.connect(Persistence::Shown).await?;
        let beginning = Beginning {
            server: server.endpoint,
            column: self.sort,
            ended: if self.all {
                Ended::Shown
            } else {
                Ended::Hidden
            },
            filter: self.filter,
        };
        top::run(&client, beginning).await
    }
}
