//! Finds the processes of a session.

use std::collections::HashSet;

use super::below::{add_below, descendants};
use super::{ProcessKey, Search, Stat, all_pids, own_pid};

/// The living members of the session that `leader` began, and all below them; none once the leader
/// is gone. Neither this process nor, where it is a member itself, what is below it is found.
///
/// As long as the leader is there, be it dead, its pid is no other's, and so is the session's id.
#[must_use]
pub fn session(leader: ProcessKey) -> Search {
    let mut search = Search::default();
    let own = Stat::of(own_pid());
    let is_member = search
        .take(own)
        .flatten()
        .is_none_or(|own| own.session == leader.pid);
    let mut not_found = HashSet::from([own_pid()]);
    if is_member {
        let below = descendants(own_pid());
        not_found.extend(below.found.iter().map(|process| process.pid));
        search.fault = search.fault.or(below.fault);
    }
    for pid in search.take(all_pids()).unwrap_or_default() {
        let stat = search.take(Stat::of(pid)).flatten();
        let member = stat.filter(|stat| stat.session == leader.pid && !not_found.contains(&pid));
        let member = member.and_then(|stat| search.take(stat.process.key().look()).flatten());
        search
            .found
            .extend(member.filter(|process| !process.is_dead()));
    }
    let members = search.found.clone();
    add_below(&members, &mut search);
    // Asked afterwards: otherwise its pid could have been another's.
    if search.take(leader.look()).flatten().is_none() {
        search.found.clear();
    }
    search
}
