//! Processes of an agent without a shim: by mark and session, and never the server that the agent has
//! started itself.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use descartes_shim::tree::{self, Process};
use rustix::process::Signal;

const MARK: &str = "agent-marked-1";

/// Says that this is the test's second process, and which the first is.
const FIRST: &str = "DESCARTES_TEST_FIRST";

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

/// What is below it and has the mark itself is the agent's all the same: where this process is a
/// container's first, whatever has lost its parent is below it.
#[test]
fn a_process_finds_neither_itself_nor_what_is_only_below_itself() {
    if let Ok(first) = std::env::var(FIRST) {
        find(first.parse().unwrap());
        return;
    }
    #[expect(clippy::disallowed_methods, reason = "no shim is involved")]
    let mut second = Command::new(std::env::current_exe().unwrap());
    second
        .args(["--exact", "--nocapture"])
        .arg("a_process_finds_neither_itself_nor_what_is_only_below_itself")
        .env(FIRST, std::process::id().to_string())
        .env(tree::AGENT_ID_VARIABLE, MARK);
    assert!(second.status().unwrap().success());
}

/// The second process, which has the mark, below the first.
fn find(first: i32) {
    let own = std::process::id().cast_signed();
    assert_eq!(std::env::var(tree::AGENT_ID_VARIABLE).unwrap(), MARK);
    let template = Sleeper::start(None);
    let below_first = || tree::descendants(first).found;
    assert_eq!(below_first(), []);
    assert_eq!(pids(tree::descendants(own).found), [template.pid()]);

    let orphan = Sleeper::start(Some(MARK));
    let search = || tree::search(MARK).found;
    assert_eq!(pids(search()), [orphan.pid()]);
    let halted = tree::halt(|| [search(), below_first()].concat()).processes;
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
    let leader = rustix::process::getsid(None).unwrap().as_raw_pid();
    let Some(leader) = Process::look_at(leader).unwrap() else {
        eprintln!("skipped: the leader of this session is not to be seen");
        return;
    };
    let sleeper = Sleeper::start(None);
    let found = pids(tree::session(leader.key()).found);
    let own = std::process::id().cast_signed();
    assert!(
        !found.contains(&own) && !found.contains(&sleeper.pid()),
        "{found:?}"
    );
}
