//! `descartes send` and `descartes close-stdin`.

use std::io::{self, Read};

use clap::Args;
use descartes_client::StdinWriter;
use serde_json::json;

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::progress;
use crate::select::{self, Targets};

const PIECE_BYTES: usize = 64 * 1024;

/// Write to an agent's standard input
///
/// Text gets a newline at its end. Without text, this side's standard input is sent as it is. The command ends
/// when everything has been taken, each byte once.
#[derive(Debug, Args)]
pub(crate) struct Send {
    /// An agent: an id, the beginning of one, or a name
    agent: String,

    /// What to write; - or nothing: what comes from standard input
    text: Vec<String>,

    /// Put no newline after the text
    #[arg(short = 'n', long)]
    no_newline: bool,

    /// End the agent's standard input afterwards
    #[arg(long)]
    close: bool,
}

/// End agents' standard input
#[derive(Debug, Args)]
pub(crate) struct CloseStdin {
    #[command(flatten)]
    targets: Targets,
}

impl Send {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let client = context.connect().await?;
        let agent = select::one(&client, &self.agent).await?;
        let mut stdin = client.stdin(agent.id);
        let sending = self.send(&mut stdin);
        let bytes = progress::during("waiting for the agent to read", sending).await?;
        if self.close {
            stdin.close().await?;
        }
        if context.format == Format::Json {
            output::json(&json!({
                "id": agent.id.to_string(),
                "name": agent.name,
                "success": true,
                "bytes_written": bytes,
            }))?;
        }
        Ok(exit::DONE)
    }

    async fn send(&self, stdin: &mut StdinWriter) -> Result<u64> {
        if self.text.is_empty() || self.text == ["-"] {
            return send_input(stdin).await;
        }
        let mut text = self.text.join(" ");
        if !self.no_newline {
            text.push('\n');
        }
        stdin.write_all(text.as_bytes()).await?;
        Ok(text.len() as u64)
    }
}

/// Sends all of this side's standard input, and says how much that was.
pub(crate) async fn send_input(stdin: &mut StdinWriter) -> Result<u64> {
    let mut buffer = vec![0; PIECE_BYTES];
    let mut bytes = 0;
    loop {
        match io::stdin().lock().read(&mut buffer) {
            Ok(0) => return Ok(bytes),
            Ok(count) => {
                stdin.write_all(&buffer[..count]).await?;
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                let message = format!("failed to read standard input: {error}");
                return Err(CliError::new(exit::REFUSED, message));
            }
        }
    }
}

impl CloseStdin {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let close = |client: descartes_client::ZmqClient,
                     info: descartes_client::protocol::AgentInfo| async move {
            client.close_stdin(info.id).await?;
            Ok(("has no more input".to_owned(), json!({})))
        };
        super::control::each(
            context,
            &self.targets,
            ("close the stdin of", "closing the stdin of"),
            close,
        )
        .await
    }
}
