//! Stops trees of processes, and kills what stands still.

use std::collections::{HashMap, HashSet};
use std::io;

use rustix::process::Signal;

use super::{Process, own_pid, unless_hidden};

/// Times that [`halt`] looks for what has come meanwhile.
const PASSES: usize = 16;

/// What [`halt`] has stopped.
#[derive(Debug)]
pub struct Halted {
    /// Parents before their children, and never this process.
    pub processes: Vec<Process>,
    /// Whether there was nothing new in the end: these are all. Otherwise they may have children
    /// that nobody has found.
    pub all: bool,
}

/// Stops (SIGSTOP) what `find` finds, until it finds nothing new, or has looked sixteen times.
///
/// Processes that stand still start no others in the place of those that are killed next, and who
/// kills them only when that is all kills nobody before his children were found.
pub fn halt(mut find: impl FnMut() -> Vec<Process>) -> Halted {
    let own = own_pid();
    let mut found = Vec::new();
    let mut known = HashSet::new();
    let mut all = false;
    for _ in 0..PASSES {
        let mut fresh = find();
        fresh.retain(|process| process.pid != own && known.insert(process.key()));
        if fresh.is_empty() {
            all = true;
            break;
        }
        for process in &fresh {
            // Whom it does not reach is killed all the same.
            let _ = process.signal(Signal::STOP);
        }
        found.append(&mut fresh);
    }
    Halted {
        processes: parents_first(found),
        all,
    }
}

/// By who was whose parent when it was found: pids start again from below, so they say nothing.
fn parents_first(processes: Vec<Process>) -> Vec<Process> {
    let pids: HashSet<i32> = processes.iter().map(|process| process.pid).collect();
    let has_parent = |process: &Process| pids.contains(&process.parent);
    let (others, mut ordered): (Vec<_>, Vec<_>) = processes.into_iter().partition(has_parent);
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in others {
        children.entry(process.parent).or_default().push(process);
    }
    let mut next = 0;
    while let Some(parent) = ordered.get(next) {
        let fresh = children.remove(&parent.pid);
        ordered.extend(fresh.into_iter().flatten());
        next += 1;
    }
    // Where a pid was used again meanwhile, they may be in a circle.
    ordered.extend(children.into_values().flatten());
    ordered
}

/// Kills what [`halt`] stopped, children before their parents: a parent that is killed first may
/// wake up the children that it leaves behind (`setpgid(2)`, orphaned process groups).
///
/// # Errors
/// The first reason why one could not even be tried, such as `EMFILE`; the others are killed all
/// the same. A process that this user may not signal is no such reason.
pub fn kill(halted: &[Process]) -> io::Result<()> {
    let mut tried = Ok(());
    for process in halted.iter().rev() {
        let killed = unless_hidden(process.signal(Signal::KILL));
        tried = tried.and(killed.map(drop));
    }
    tried
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_halted_is_in_the_order_of_descent_whatever_the_pids_and_whenever_it_was_found() {
        // Beyond the highest pid that there can be, so nobody is signalled.
        let process = |pid, parent| Process {
            pid: 1 << 30 | pid,
            parent: 1 << 30 | parent,
            state: b'S',
            start_time: 1,
        };
        let looks = [vec![process(2, 9), process(3, 2)], vec![process(9, 1)]];
        let mut looks = looks.into_iter();
        let halted = halt(|| looks.next().unwrap_or_default());
        assert_eq!(
            halted.processes,
            [process(9, 1), process(2, 9), process(3, 2)]
        );
    }

    #[test]
    fn this_process_is_never_halted() {
        let me = Process::read(own_pid()).unwrap();
        assert_eq!(halt(|| vec![me]).processes, []);
    }

    #[test]
    fn what_never_comes_to_an_end_is_said_to_be_incomplete() {
        let mut last = 1 << 30;
        let halted = halt(|| {
            last += 1;
            let fresh = Process {
                pid: last,
                parent: 1,
                state: b'S',
                start_time: 1,
            };
            vec![fresh]
        });
        assert!(!halted.all && !halted.processes.is_empty());
        assert!(halt(Vec::new).all);
    }
}
