//! Telling clients on this host where the server is.

use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_client::{AddressError, ServerAddress};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Serving;
use crate::config::ZmqServerConfig;

/// Time between two attempts to write the address, as while the disk is full.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The address in the state folder, or the attempts to write it.
#[derive(Debug)]
pub(super) struct Told {
    state_dir: PathBuf,
    attempts: Option<JoinHandle<()>>,
}

/// The address of this process's server.
pub(super) fn own(
    config: &ZmqServerConfig,
    serving: &Serving,
    client_bundle: Option<PathBuf>,
) -> ServerAddress {
    let pub_endpoint = serving.pub_endpoint.as_ref();
    ServerAddress {
        server_id: config.server_id.clone(),
        pid: std::process::id(),
        endpoint: serving.endpoint.on_own_host().to_string(),
        pub_endpoint: pub_endpoint.map_or_else(String::new, |it| it.on_own_host().to_string()),
        client_bundle: client_bundle.and_then(|path| std::path::absolute(path).ok()),
    }
}

/// Lets clients on this host find the server. Those that know the endpoint need no such help. What
/// cannot be written now is written later, unless the server is `closing` by then.
pub(super) async fn tell(
    address: ServerAddress,
    state_dir: PathBuf,
    closing: CancellationToken,
) -> Told {
    let mut attempts = None;
    if let Err(error) = write(&address, &state_dir).await {
        tracing::warn!(%error, "clients on this host do not find this server by themselves");
        attempts = Some(tokio::spawn(write_later(
            address,
            state_dir.clone(),
            closing,
        )));
    }
    Told {
        state_dir,
        attempts,
    }
}

impl Told {
    /// The server serves no more.
    pub(super) async fn take_back(self) {
        if let Some(attempts) = self.attempts {
            // It ends as the server closes.
            let _ = attempts.await;
        }
        remove(self.state_dir).await;
    }
}

/// Only the pause is cut short: a write that nobody waits for could come after the removal.
async fn write_later(address: ServerAddress, state_dir: PathBuf, closing: CancellationToken) {
    // An earlier server's, which clients would ask in vain.
    remove(state_dir.clone()).await;
    let pause = || closing.run_until_cancelled(tokio::time::sleep(RETRY_INTERVAL));
    while pause().await.is_some() {
        match write(&address, &state_dir).await {
            Ok(()) => {
                tracing::info!("clients on this host find this server now");
                return;
            }
            Err(AddressError::Storage { .. }) => {}
            // Nor will it ever be.
            Err(AddressError::Invalid { .. }) => return,
        }
    }
}

async fn write(address: &ServerAddress, state_dir: &Path) -> Result<(), AddressError> {
    let (address, state_dir) = (address.clone(), state_dir.to_owned());
    blocking(move || address.write(&state_dir)).await
}

async fn remove(state_dir: PathBuf) {
    if let Err(error) = blocking(move || ServerAddress::remove(&state_dir)).await {
        tracing::warn!(%error, "clients on this host may look for this server in vain");
    }
}

/// In a runtime that is shutting down nobody waits for the outcome.
async fn blocking(
    act: impl FnOnce() -> Result<(), AddressError> + Send + 'static,
) -> Result<(), AddressError> {
    tokio::task::spawn_blocking(act).await.unwrap_or(Ok(()))
}
