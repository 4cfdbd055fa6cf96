//! Finds the descendants of processes.

use std::collections::HashSet;
use std::fs;
use std::io;

use super::{Process, ProcessKey, Search, all_pids, numbers_in, own_pid, unless_hidden};

/// All descendants of `root`, without `root` itself, without the dead, and without this process
/// and what is below it if it is such a descendant.
///
/// While the tree is forking the list can miss the newest; who needs all of them repeats until
/// nothing new is found.
#[must_use]
pub fn descendants(root: i32) -> Search {
    let mut search = Search::default();
    let process = search.take(Process::look_at(root)).flatten();
    add_below(process.as_slice(), &mut search);
    search
}

/// A process and all its [`descendants`]; nothing where it does not live.
#[must_use]
pub fn family(root: ProcessKey) -> Search {
    let mut search = descendants(root.pid);
    // Asked afterwards: otherwise its pid could have been another's.
    let now = search.take(root.look()).flatten();
    match now.filter(|root| !root.is_dead()) {
        Some(root) => search.found.push(root),
        None => search.found.clear(),
    }
    search
}

/// Adds all descendants of `roots` to what was found.
pub(super) fn add_below(roots: &[Process], search: &mut Search) {
    let mut seen: HashSet<i32> = roots.iter().map(|root| root.pid).collect();
    seen.insert(own_pid());
    let mut pending = roots.to_vec();
    let mut families = Families::default();
    while let Some(parent) = pending.pop() {
        for child in families.children_of(&parent, search) {
            if !seen.insert(child.pid) {
                continue;
            }
            if !child.is_dead() {
                search.found.push(child);
            }
            pending.push(child);
        }
    }
}

/// Who is whose child.
#[derive(Default)]
struct Families {
    /// All processes, once it is known that this kernel does not list the children of one
    /// (`CONFIG_PROC_CHILDREN`).
    all: Option<Vec<Process>>,
}

impl Families {
    fn children_of(&mut self, parent: &Process, search: &mut Search) -> Vec<Process> {
        if self.all.is_none() {
            match search.take(listed_children(parent.pid)) {
                Some(Some(pids)) => return still_of(parent, &read(pids, search), search),
                Some(None) => {
                    let pids = search.take(all_pids()).unwrap_or_default();
                    self.all = Some(read(pids, search));
                }
                None => {}
            }
        }
        still_of(parent, self.all.as_deref().unwrap_or_default(), search)
    }
}

/// The children of `parent` among these, if it is still there. Where its pid is another's by then,
/// they may be that one's.
fn still_of(parent: &Process, among: &[Process], search: &mut Search) -> Vec<Process> {
    let among = among.iter();
    let children: Vec<Process> = among
        .filter(|child| child.parent == parent.pid)
        .copied()
        .collect();
    let is_there = |parent: &Process, search: &mut Search| {
        search.take(parent.key().look()).flatten().is_some()
    };
    if children.is_empty() || is_there(parent, search) {
        return children;
    }
    Vec::new()
}

fn read(pids: Vec<i32>, search: &mut Search) -> Vec<Process> {
    let read = |pid| search.take(Process::look_at(pid)).flatten();
    pids.into_iter().filter_map(read).collect()
}

/// Children of all threads of a process, from `/proc/<pid>/task/<tid>/children`; `None` where this
/// kernel has no such file.
fn listed_children(pid: i32) -> io::Result<Option<Vec<i32>>> {
    let mut children = Vec::new();
    for thread in numbers_in(&format!("/proc/{pid}/task"))? {
        let thread = format!("/proc/{pid}/task/{thread}");
        match unless_hidden(fs::read_to_string(format!("{thread}/children")))? {
            Some(list) => {
                let pids = list.split_ascii_whitespace();
                children.extend(pids.filter_map(|pid| pid.parse::<i32>().ok()));
            }
            // Or the thread has just ended.
            None => {
                if unless_hidden(fs::exists(&thread))? == Some(true) {
                    return Ok(None);
                }
            }
        }
    }
    Ok(Some(children))
}
