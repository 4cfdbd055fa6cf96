//! Kills what is left of an agent that has no shim, or whose shim hangs.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use descartes_shim::cgroup;
use descartes_shim::record::{Spec, State};
use descartes_shim::tree::{self, Process, ProcessKey, Search};

/// How long killed processes may take to go, and what keeps the server from looking.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks in a row that have to find nothing. A single one can pass by a process whose parent ends
/// meanwhile.
const EMPTY_LOOKS: u32 = 2;

/// How long processes in the middle of `exec`, and trees that go on forking, are waited for. Longer
/// than any takes whose disk answers; a process that hides environment and arguments for good looks
/// the same.
const RESTLESS_TIME: Duration = Duration::from_secs(1);

/// What is known of an agent whose processes are looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Remains<'a> {
    pub(crate) agent_id: &'a str,
    /// Its cgroup, if it may have one.
    pub(crate) leaf: Option<&'a Path>,
    pub(crate) known: Known,
}

/// Which processes of an agent are known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Known {
    pub(crate) shim: Option<ProcessKey>,
    /// The agent's first process.
    pub(crate) leader: Option<ProcessKey>,
}

impl Known {
    /// By the agent's record, if its pids mean something here.
    pub(crate) fn of(state: Option<&State>) -> Self {
        match state.filter(|state| state.is_of_here()) {
            Some(state) => Self {
                shim: Some(state.shim()),
                leader: Some(state.leader()),
            },
            None => Self::default(),
        }
    }
}

/// Kills the shim, if there is one, and every process of the agent's tree. Returns those that
/// were still there after ten seconds. This process is never among them, though the agent may have
/// started it.
///
/// The tree is found by the cgroup, as descendants of the shim, by the session of the agent's first
/// process, and by the agent's id in the environment of a process or its ancestors: what the shim's
/// death has reparented is found only by the last two. Blocks.
///
/// # Errors
/// The first reason why the server could not look until these ten seconds were over, as where it
/// has no descriptor left. How many of the agent's processes are left is not known then, some may
/// stand still, the shim among them, and it is to be tried again.
pub(crate) fn eradicate(remains: &Remains<'_>) -> io::Result<Vec<Process>> {
    eradicate_within(DEADLINE, remains).map_err(|error| {
        let message = format!("cannot look for the agent's processes: {error}");
        io::Error::new(error.kind(), message)
    })
}

fn eradicate_within(time: Duration, remains: &Remains<'_>) -> io::Result<Vec<Process>> {
    let started = Instant::now();
    let mut empty_looks = 0;
    let mut fault = None;
    loop {
        let restless = if started.elapsed() < RESTLESS_TIME {
            Restless::AreWaitedFor
        } else {
            Restless::AreKilled
        };
        match remains.kill_once(restless) {
            Ok(Pass { left, is_empty }) => {
                fault = None;
                empty_looks = if is_empty { empty_looks + 1 } else { 0 };
                if empty_looks == EMPTY_LOOKS || started.elapsed() >= time {
                    if let Some(leaf) = remains.leaf {
                        let _ = cgroup::remove(leaf);
                    }
                    return Ok(left);
                }
            }
            Err(error) => {
                empty_looks = 0;
                let first = fault.get_or_insert(error);
                if started.elapsed() >= time {
                    return Err(io::Error::new(first.kind(), first.to_string()));
                }
            }
        }
        std::thread::sleep(INTERVAL);
    }
}

/// What becomes of processes in the middle of `exec`, and of trees that go on forking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restless {
    /// Nobody is killed, and nothing is taken for gone, before they have come to rest.
    AreWaitedFor,
    AreKilled,
}

/// What one attempt came to.
struct Pass {
    /// What was there.
    left: Vec<Process>,
    /// Whether that was certainly nothing.
    is_empty: bool,
}

impl<'a> Remains<'a> {
    /// Of what was told to run.
    pub(crate) fn of(spec: &'a Spec, known: Known) -> Self {
        Self {
            agent_id: &spec.agent_id,
            leaf: spec.cgroup.as_deref(),
            known,
        }
    }

