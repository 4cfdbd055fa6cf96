//! Finds the processes of a session.

use std::collections::HashSet;

use super::below::{add_below, descendants};
use super::{Process, ProcessKey, Search, Stat, all_pids, own_pid};

/// The living members of the session that `leader` began, and all below them; none once the leader
/// is gone. Neither this process nor what is below it is found.
///
/// As long as the leader is there, be it dead, its pid is no other's, and so is the session's id.
#[must_use]
pub fn session(leader: ProcessKey) -> Search {
    let mut search = descendants(own_pid());
    let mut own: HashSet<i32> = search.found.drain(..).map(|process| process.pid).collect();
    own.insert(own_pid());
    for pid in search.take(all_pids()).unwrap_or_default() {
        let Some(stat) = search.take(Stat::of(pid)).flatten() else {
            continue;
        };
        if stat.session != leader.pid || own.contains(&pid) {
            continue;
        }
        let process = search.take(Process::look_at(pid)).flatten();
        let living = process.filter(|process| !process.is_dead());
        search.found.extend(living);
    }
    let members = search.found.clone();
    add_below(&members, &mut search);
    // Asked afterwards: otherwise its pid could have been another's.
    if search.take(leader.look()).flatten().is_none() {
        search.found.clear();
    }
    search
}
