//! The servers on this host, by the address that each leaves in its state folder.

use std::fs;
use std::path::PathBuf;

use descartes_client::ServerAddress;
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Where a server's state folder is when it runs as a service.
const SERVICE_STATE_DIR: &str = "/var/lib/descartes";

/// Servers that seem to run here and that this user may look up.
pub(crate) fn running() -> Vec<ServerAddress> {
    let addresses = state_dirs().into_iter().filter_map(|dir| {
        // A folder that cannot be read, or whose file makes no sense, is none of this user's servers.
        ServerAddress::read(&dir).ok().flatten()
    });
    addresses.filter(|address| is_alive(address.pid)).collect()
}

/// Folders in which a server of this host keeps its state by default.
pub(crate) fn state_dirs() -> Vec<PathBuf> {
    let own = state_home().map(|home| home.join("descartes"));
    let shared = PathBuf::from(SERVICE_STATE_DIR);
    let mut dirs = vec![shared.clone()];
    // Below them, a folder for each server's name.
    for parent in own.into_iter().chain([shared]) {
        let entries = fs::read_dir(parent).into_iter().flatten().flatten();
        dirs.extend(
            entries
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
    }
    dirs.sort();
    dirs
}

fn state_home() -> Option<PathBuf> {
    let absolute = |name: &str| {
        let path = PathBuf::from(std::env::var_os(name)?);
        path.is_absolute().then_some(path)
    };
    absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))
}

/// Whether there is a process with this number. It may be another's by now: then nothing answers, which is told.
pub(crate) fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}
