//! Finds the processes of an agent by the mark in their environment.

use std::fs;
use std::io;

use super::below::add_below;
use super::{
    AGENT_ID_VARIABLE, Process, Search, Stat, all_pids, numbers_in, own_pid, unless_hidden,
};

/// Flag of a thread of the kernel's own (`PF_KTHREAD`, `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Looks for the processes of an agent whose shim has died: living ones that carry the agent's id
/// in their environment, and all below them.
///
/// It reads the environment of every process that this user may look into. What has cleared its
/// environment is found as long as an ancestor that has not is alive.
///
/// This process may carry the id itself, if the agent started it. Neither it nor what is only below
/// it is found.
#[must_use]
pub fn search(agent_id: &str) -> Search {
    let entry = format!("{AGENT_ID_VARIABLE}={agent_id}");
    let mut search = Search::default();
    let own = own_pid();
    let pids = search.take(all_pids()).unwrap_or_default();
    for pid in pids.into_iter().filter(|&pid| pid != own) {
        match search.take(look(pid, entry.as_bytes())) {
            Some(Look::Marked) => {
                let process = search.take(Process::look_at(pid)).flatten();
                // Only now is it known that both are said of the same process.
                match search.take(look(pid, entry.as_bytes())) {
                    Some(Look::Marked) => {
                        let living = process.filter(|process| !process.is_dead());
                        search.found.extend(living);
                    }
                    _ => search.unsure = true,
                }
            }
            Some(Look::InExec) => search.unsure = true,
            Some(Look::Foreign) | None => {}
        }
    }
    let marked = search.found.clone();
    add_below(&marked, &mut search);
    search
}

/// What a process's environment says of whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Marked,
    Foreign,
    InExec,
}

fn look(pid: i32, entry: &[u8]) -> io::Result<Look> {
    let process = format!("/proc/{pid}");
    match look_at_thread(&process, entry)? {
        Look::InExec => {}
        clear => return Ok(clear),
    }
    let Some(stat) = Stat::of(pid)? else {
        return Ok(Look::Foreign);
    };
    if stat.flags & KERNEL_THREAD != 0 {
        return Ok(Look::Foreign);
    }
    if !stat.process.is_dead() {
        return Ok(Look::InExec);
    }
    // Its first thread has ended, and has nothing to show any more; the others may go on.
    for thread in numbers_in(&format!("{process}/task"))? {
        if look_at_thread(&format!("{process}/task/{thread}"), entry)? == Look::Marked {
            return Ok(Look::Marked);
        }
    }
    Ok(Look::Foreign)
}

/// Before `exec` has written them there are neither environment nor arguments. After a thread's end
/// there are none either, and newer kernels say ESRCH.
fn look_at_thread(thread: &str, entry: &[u8]) -> io::Result<Look> {
    let read = |file: &str| match fs::read(format!("{thread}/{file}")) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(Some(Vec::new())),
        read => unless_hidden(read),
    };
    let Some(environment) = read("environ")? else {
        return Ok(Look::Foreign);
    };
    let mut variables = environment.split(|&byte| byte == 0);
    if variables.any(|variable| variable == entry) {
        return Ok(Look::Marked);
    }
    if !environment.is_empty() {
        return Ok(Look::Foreign);
    }
    Ok(match read("cmdline")? {
        Some(arguments) if arguments.is_empty() => Look::InExec,
        // What was looked at first may have been what `exec` has replaced meanwhile.
        Some(_) if read("environ")?.is_some_and(|now| !now.is_empty()) => Look::InExec,
        _ => Look::Foreign,
    })
}
