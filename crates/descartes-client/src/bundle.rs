//! All that a client needs to reach a server with encryption, in one file.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use descartes_transport::{ClientSecurity, KeyError, Keypair, PublicKey, SecretKey};
use serde::{Deserialize, Serialize};

/// What a client needs to connect to a server that encrypts: `client.toml`, as the server makes it at its first start.
///
/// It holds a secret: whoever has it is this client. Its `Debug` form leaves that out.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientBundle {
    /// Where requests go.
    pub endpoint: String,
    /// Where events come from; empty where the server has no event socket.
    #[serde(default)]
    pub pub_endpoint: String,
    /// The server's public key, in Z85.
    pub server_key: String,
    /// The client's public key, in Z85.
    pub public_key: String,
    /// The client's secret key, in Z85.
    pub secret_key: String,
}

impl ClientBundle {
    /// Reads a bundle from its file.
    ///
    /// # Errors
    /// [`BundleError`]; among others where other users may read the file.
    pub fn load(path: &Path) -> Result<Self, BundleError> {
        let read = |source| BundleError::Read {
            path: path.to_owned(),
            source,
        };
        let text = fs::read_to_string(path).map_err(read)?;
        let bundle = toml::from_str(&text).map_err(|error| BundleError::Invalid {
            path: path.to_owned(),
            problem: error.message().to_owned(),
        })?;
        let mode = fs::metadata(path).map_err(read)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(BundleError::NotPrivate {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(bundle)
    }

    /// The keys as a socket takes them.
    ///
    /// # Errors
    /// Where one of them is no key, or the public key does not belong to the secret one.
    pub fn security(&self) -> Result<ClientSecurity, KeyFault> {
        let fault = |field| move |source| KeyFault::NoKey { field, source };
        let server_key = PublicKey::from_z85(&self.server_key).map_err(fault("server_key"))?;
        let public = PublicKey::from_z85(&self.public_key).map_err(fault("public_key"))?;
        let secret = SecretKey::from_z85(&self.secret_key).map_err(fault("secret_key"))?;
        let keypair = Keypair::from(secret);
        if keypair.public != public {
            return Err(KeyFault::NoPair);
        }
        Ok(ClientSecurity::Curve {
            keypair,
            server_key,
        })
    }
}

impl fmt::Debug for ClientBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ClientBundle")
            .field("endpoint", &self.endpoint)
            .field("public_key", &self.public_key)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a bundle's keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    /// A text is no key.
    #[error("{field} is no key: {source}")]
    NoKey {
        /// Which one.
        field: &'static str,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The two halves are of different pairs.
    #[error("public_key does not belong to secret_key")]
    NoPair,
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file cannot be read.
    #[error("failed to read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Other users may read the secret in it.
    #[error("{} is open to other users (mode {mode:o}); run `chmod 600 {}`", path.display(), path.display())]
    NotPrivate {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file is no bundle.
    #[error("{} is no client bundle: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn bundle() -> ClientBundle {
        let (server, client) = (Keypair::generate(), Keypair::generate());
        ClientBundle {
            endpoint: "tcp://127.0.0.1:5555".to_owned(),
            pub_endpoint: String::new(),
            server_key: server.public.to_z85(),
            public_key: client.public.to_z85(),
            secret_key: client.secret_z85(),
        }
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        fs::write(&path, toml::to_string(&bundle()).unwrap()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = ClientBundle::load(&path).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(ClientBundle::load(&path).unwrap(), bundle_at(&path));
    }

    fn bundle_at(path: &Path) -> ClientBundle {
        toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn keys_of_different_pairs_are_refused() {
        let mut mixed = bundle();
        mixed.public_key = Keypair::generate().public.to_z85();
        assert_eq!(mixed.security().unwrap_err(), KeyFault::NoPair);
        mixed.server_key.pop();
        let fault = mixed.security().unwrap_err().to_string();
        assert!(fault.starts_with("server_key is no key"), "{fault}");
    }

    #[test]
    fn the_secret_stays_out_of_the_debug_form() {
        let bundle = bundle();
        assert!(!format!("{bundle:?}").contains(&bundle.secret_key));
    }
}
