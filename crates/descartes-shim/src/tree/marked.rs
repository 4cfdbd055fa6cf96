//! Finds the processes of an agent by the mark in their environment.

use std::fs;
use std::path::Path;

use super::{AGENT_ID_VARIABLE, Process, all_pids, below, parse_stat};

/// Flag of a thread of the kernel's own (`PF_KTHREAD`, `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// What a look at all processes has shown.
#[derive(Debug)]
pub struct Search {
    /// Living processes that carry the agent's id in their environment, and all below them,
    /// parents before their children.
    pub found: Vec<Process>,
    /// Whether another process was in the middle of `exec`, when it has no environment to look
    /// into, and so may be the agent's.
    pub unsure: bool,
}

/// Looks for the processes of an agent whose shim has died.
///
/// It reads the environment of every process that this user may look into. What has cleared its
/// environment is found as long as an ancestor that has not is alive.
#[must_use]
pub fn search(agent_id: &str) -> Search {
    let entry = format!("{AGENT_ID_VARIABLE}={agent_id}");
    let mut found = Vec::new();
    let mut unsure = false;
    for pid in all_pids() {
        match look(pid, entry.as_bytes()) {
            Look::Marked => {
                let process = Process::read(pid).filter(|process| !process.is_dead());
                // Only now is it known that both are said of the same process.
                if look(pid, entry.as_bytes()) == Look::Marked {
                    found.extend(process);
                } else {
                    unsure = true;
                }
            }
            Look::Foreign => {}
            Look::InExec => unsure = true,
        }
    }
    let roots: Vec<i32> = found.iter().map(|process| process.pid).collect();
    found.extend(below(&roots));
    Search { found, unsure }
}

/// What a process's environment says of whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    Marked,
    Foreign,
    InExec,
}

fn look(pid: i32, entry: &[u8]) -> Look {
    let process = format!("/proc/{pid}");
    match look_at_thread(Path::new(&process), entry) {
        Look::InExec => {}
        clear => return clear,
    }
    let stat = fs::read(format!("{process}/stat")).ok();
    let Some(stat) = stat.and_then(|stat| parse_stat(pid, &stat)) else {
        return Look::Foreign;
    };
    if stat.flags & KERNEL_THREAD != 0 {
        return Look::Foreign;
    }
    if !stat.process.is_dead() {
        return Look::InExec;
    }
    // Its first thread has ended, and has nothing to show any more; the others may go on.
    let threads = fs::read_dir(format!("{process}/task"));
    let looks = threads.into_iter().flatten().flatten();
    let mut looks = looks.map(|thread| look_at_thread(&thread.path(), entry));
    looks
        .find(|&look| look == Look::Marked)
        .unwrap_or(Look::Foreign)
}

/// Before `exec` has written them there are neither environment nor arguments. After a thread's end
/// there are none either, and newer kernels say ESRCH.
fn look_at_thread(thread: &Path, entry: &[u8]) -> Look {
    let read = |file: &str| match fs::read(thread.join(file)) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Some(Vec::new()),
        read => read.ok(),
    };
    let Some(environment) = read("environ") else {
        return Look::Foreign;
    };
    let mut variables = environment.split(|&byte| byte == 0);
    if variables.any(|variable| variable == entry) {
        return Look::Marked;
    }
    if !environment.is_empty() {
        return Look::Foreign;
    }
    match read("cmdline") {
        Some(arguments) if arguments.is_empty() => Look::InExec,
        // What was looked at first may have been what `exec` has replaced meanwhile.
        Some(_) if read("environ").is_some_and(|now| !now.is_empty()) => Look::InExec,
        _ => Look::Foreign,
    }
}
