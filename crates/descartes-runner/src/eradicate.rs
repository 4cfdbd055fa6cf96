//! Kills what is left of an agent that has no shim, or whose shim hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use descartes_shim::cgroup;
use descartes_shim::tree::{self, Process};

/// How long killed processes may take to go.
const DEADLINE: Duration = Duration::from_secs(10);

/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(5);

/// Looks in a row that have to find nothing. A single one can pass by a process whose parent ends
/// meanwhile.
const EMPTY_LOOKS: u32 = 2;

/// How long processes in the middle of `exec` are waited for. Longer than any takes whose disk
/// answers; a process that hides environment and arguments for good looks the same.
const EXEC_TIME: Duration = Duration::from_secs(1);

/// Kills the shim, if there is one, and every process of the agent's tree. Returns those that
/// were still there after ten seconds.
///
/// The tree is found by the cgroup, as descendants of the shim, and by the agent's id in the
/// environment of a process or its ancestors: what the shim's death has reparented is found only
/// by the last. Blocks.
pub(crate) fn eradicate(
    agent_id: &str,
    leaf: Option<&Path>,
    shim: Option<Process>,
) -> Vec<Process> {
    let started = Instant::now();
    let mut empty_looks = 0;
    loop {
        if let Some(leaf) = leaf {
            let _ = cgroup::kill(leaf);
        }
        let mut unsure = false;
        // Stopped, the shim can neither start the agent nor lose its children meanwhile.
        let left = tree::halt(|| {
            let mut found = shim.map(with_descendants).unwrap_or_default();
            let search = tree::search(agent_id);
            unsure = search.unsure;
            found.extend(search.found);
            found.extend(leaf.map(cgroup::processes).unwrap_or_default());
            found
        });
        tree::kill(&left);
        unsure &= started.elapsed() < EXEC_TIME;
        let is_empty = left.is_empty() && !unsure && !leaf.is_some_and(cgroup::is_populated);
        empty_looks = if is_empty { empty_looks + 1 } else { 0 };
        if empty_looks == EMPTY_LOOKS || started.elapsed() >= DEADLINE {
            if let Some(leaf) = leaf {
                let _ = cgroup::remove(leaf);
            }
            return left;
        }
        std::thread::sleep(INTERVAL);
    }
}

/// The shim, as long as it lives, and all below it.
fn with_descendants(shim: Process) -> Vec<Process> {
    let lives = || {
        let now = Process::read(shim.pid);
        now.is_some_and(|now| now.start_time == shim.start_time && !now.is_dead())
    };
    let mut found = vec![shim];
    found.extend(tree::descendants(shim.pid));
    // Asked afterwards: otherwise its pid could be another's by then.
    if lives() { found } else { Vec::new() }
}
