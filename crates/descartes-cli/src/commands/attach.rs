//! `descartes attach`.

use clap::Args;
use descartes_client::ReadFrom;
use descartes_client::protocol::Stream;

use crate::cli::Context;
use crate::describe::size;
use crate::error::Result;
use crate::output::{self, Format};
use crate::select;
use crate::session::printer::{Errors, Layout, Printer, Render};
use crate::session::{Session, Stdin};

/// Connect standard input and output to an agent
///
/// What is typed goes to the agent line by line, and what it writes appears as it comes. Ctrl-] detaches, Ctrl-D
/// ends the agent's standard input, Ctrl-C asks what to do. The command ends with the agent, with its exit code.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// An agent: an id, the beginning of one, or a name
    agent: String,

    /// Begin with all that it has written so far
    #[arg(long)]
    from_start: bool,

    /// Do not send it anything
    #[arg(long)]
    no_stdin: bool,

    /// Turn the events of known agents into text
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Render::Auto)]
    render: Render,
}

impl Attach {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = context.connect_to_follow().await?;
        let agent = select::one(&client, &self.agent).await?;
        let reader = |stream| {
            let from = if self.from_start {
                0
            } else {
                size(&agent, stream)
            };
            let reader = client.output(agent.id, stream, ReadFrom::Offset(from));
            (stream, reader.with_times())
        };
        let readers = vec![reader(Stream::Stdout), reader(Stream::Stderr)];
        let layout = match context.format {
            Format::Text => self.render.layout(),
            Format::Json => Layout::Json,
        };
        let stdin = if self.no_stdin || agent.status.is_final() {
            Stdin::Unused
        } else {
            Stdin::Forwarded
        };
        let printer = Printer::new(agent.id, layout, Errors::Apart);
        let session = Session::begin(&client, agent.clone(), readers, printer, stdin)?;
        if output::is_interactive() && stdin == Stdin::Forwarded {
            output::note(format_args!("attached to {}; Ctrl-] detaches", agent.name));
        }
        Ok(session.run().await?.exit_code(&agent))
    }
}
