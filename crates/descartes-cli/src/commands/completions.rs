//! `descartes completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::error::Result;
use crate::exit;
use crate::output;

/// Print a completion script for a shell
///
/// For bash: descartes completions bash > ~/.local/share/bash-completion/completions/descartes
#[derive(Debug, Args)]
pub(crate) struct Completions {
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Result<u8> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "descartes", &mut script);
        output::bytes(&script)?;
        Ok(exit::DONE)
    }
}
