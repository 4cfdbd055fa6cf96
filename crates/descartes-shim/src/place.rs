//! Names in an agent's folder: what they lead to, and how they get free where somebody has put
//! something else there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

/// Things that are kept of one name.
const ASIDE_MAX: usize = 100;

/// What tells a file from any other on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    dev: u64,
    ino: u64,
}

impl From<Stat> for Identity {
    fn from(stat: Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
        }
    }
}

/// What a name leads to.
pub(crate) fn identify(dir: impl AsFd, name: &str) -> Result<Identity, Errno> {
    rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(Identity::from)
}

/// Whether a name leads to this file, and nothing else. Where that cannot be seen, it does.
pub(crate) fn leads_to(dir: impl AsFd, name: &str, file: Identity) -> bool {
    match identify(dir, name) {
        Ok(found) => found == file,
        Err(error) => error != Errno::NOENT,
    }
}

/// Whether a name leads to an open file, and nothing else.
pub(crate) fn leads_to_open(dir: impl AsFd, name: &str, file: impl AsFd) -> bool {
    let file = rustix::fs::fstat(file).map(Identity::from);
    file.is_ok_and(|file| leads_to(dir, name, file))
}

/// Creates the private file `name`, new.
pub(crate) fn create(dir: impl AsFd, name: &str) -> io::Result<File> {
    let dir = dir.as_fd();
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(_) => move_aside(dir, name)?,
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?.into())
}

/// Gives a file another name. What cannot be replaced there, as a folder, is moved aside.
pub(crate) fn rename(dir: impl AsFd, from: &str, to: &str) -> io::Result<()> {
    let dir = dir.as_fd();
    match rustix::fs::renameat(dir, from, dir, to) {
        Err(Errno::ISDIR) => {
            move_aside(dir, to)?;
            Ok(rustix::fs::renameat(dir, from, dir, to)?)
        }
        renamed => Ok(renamed?),
    }
}

/// Gives what has this name another one that is free.
pub(crate) fn move_aside(dir: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    for number in 1..=ASIDE_MAX {
        let aside = format!("{name}.damaged.{number}");
        match rustix::fs::renameat_with(dir, name, dir, aside, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            moved => return Ok(moved?),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn folders_in_the_place_of_files_are_moved_aside_again_and_again() {
        let root = tempfile::tempdir().unwrap();
        let dir = File::open(root.path()).unwrap();
        for number in 1..=3 {
            for name in ["record", "record.new"] {
                let _ = fs::remove_file(root.path().join(name));
                fs::create_dir_all(root.path().join(name).join("something")).unwrap();
            }
            let file = create(&dir, "record.new").unwrap();
            rename(&dir, "record.new", "record").unwrap();
            assert!(leads_to_open(&dir, "record", &file));
            let aside = root.path().join(format!("record.damaged.{number}"));
            assert!(aside.join("something").is_dir());
        }
    }

    #[test]
    fn what_has_a_new_files_name_is_neither_written_nor_waited_for() {
        let root = tempfile::tempdir().unwrap();
        let dir = File::open(root.path()).unwrap();
        let other = root.path().join("other");
        fs::write(&other, "precious").unwrap();
        std::os::unix::fs::symlink(&other, root.path().join("link")).unwrap();
        rustix::fs::mkfifoat(&dir, "pipe", Mode::RWXU).unwrap();
        for name in ["link", "pipe"] {
            let file = create(&dir, name).unwrap();
            assert!(file.metadata().unwrap().is_file());
        }
        assert_eq!(fs::read_to_string(other).unwrap(), "precious");
    }
}
