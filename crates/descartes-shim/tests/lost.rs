//! Processes of an agent without a shim: by mark and session, and never the server that the agent has
//! started itself.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use descartes_shim::tree::{self, Process};
use rustix::process::Signal;

/// Says that this is the process that a test has started to be run in.
const IS_BELOW: &str = "DESCARTES_TEST_IS_BELOW";

/// A process, killed at the end however the test ends.
struct Sleeper(Child);

impl Sleeper {
    /// One with this mark, or with no environment at all.
    fn start(mark: Option<&str>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "no shim is involved")]
        let mut command = Command::new("/bin/sleep");
        command.arg("1000").env_clear();
        command.envs(mark.map(|mark| (tree::AGENT_ID_VARIABLE, mark)));
        let child = command.spawn().unwrap();
        let arguments = format!("/proc/{}/cmdline", child.id());
        while !std::fs::read(&arguments)
            .unwrap()
            .starts_with(b"/bin/sleep")
        {
            std::thread::yield_now();
        }
        Self(child)
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pids(mut processes: Vec<Process>) -> Vec<i32> {
    processes.sort_by_key(|process| process.pid);
    processes.iter().map(|process| process.pid).collect()
}

/// Runs `test` again in a process of its own with `test` as its mark, and there `look`, which gets
/// that process's parent: the leader of its session, without the mark and without another child.
fn below_a_leader(test: &str, look: impl FnOnce(Process)) {
    if std::env::var_os(IS_BELOW).is_some() {
        let leader = rustix::process::getppid().unwrap().as_raw_pid();
        look(Process::look_at(leader).unwrap().unwrap());
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "no shim is involved")]
    let mut leader = Command::new("setsid");
    leader
        .args(["sh", "-c", "env \"$@\"; exit $?", "sh"])
        .arg(format!("{}={test}", tree::AGENT_ID_VARIABLE))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(IS_BELOW, "1");
    assert!(leader.status().unwrap().success());
}

/// What is below it and has the mark itself is the agent's all the same: where this process is a
/// container's first, whatever has lost its parent is below it.
#[test]
fn a_process_finds_neither_itself_nor_what_is_only_below_itself() {
    let name = "a_process_finds_neither_itself_nor_what_is_only_below_itself";
    below_a_leader(name, |leader| find_marked(name, leader));
}

fn find_marked(mark: &str, leader: Process) {
    let own = std::process::id().cast_signed();
    let template = Sleeper::start(None);
    let below_leader = || tree::descendants(leader.pid).found;
    assert_eq!(below_leader(), []);
    assert_eq!(pids(tree::descendants(own).found), [template.pid()]);

    let orphan = Sleeper::start(Some(mark));
    let search = || tree::search(mark).found;
    assert_eq!(pids(search()), [orphan.pid()]);
    let halted = tree::halt(|| [search(), below_leader()].concat()).processes;
    assert_eq!(pids(halted), [orphan.pid()]);
}

/// Starts the leader of a session, with a child, and returns it with the child's pid.
fn start_session() -> (Sleeper, i32) {
    #[expect(clippy::disallowed_methods, reason = "no shim is involved")]
    let mut command = Command::new("setsid");
    let script = "sleep 1000 & echo $!; exec sleep 1000";
    let command = command.args(["sh", "-c", script]).stdout(Stdio::piped());
    let mut leader = command.spawn().unwrap();
    let mut line = String::new();
    let mut said = BufReader::new(leader.stdout.take().unwrap());
    said.read_line(&mut line).unwrap();
    (Sleeper(leader), line.trim().parse().unwrap())
}

#[test]
fn the_members_of_a_session_are_found_as_long_as_its_leader_is_there() {
    let (mut leader, child) = start_session();
    let key = Process::look_at(leader.pid()).unwrap().unwrap().key();
    // Also below this process: where it is a container's first, all orphans are.
    let mut expected = [leader.pid(), child];
    expected.sort_unstable();
    assert_eq!(pids(tree::session(key).found), expected);
    let child = Process::look_at(child).unwrap().unwrap();

    leader.0.kill().unwrap();
    leader.0.wait().unwrap();
    let after = pids(tree::session(key).found);
    let is_left = child.key().look().unwrap().is_some();
    child.signal(Signal::KILL).unwrap();
    assert_eq!((after, is_left), (vec![], true));
}

#[test]
fn a_process_in_a_session_finds_neither_itself_nor_what_is_below_itself() {
    let name = "a_process_in_a_session_finds_neither_itself_nor_what_is_below_itself";
    below_a_leader(name, |leader| {
        let _below = Sleeper::start(None);
        let found = pids(tree::session(leader.key()).found);
        assert_eq!(found, [leader.pid]);
    });
}
