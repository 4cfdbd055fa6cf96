//! Which file a command is.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::error::Unavailable;

/// The absolute path of `command`: itself where it is one, else the first executable file of that
/// name in the folders of `path`.
///
/// Relative folders in `path` do not count: they would mean the agent's working directory, and what
/// is in there is not the operator's choice.
///
/// # Errors
///
/// The reason why there is nothing to run. A file that is found but not executable is named only where
/// no later folder has an executable one.
pub(super) fn resolve(command: &str, path: &str) -> Result<PathBuf, Unavailable> {
    if command.starts_with('/') {
        return executable(PathBuf::from(command));
    }
    let mut found = None;
    for folder in path.split(':').filter(|folder| folder.starts_with('/')) {
        match executable(Path::new(folder).join(command)) {
            Ok(file) => return Ok(file),
            Err(reason @ Unavailable::NotExecutable { .. }) => found = found.or(Some(reason)),
            Err(_) => {}
        }
    }
    Err(found.unwrap_or_else(|| Unavailable::NotInPath {
        path: path.to_owned(),
    }))
}

fn executable(file: PathBuf) -> Result<PathBuf, Unavailable> {
    let Ok(metadata) = std::fs::metadata(&file) else {
        return Err(Unavailable::Missing);
    };
    if metadata.is_file() && access(&file, Access::EXEC_OK).is_ok() {
        Ok(file)
    } else {
        Err(Unavailable::NotExecutable { file })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(folder: &Path, name: &str, mode: u32) -> PathBuf {
        let file = folder.join(name);
        fs::write(&file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn the_first_executable_file_in_the_path_is_taken() {
        let first = tempfile::tempdir().unwrap();
        let second = tempfile::tempdir().unwrap();
        file(first.path(), "tool", 0o644);
        let tool = file(second.path(), "tool", 0o755);
        let path = format!("{}:{}", first.path().display(), second.path().display());
        assert_eq!(resolve("tool", &path), Ok(tool));
    }

    #[test]
    fn a_file_without_the_execute_bit_and_a_folder_are_not_executable() {
        let folder = tempfile::tempdir().unwrap();
        let plain = file(folder.path(), "tool", 0o644);
        let path = folder.path().to_str().unwrap();
        let refused = |file: &Path| {
            Err(Unavailable::NotExecutable {
                file: file.to_owned(),
            })
        };
        assert_eq!(resolve("tool", path), refused(&plain));
        assert_eq!(resolve(path, "/bin"), refused(folder.path()));
    }

    #[test]
    fn relative_folders_of_the_path_are_not_searched() {
        let error = resolve("Cargo.toml", ".::src").unwrap_err();
        assert!(matches!(error, Unavailable::NotInPath { .. }));
    }
}
