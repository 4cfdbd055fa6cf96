//! `descartes send` and `descartes close-stdin`.

use clap::Args;
use descartes_client::StdinWriter;
use serde_json::json;

use crate::cli::Context;
use crate::error::Result;
use crate::exit;
use crate::input::Input;
use crate::output::{self, Format};
use crate::progress;
use crate::select::{self, Targets};

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
    let mut input = Input::start();
    let mut bytes = 0;
    while let Some(data) = input.next().await {
        let data = data?.data;
        stdin.write_all(&data).await?;
        bytes += data.len() as u64;
    }
    Ok(bytes)
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
