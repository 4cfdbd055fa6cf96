//! This user's own key pair: `client.key` beside the config file, one line of Z85, the secret half.

use std::path::PathBuf;

use descartes_client::transport::{Keypair, SecretKey};

use crate::error::{CliError, Result};
use crate::private;
use crate::server::config;

/// Where it is.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(config::folder()?.join("client.key"))
}

/// Reads it. `None` where there is none yet.
pub(crate) fn load() -> Result<Option<Keypair>> {
    let path = path()?;
    let Some(text) = private::read_secret(&path)? else {
        return Ok(None);
    };
    match SecretKey::from_z85(text.trim()) {
        Ok(secret) => Ok(Some(Keypair::from(secret))),
        Err(error) => Err(
            CliError::usage(format!("{} is not valid: {error}", path.display()))
                .hint("`descartes keygen --force` makes a new one"),
        ),
    }
}

/// Makes one where there is none. Returns whether it did: somebody else may have been faster.
pub(crate) fn make() -> Result<bool> {
    private::create(&path()?, &text(&Keypair::generate()))
}

/// Makes a new one, in the place of what is there.
pub(crate) fn renew() -> Result<Keypair> {
    let path = path()?;
    let pair = Keypair::generate();
    let before = private::read(&path)?;
    private::replace(&path, before.as_deref(), &text(&pair))?;
    Ok(pair)
}

fn text(pair: &Keypair) -> String {
    format!("{}\n", pair.secret_z85())
}