    /// Kills what is there now.
    fn kill_once(&self, restless: Restless) -> io::Result<Pass> {
        let waited_for = restless == Restless::AreWaitedFor;
        let leaf = self.leaf_of_others()?;
        if let Some(leaf) = leaf {
            let _ = cgroup::kill(leaf);
        }
        let mut unsure = false;
        let mut fault = None;
        // Stopped, the shim can neither start the agent nor lose its children meanwhile.
        let halted = tree::halt(|| {
            let search = self.search(leaf);
            unsure = search.unsure;
            fault = fault.take().or(search.fault);
            search.found
        });
        // A process that could not be seen may be known only by an ancestor, who has to live then.
        if let Some(fault) = fault {
            return Err(fault);
        }
        let left = halted.processes;
        if waited_for && !halted.all {
            let is_empty = false;
            return Ok(Pass { left, is_empty });
        }
        tree::kill(&left)?;
        let is_populated = leaf.map_or(Ok(false), cgroup::is_populated)?;
        let is_empty = left.is_empty() && !(unsure && waited_for) && !is_populated;
        Ok(Pass { left, is_empty })
    }

    fn search(&self, leaf: Option<&Path>) -> Search {
        let mut search = tree::search(self.agent_id);
        if let Some(shim) = self.known.shim {
            search.add(tree::family(shim));
        }
        if let Some(leader) = self.known.leader {
            search.add(tree::session(leader));
        }
        let in_leaf = leaf.map_or_else(|| Ok(Vec::new()), cgroup::processes);
        let in_leaf = search.take(in_leaf);
        search.found.extend(in_leaf.into_iter().flatten());
        search
    }

    /// The agent's cgroup, unless the agent has started this server in it: then not all in it is
    /// the agent's.
    fn leaf_of_others(&self) -> io::Result<Option<&Path>> {
        match self.leaf {
            Some(leaf) if cgroup::holds_this_process(leaf)? => Ok(None),
            leaf => Ok(leaf),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::{Child, Command};

    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    use super::*;

    /// A process of a lost agent, killed at the end however the test ends.
    struct Lost(Child);

    impl Lost {
        fn start(agent_id: &str) -> Self {
            #[expect(clippy::disallowed_methods, reason = "this agent has no shim")]
            let mut command = Command::new("sleep");
            let command = command.arg("1000").env(tree::AGENT_ID_VARIABLE, agent_id);
            let lost = Self(command.spawn().unwrap());
            while tree::search(agent_id).found.is_empty() {
                std::thread::yield_now();
            }
            lost
        }

        fn is_alive(&mut self) -> bool {
            self.0.try_wait().unwrap().is_none()
        }
    }

    impl Drop for Lost {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    /// Takes all descriptors but `free`, of few. The limit holds for the whole process, which a
    /// test has to itself.
    fn leave_free(free: usize) -> Vec<File> {
        let limit = getrlimit(Resource::Nofile);
        let few = Rlimit {
            current: Some(64),
            ..limit
        };
        setrlimit(Resource::Nofile, few).unwrap();
        let mut taken: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        taken.truncate(taken.len() - free);
        taken
    }

    #[test]
    fn an_agent_is_not_taken_for_gone_by_a_server_without_descriptors_to_look_for_it() {
        let agent_id = format!("agent-scarce-{}", std::process::id());
        let mut lost = Lost::start(&agent_id);
        let remains = Remains {
            agent_id: &agent_id,
            leaf: None,
            known: Known::default(),
        };
        for free in [0, 1] {
            let taken = leave_free(free);
            // Beyond the time that is left to processes in the middle of `exec`.
            let left = eradicate_within(RESTLESS_TIME * 2, &remains);
            drop(taken);
            let error = left.unwrap_err();
            assert!(error.to_string().contains("os error 24"), "{free}: {error}");
            assert!(lost.is_alive(), "{free}");
        }
        let taken = leave_free(2);
        assert_eq!(eradicate_within(DEADLINE, &remains).unwrap(), []);
        assert!(!lost.is_alive());
        drop(taken);
    }
}
