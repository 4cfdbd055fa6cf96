//! Files that nobody else may read. Whoever reads one finds the old text or the new one, whole.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Uid};
use tempfile::NamedTempFile;

use crate::error::{CliError, Result};
use crate::exit;

/// Reads a file. `None` where there is none.
pub(crate) fn read(path: &Path) -> Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path, &error)),
    }
}

/// Reads a file with a secret in it, and refuses one that others may read as well. `None` where there is none.
pub(crate) fn read_secret(path: &Path) -> Result<Option<String>> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let metadata = fs::metadata(path).map_err(|error| failed("look at", path, &error))?;
    let mode = metadata.mode() & 0o777;
    let for_others = mode & 0o077;
    if for_others == 0 {
        return Ok(Some(text));
    }
    let path = path.display();
    let problem = format!("{path} holds a secret key and is open to other users (mode {mode:o})");
    Err(CliError::usage(problem).hint(format!("chmod 600 {path}")))
}

/// Makes a file, and its folder, where there is none. Returns whether it did.
pub(crate) fn create(path: &Path, text: &str) -> Result<bool> {
    let file = written(path, text)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(true),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(refused) => Err(failed("write", path, &refused.error)),
    }
}

/// Puts `text` in the place of `before`, which is what the file held when it was read; `None` where there was none.
/// A change by somebody else in between is refused rather than lost. Links stay, and so does the owner.
pub(crate) fn replace(path: &Path, before: Option<&str>, text: &str) -> Result<()> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let file = written(&target, text)?;
    let _lock = lock(&target).map_err(|error| failed("lock the folder of", path, &error))?;
    keep_owner(&target, &file).map_err(|error| failed("keep the owner of", path, &error))?;
    if read(&target)?.as_deref() != before {
        let problem = format!("{} was changed by somebody else meanwhile", path.display());
        return Err(CliError::new(exit::REFUSED, problem).hint("try again"));
    }
    let replaced = file.persist(&target);
    replaced.map_err(|refused| failed("write", path, &refused.error))?;
    Ok(())
}

/// Holds others of this program off that change a file in the same folder, until it is dropped.
fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(folder)
}

/// The text in a file that only its owner can read, ready to be renamed.
fn written(path: &Path, text: &str) -> Result<NamedTempFile> {
    let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&dir);
    made.map_err(|error| failed("create", &dir, &error))?;
    let written = NamedTempFile::new_in(&dir).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    });
    written.map_err(|error| failed("write", path, &error))
}

/// A file that root changes stays readable for the user whose it is.
fn keep_owner(path: &Path, new: &NamedTempFile) -> io::Result<()> {
    let old = match fs::metadata(path) {
        Ok(old) => old,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if old.uid() == new.as_file().metadata()?.uid() {
        return Ok(());
    }
    let (owner, group) = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
    Ok(rustix::fs::fchown(new, Some(owner), Some(group))?)
}

fn failed(action: &str, path: &Path, error: &io::Error) -> CliError {
    let problem = format!("failed to {action} {}: {error}", path.display());
    let failure = CliError::new(exit::REFUSED, problem);
    if error.kind() == io::ErrorKind::PermissionDenied {
        return failure.hint("run this as the user whose it is, or as root");
    }
    failure
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_change_by_somebody_else_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "theirs").unwrap();
        let refused = replace(&path, Some("mine"), "mine, newer").unwrap_err();
        assert!(refused.message.contains("meanwhile"), "{refused:?}");
        let refused = replace(&path, None, "new").unwrap_err();
        assert!(refused.message.contains("meanwhile"), "{refused:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_replaced_file_is_private_and_a_link_to_it_stays_one() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, Some("old"), "new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_is_there_is_not_created_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder/file");
        assert!(create(&path, "first").unwrap());
        assert!(!create(&path, "second").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "first");
        let folder = fs::metadata(path.parent().unwrap()).unwrap();
        assert_eq!(folder.mode() & 0o777, 0o700);
    }

    #[test]
    fn a_file_that_root_changes_stays_its_owners() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can give a file away");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::chown(&path, Some(12345), Some(23456)).unwrap();
        replace(&path, Some("old"), "new").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (12345, 23456));
    }
}
