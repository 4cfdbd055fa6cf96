//! What all of these tests need: the means, and how to see what is left.

use std::ops::Deref;
use std::path::PathBuf;

use descartes_core::protocol::AgentId;
use descartes_testkit::{TestServer, processes_of, processes_whose, shim_of, signal};
use rustix::process::{Pid, Signal};

/// A way to find and kill the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Cgroup,
    Descent,
}

/// Starts a server with these means; `None`, loudly, where this host does not have them.
pub(crate) async fn server(means: Means) -> Option<TestServer> {
    if means == Means::Cgroup
        && let Err(reason) = descartes_core::runner::cgroups_available()
    {
        eprintln!("skipped: the cgroup half of a test, for {reason}");
        return None;
    }
    let use_cgroups = means == Means::Cgroup;
    Some(TestServer::start_with(|config| config.runner_config.use_cgroups = use_cgroups).await)
}

/// Ends an agent's shim as nothing ends in order.
pub(crate) fn kill_shim(server: &TestServer, id: AgentId) {
    signal(shim_of(&server.server.config().state_dir(), id), "KILL");
}

/// A number that stands in the command line of every process of one test's agent. What a failed
/// test leaves of them goes with it.
pub(crate) struct Token(String);

impl Deref for Token {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        for pid in members(self) {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

pub(crate) fn token() -> Token {
    let id = AgentId::generate().to_string();
    let digits = u64::from_str_radix(&id[id.len() - 12..], 16).unwrap();
    Token(format!("{digits:015}"))
}

/// Pids of processes that have `token` in their command line.
pub(crate) fn members(token: &str) -> Vec<i32> {
    processes_whose("cmdline", |command| {
        String::from_utf8_lossy(command).contains(token)
    })
}

/// Fails if a process or a cgroup of the agent is there.
pub(crate) fn assert_nothing_is_left(id: AgentId, token: &str, of: &str) {
    assert_eq!(members(token), Vec::<i32>::new(), "{of}");
    assert_eq!(processes_of(id), Vec::<i32>::new(), "{of}");
    assert_eq!(leaves_of(id), Vec::<PathBuf>::new(), "{of}");
}

fn leaves_of(id: AgentId) -> Vec<PathBuf> {
    fn look(dir: PathBuf, name: &str, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_name() == name {
                found.push(entry.path());
            } else if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                look(entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    look("/sys/fs/cgroup".into(), &id.to_string(), &mut found);
    found
}

/// Makes of each `test: argument` two tests, one for each of the [`Means`].
macro_rules! for_both_means {
    ($run:ident: $($name:ident($($argument:expr),*);)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn with_a_cgroup() {
                $run(Means::Cgroup, $($argument),*).await;
            }

            #[tokio::test]
            async fn without_one() {
                $run(Means::Descent, $($argument),*).await;
            }
        }
    )*};
}
pub(crate) use for_both_means;
