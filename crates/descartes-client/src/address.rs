//! Where clients on the server's own host find it: a file in the state folder, there while the
//! server serves.
//!
//! A server that ends in order removes it. A crash leaves it, so the file alone does not say that
//! anybody answers: `pid` tells whose it was.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How clients on its own host reach a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAddress {
    /// What the server is called.
    pub server_id: String,
    /// The process that serves, as its own pid namespace counts.
    pub pid: u32,
    /// Where requests go, with the real port; loopback where the server listens on all addresses.
    pub endpoint: String,
    /// Where events come from; empty where the server has no event socket.
    #[serde(default)]
    pub pub_endpoint: String,
    /// A file with the keys of a client, as an absolute path; absent where the connection is not
    /// encrypted, or the operator has moved the first client's keys away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_bundle: Option<PathBuf>,
}

/// Why a server's address cannot be read, written or removed.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    /// The file could not be used.
    #[error("failed to {action} {}: {source}", path.display())]
    Storage {
        /// What was being done.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The file does not hold what it should, or cannot hold this address.
    #[error("{} is not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

impl ServerAddress {
    /// The file's name in a state folder.
    pub const FILE_NAME: &str = "address.toml";

    /// Reads the address of the server whose state folder is `dir`. `None` where there is none:
    /// no server serves there, or it could not write its address. Keys that are not known are
    /// passed over.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn read(dir: &Path) -> Result<Option<Self>, AddressError> {
        let path = dir.join(Self::FILE_NAME);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(storage("read", path)(source)),
        };
        match toml::from_str(&text) {
            Ok(address) => Ok(Some(address)),
            Err(error) => Err(AddressError::Invalid {
                path,
                problem: error.message().to_owned(),
            }),
        }
    }

    /// Writes the address into the state folder `dir`, in the place of an older one, for the
    /// server's own user alone. Whoever reads it finds the old one or the new one, whole.
    ///
    /// # Errors
    /// [`AddressError`]; [`AddressError::Invalid`] where a path is not UTF-8.
    pub fn write(&self, dir: &Path) -> Result<(), AddressError> {
        let path = dir.join(Self::FILE_NAME);
        let text = match toml::to_string(self) {
            Ok(text) => text,
            Err(error) => {
                let problem = error.to_string();
                return Err(AddressError::Invalid { path, problem });
            }
        };
        let temporary = dir.join(format!("{}.new", Self::FILE_NAME));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // A part of an address is nobody's.
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(storage("write", path))
    }

    /// Removes the address from the state folder `dir`, if there is one.
    ///
    /// # Errors
    /// [`AddressError::Storage`].
    pub fn remove(dir: &Path) -> Result<(), AddressError> {
        let path = dir.join(Self::FILE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(storage("remove", path)(error))
            }
            _ => Ok(()),
        }
    }
}

fn storage(action: &'static str, path: PathBuf) -> impl FnOnce(io::Error) -> AddressError {
    move |source| AddressError::Storage {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn address() -> ServerAddress {
        ServerAddress {
            server_id: "a \"server\"".to_owned(),
            pid: 42,
            endpoint: "tcp://127.0.0.1:5555".to_owned(),
            pub_endpoint: String::new(),
            client_bundle: Some("/keys/client.toml".into()),
        }
    }

    #[test]
    fn an_address_reads_back_from_a_file_that_nobody_else_can_read() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(ServerAddress::read(dir.path()).unwrap(), None);
        address().write(dir.path()).unwrap();
        let without_keys = ServerAddress {
            client_bundle: None,
            ..address()
        };
        assert_eq!(ServerAddress::read(dir.path()).unwrap(), Some(address()));
        without_keys.write(dir.path()).unwrap();
        let read = ServerAddress::read(dir.path()).unwrap();
        assert_eq!(read, Some(without_keys));
        let entries: Vec<_> = fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(entries.len(), 1, "{entries:?}");
        let mode = entries[0].metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, 0o600);
        ServerAddress::remove(dir.path()).unwrap();
        ServerAddress::remove(dir.path()).unwrap();
        assert_eq!(ServerAddress::read(dir.path()).unwrap(), None);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over_and_what_is_missing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(ServerAddress::FILE_NAME);
        let least = "server_id = \"s\"\npid = 1\nendpoint = \"ipc:///s\"\n";
        fs::write(&path, format!("{least}novelty = [1]\n")).unwrap();
        let read = ServerAddress::read(dir.path()).unwrap().unwrap();
        assert_eq!(read.endpoint, "ipc:///s");
        assert_eq!((read.pub_endpoint.as_str(), read.client_bundle), ("", None));
        fs::write(&path, "server_id = \"s\"\npid = 1\n").unwrap();
        let error = ServerAddress::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("endpoint"), "{error}");
    }
}
