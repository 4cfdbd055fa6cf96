//! Kills what is left of an agent that has no shim, or whose shim hangs.

use std::path::Path;
use std::time::{Duration, Instant};

use descartes_shim::cgroup;
use descartes_shim::tree::{self, Process};
use rustix::process::Signal;

/// How long killed processes may take to go.
const DEADLINE: Duration = Duration::from_secs(10);

/// Kills the shim, if there is one, and every process of the agent's tree. Returns those that
/// were still there after ten seconds.
///
/// The tree is found by the cgroup, as descendants of the shim, and by the agent's id in the
/// environment: what the shim's death has reparented is found only by the last. Blocks.
pub(crate) fn eradicate(
    agent_id: &str,
    leaf: Option<&Path>,
    shim: Option<Process>,
) -> Vec<Process> {
    let deadline = Instant::now() + DEADLINE;
    let mut shim = shim;
    loop {
        if let Some(leaf) = leaf {
            let _ = cgroup::kill(leaf);
        }
        let mut left = tree::carrying_agent_id(agent_id);
        if let Some(shim) = shim.take() {
            // Stopped first, it can neither start the agent nor lose its children meanwhile.
            let _ = shim.signal(Signal::STOP);
            left.extend(tree::descendants(shim.pid));
            left.push(shim);
        }
        for process in &left {
            let _ = process.signal(Signal::KILL);
        }
        let populated = leaf.is_some_and(cgroup::is_populated);
        if (left.is_empty() && !populated) || Instant::now() >= deadline {
            if let Some(leaf) = leaf {
                let _ = cgroup::remove(leaf);
            }
            return left;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}
