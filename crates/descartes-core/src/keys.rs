//! The server's keys, and the clients that may connect.
//!
//! ```text
//! <keys_dir>/                   0700
//!   server.key                  0600  the server's secret key, one line of Z85
//!   server.pub                  0600  its public key
//!   authorized_clients.toml     0600  [[client]] name, public_key, role
//!   client.toml                 0600  all that the first client needs
//! ```
//!
//! All of it is made at the first start that needs it, and never changed by the server after
//! that, except that `client.toml` follows the endpoints. A list of clients that is missing later
//! lets nobody in.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use descartes_client::ClientBundle;
use descartes_transport::{Keypair, PublicKey, SecretKey};

use crate::error::KeyError;

mod clients;

pub use clients::{AuthorizedClients, Role};

/// The folder of a server's keys.
#[derive(Debug)]
pub struct KeyStore {
    keypair: Keypair,
}

impl KeyStore {
    /// Reads the keys in `dir`, making folder, keys and the first client at the first start.
    /// `clients` is the file that lists the clients.
    ///
    /// # Errors
    /// [`KeyError`]; among others where another user may read a secret.
    pub fn open(dir: &Path, clients: &Path) -> Result<Self, KeyError> {
        make_dir(dir)?;
        check_mode(dir, 0o700)?;
        let secret_path = dir.join("server.key");
        let known = read_secret(&secret_path)?;
        let is_first_start = known.is_none();
        if is_first_start && exists(&dir.join("server.pub"))? && exists(clients)? {
            let problem = "it is missing, though server.pub and the list of clients are there; restore it, or remove server.pub to make a new key, which every client then has to be given".to_owned();
            return Err(KeyError::Invalid {
                path: secret_path,
                problem,
            });
        }
        let keypair = known.unwrap_or_else(Keypair::generate);
        replace(&dir.join("server.pub"), &format!("{}\n", keypair.public))?;
        if is_first_start && !exists(clients)? {
            let first = Keypair::generate();
            let bundle = ClientBundle {
                endpoint: String::new(),
                pub_endpoint: String::new(),
                server_key: keypair.public.to_z85(),
                public_key: first.public.to_z85(),
                secret_key: first.secret_z85(),
            };
            write_bundle(&dir.join("client.toml"), &bundle)?;
            write_new(clients, &clients::first_file(&first.public))?;
        }
        // Last: a first start that failed on the way is a first start again.
        if is_first_start {
            write_new(&secret_path, &format!("{}\n", keypair.secret_z85()))?;
        }
        Ok(Self { keypair })
    }

    /// The server's keys.
    #[must_use]
    pub fn keypair(&self) -> &Keypair {
        &self.keypair
    }

    /// Brings the endpoints in the first client's bundle up to date. Returns the bundle's path,
    /// or `None` where the operator has removed it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn advertise(
        &self,
        dir: &Path,
        endpoint: &str,
        pub_endpoint: &str,
    ) -> Result<Option<PathBuf>, KeyError> {
        let path = dir.join("client.toml");
        let Some(text) = read_private(&path)? else {
            return Ok(None);
        };
        let invalid = |problem: String| KeyError::Invalid {
            path: path.clone(),
            problem,
        };
        let mut bundle: ClientBundle =
            toml::from_str(&text).map_err(|error| invalid(error.message().to_owned()))?;
        endpoint.clone_into(&mut bundle.endpoint);
        pub_endpoint.clone_into(&mut bundle.pub_endpoint);
        bundle.server_key = self.keypair.public.to_z85();
        write_bundle(&path, &bundle)?;
        Ok(Some(path))
    }
}

fn write_bundle(path: &Path, bundle: &ClientBundle) -> Result<(), KeyError> {
    let body = toml::to_string(bundle).map_err(|error| KeyError::Invalid {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    let text = format!(
        "# What a client needs to reach this server. It holds a secret: whoever has the file is this client.\n{body}"
    );
    replace(path, &text)
}

fn read_secret(path: &Path) -> Result<Option<Keypair>, KeyError> {
    let Some(text) = read_private(path)? else {
        return Ok(None);
    };
    match SecretKey::from_z85(text.trim()) {
        Ok(secret) => Ok(Some(Keypair::from(secret))),
        Err(error) => Err(KeyError::Invalid {
            path: path.to_owned(),
            problem: error.to_string(),
        }),
    }
}

/// Reads a file that nobody else may read. `None` where there is none.
pub(crate) fn read_private(path: &Path) -> Result<Option<String>, KeyError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(storage("read", path)(source)),
    };
    check_mode(path, 0o600)?;
    Ok(Some(text))
}

fn exists(path: &Path) -> Result<bool, KeyError> {
    path.try_exists().map_err(storage("look for", path))
}

fn make_dir(dir: &Path) -> Result<(), KeyError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(storage("create", dir))
}

fn check_mode(path: &Path, wanted: u32) -> Result<(), KeyError> {
    let mode = fs::metadata(path).map_err(storage("look at", path))?.mode() & 0o777;
    let for_others = mode & 0o077;
    if for_others == 0 {
        return Ok(());
    }
    Err(KeyError::NotPrivate {
        path: path.to_owned(),
        mode,
        wanted,
    })
}

fn write_new(path: &Path, text: &str) -> Result<(), KeyError> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| persist(&mut file, text));
    written.map_err(storage("write", path))
}

/// Writes a file anew: whoever reads it finds the old text or the new one, whole.
fn replace(path: &Path, text: &str) -> Result<(), KeyError> {
    let temporary = path.with_extension("new");
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| persist(&mut file, text))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(storage("write", path))
}

fn persist(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn storage(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyError {
    let path = path.to_owned();
    move |source| KeyError::Storage {
        action,
        path,
        source,
    }
}

/// A key in its text form, as a fault of the file that it stands in.
fn parse_key(path: &Path, text: &str) -> Result<PublicKey, KeyError> {
    PublicKey::from_z85(text).map_err(|error| KeyError::Invalid {
        path: path.to_owned(),
        problem: format!("public_key {text:?}: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_start_makes_keys_and_a_first_client_and_the_next_keeps_them() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("keys");
        let clients = dir.join("authorized_clients.toml");
        let first = KeyStore::open(&dir, &clients).unwrap();
        let path = first
            .advertise(&dir, "tcp://here:1", "tcp://here:2")
            .unwrap()
            .unwrap();
        let bundle: ClientBundle = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        assert_eq!(bundle.endpoint, "tcp://here:1");
        assert_eq!(bundle.server_key, first.keypair().public.to_z85());
        let listed = AuthorizedClients::load(&clients).unwrap();
        let key = PublicKey::from_z85(&bundle.public_key).unwrap();
        assert_eq!(listed.role(&key), Some(Role::Admin));
        let second = KeyStore::open(&dir, &clients).unwrap();
        assert_eq!(second.keypair().public, first.keypair().public);
        for file in [
            "server.key",
            "server.pub",
            "authorized_clients.toml",
            "client.toml",
        ] {
            let mode = fs::metadata(dir.join(file)).unwrap().mode() & 0o777;
            assert_eq!(mode, 0o600, "{file}");
        }
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("keys");
        let clients = dir.join("authorized_clients.toml");
        KeyStore::open(&dir, &clients).unwrap();
        fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o640)).unwrap();
        let refused = KeyStore::open(&dir, &clients).unwrap_err().to_string();
        assert!(refused.contains("chmod 600"), "{refused}");
    }
}
