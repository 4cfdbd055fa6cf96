//! `descartes keygen`.

use clap::Args;
use descartes_client::transport::{Keypair, PublicKey};
use serde_json::json;

use crate::cli::Context;
use crate::error::{CliError, Result};
use crate::exit;
use crate::output::{self, Format};
use crate::own_key;
use crate::server::config::ConfigFile;
use crate::shell;

/// Make your own key pair, and print its public key
///
/// The secret key stays in client.key in the config folder. Where there is a pair already, its public key is printed.
/// Have servers list it with `descartes keys add` on their hosts.
#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// Only print the public key of the pair that is there
    #[arg(long)]
    show: bool,

    /// Make a new pair in the place of the one that is there
    #[arg(long, conflicts_with = "show")]
    force: bool,
}

impl Keygen {
    pub(crate) fn run(self, context: &Context) -> Result<u8> {
        let before = if self.force { None } else { own_key::load()? };
        let (pair, is_new) = match before {
            Some(pair) => (pair, false),
            None if self.show => {
                return Err(CliError::usage("there is no key pair yet")
                    .hint("`descartes keygen` makes one"));
            }
            None => self.make()?,
        };
        let path = own_key::path()?.display().to_string();
        let public_key = pair.public.to_z85();
        if context.format == Format::Json {
            output::json(&json!({
                "public_key": public_key,
                "path": path,
                "created": is_new,
            }))?;
            return Ok(exit::DONE);
        }
        output::line(&public_key)?;
        if is_new {
            output::note(format_args!(
                "made {path}; have a server list the public key, on its host:"
            ));
            let key = shell::word(&public_key);
            output::note(format_args!("  descartes keys add NAME {key}"));
        }
        if self.force {
            note_other_keys(&pair.public);
        }
        Ok(exit::DONE)
    }

    fn make(&self) -> Result<(Keypair, bool)> {
        if self.force {
            return Ok((own_key::renew()?, true));
        }
        let is_new = own_key::make()?;
        match own_key::load()? {
            Some(pair) => Ok((pair, is_new)),
            None => Err(CliError::new(exit::REFUSED, "the new key pair is gone")),
        }
    }
}

/// Servers by name have a copy of the keys that they were added with.
fn note_other_keys(key: &PublicKey) {
    let servers = ConfigFile::load().and_then(|file| file.servers());
    let key = key.to_z85();
    let others: Vec<String> = servers
        .unwrap_or_default()
        .into_iter()
        .filter(|(_, server)| {
            server
                .public_key
                .as_ref()
                .is_some_and(|known| *known != key)
        })
        .map(|(name, _)| name)
        .collect();
    if !others.is_empty() {
        output::note(format_args!(
            "these keep the keys that they were added with: {}",
            others.join(", ")
        ));
    }
}
