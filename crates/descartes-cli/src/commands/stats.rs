//! `descartes stats`.

use clap::Args;
use serde_json::{Map, Value};

use crate::cli::Context;
use crate::error::Result;
use crate::exit;
use crate::json;
use crate::output::{self, Format};
use crate::table::Table;

/// Show the server's counters
#[derive(Debug, Args)]
pub(crate) struct Stats {}

impl Stats {
    pub(crate) async fn run(self, context: &Context) -> Result<u8> {
        let stats = context.connect().await?.stats().await?;
        let values = stats
            .iter()
            .map(|(name, value)| (name.clone(), json::raw(value)));
        match context.format {
            Format::Json => output::json(&Value::Object(values.collect::<Map<_, _>>()))?,
            Format::Text => {
                let mut table = Table::new(["COUNTER", "VALUE"]);
                for (name, value) in values {
                    let value = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    table.row([name.into(), value.into()]);
                }
                table.print()?;
            }
        }
        Ok(exit::DONE)
    }
}
