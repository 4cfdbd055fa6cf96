//! A shim, its template and its agent, as real processes, over the real socket.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_shim::record::{self, EndReason, Exit, Limits, Spec, Stdin};
use descartes_shim::segments;
use descartes_shim::template::Template;
use descartes_shim::tree;
use descartes_shim::wire::{self, Command, Hello, Message, Outcome, Request};

struct Agent {
    dir: PathBuf,
    server: Server,
}

/// The server's side of one connection.
struct Server {
    stream: UnixStream,
    decoder: wire::Decoder,
    next_id: u64,
}

impl Server {
    fn new(stream: UnixStream) -> Self {
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        Self {
            stream,
            decoder: wire::Decoder::default(),
            next_id: 1,
        }
    }

    fn read(&mut self) -> Message {
        loop {
            if let Some((message, _)) = self.decoder.next_frame().unwrap() {
                return message;
            }
            let mut buffer = [0; 4096];
            let count = self.stream.read(&mut buffer).unwrap();
            assert!(count > 0, "the shim closed the connection");
            self.decoder.push(&buffer[..count]);
        }
    }

    fn hello(&mut self) -> Hello {
        match self.read() {
            Message::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&mut self, command: Command, data: &[u8]) -> Outcome {
        let id = self.next_id;
        self.next_id += 1;
        let request = wire::encode(&Request { id, command }, data);
        self.stream.write_all(&request).unwrap();
        loop {
            if let Message::Reply { id: of, outcome } = self.read() {
                assert_eq!(of, id);
                return outcome;
            }
        }
    }

    fn ended(&mut self) -> Exit {
        loop {
            if let Message::Ended(exit) = self.read() {
                return exit;
            }
        }
    }
}

fn spec(dir: &Path, script: &str) -> Spec {
    let id = dir.file_name().unwrap().to_str().unwrap().to_owned();
    Spec {
        version: record::VERSION,
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: BTreeMap::from([
            ("PATH".to_owned(), "/usr/bin:/bin".to_owned()),
            (tree::AGENT_ID_VARIABLE.to_owned(), id.clone()),
        ]),
        agent_id: id,
        working_dir: "/".into(),
        stdin: Stdin::Pipe {
            first: String::new(),
            close: false,
        },
        stop_signal: 15,
        pause_signals: None,
        descriptors_soft: None,
        cgroup: None,
        cgroup_limits: BTreeMap::new(),
        limits: Limits {
            max_runtime_ms: None,
            idle_timeout_ms: None,
            orphan_timeout_ms: None,
            stop_grace_ms: 20_000,
            output_bytes_max: 1 << 20,
            stdin_bytes_max: 1 << 20,
        },
        owner: serde_json::Value::Null,
    }
}

fn launch(template: &Template, spec: &Spec, dir: &Path) -> Agent {
    std::fs::create_dir_all(dir).unwrap();
    let folder = File::open(dir).unwrap();
    record::write(&folder, record::SPEC, spec).unwrap();
    let lock = File::create(dir.join(record::LOCK)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    template
        .start_shim(folder.as_fd(), lock.as_fd(), theirs.as_fd())
        .unwrap();
    Agent {
        dir: dir.to_owned(),
        server: Server::new(ours),
    }
}

/// Sets one limit.
type Set = fn(&mut Limits);

fn is_locked(dir: &Path) -> bool {
    let lock = File::open(dir.join(record::LOCK)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err()
}

#[test]
fn an_agents_output_and_exit_code_are_on_disk_before_it_is_told() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-1");
    let template = Template::start().unwrap();
    let spec = spec(&dir, "echo out; echo err >&2; exit 7");
    let mut agent = launch(&template, &spec, &dir);
    agent.server.hello();
    let exit = agent.server.ended();
    assert_eq!(exit.exit_code, Some(7));
    assert_eq!(exit.reason, EndReason::Exited);
    let recorded: Exit = record::read(&agent.dir, record::EXIT).unwrap().unwrap();
    assert_eq!(recorded, exit);
    assert_eq!(
        segments::read(&dir.join("stdout"), 0, 100).unwrap().data,
        b"out\n"
    );
    assert_eq!(
        segments::read(&dir.join("stderr"), 0, 100).unwrap().data,
        b"err\n"
    );
}

#[test]
fn an_agent_outlives_template_and_server_and_is_found_again() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-2");
    let template = Template::start().unwrap();
    let spec = spec(&dir, "read line; echo got $line; exit 3");
    let mut agent = launch(&template, &spec, &dir);
    let before = agent.server.hello();
    drop(template);
    drop(agent);
    assert!(is_locked(&dir));
    let stream = UnixStream::connect(dir.join(record::SOCKET)).unwrap();
    let mut server = Server::new(stream);
    let after = server.hello();
    assert_eq!(after.state, before.state);
    let command = Command::Write {
        offset: Some(0),
        close: true,
    };
    let outcome = server.ask(command, b"hello\n");
    assert!(
        matches!(
            outcome,
            Outcome::Written {
                taken: 6,
                complete: true,
                ..
            }
        ),
        "{outcome:?}"
    );
    assert_eq!(server.ended().exit_code, Some(3));
    assert_eq!(
        segments::read(&dir.join("stdout"), 0, 100).unwrap().data,
        b"got hello\n"
    );
}

#[test]
fn a_later_server_knows_how_much_each_writer_has_written() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-10");
    let template = Template::start().unwrap();
    let mut agent = launch(&template, &spec(&dir, "exec cat"), &dir);
    assert_eq!(agent.server.hello().state.wire_version, wire::VERSION);
    let write = |writer: &str, offset, close| Command::WriteFrom {
        writer: writer.to_owned(),
        offset,
        close,
    };
    let taken = |taken, total| Outcome::Written {
        taken,
        total,
        complete: true,
    };
    let server = &mut agent.server;
    assert_eq!(server.ask(write("a", 0, false), b"a1 "), taken(3, 3));
    assert_eq!(server.ask(write("b", 0, false), b"b1 "), taken(3, 6));
    let stream = UnixStream::connect(dir.join(record::SOCKET)).unwrap();
    let mut later = Server::new(stream);
    later.hello();
    drop(agent);
    assert_eq!(later.ask(write("a", 0, false), b"a1 "), taken(3, 6));
    assert_eq!(later.ask(write("a", 3, false), b"a2 "), taken(3, 9));
    assert_eq!(later.ask(write("b", 0, true), b"b1 "), taken(3, 9));
    later.ended();
    let output = segments::read(&dir.join("stdout"), 0, 100).unwrap();
    assert_eq!(output.data, b"a1 b1 a2 ");
}

#[test]
fn a_record_of_the_first_shims_means_the_first_version_of_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let record = r#"{"version":1,"pid":1,"start_time":1,"shim_pid":2,"shim_start_time":1,"boot_id":"",
        "pid_namespace":1,"cgroup":null,"started_at":{"secs":0,"nanos":0}}"#;
    std::fs::write(dir.path().join(record::STATE), record).unwrap();
    let state: record::State = record::read(dir.path(), record::STATE).unwrap().unwrap();
    assert_eq!(state.wire_version, 1);
}

#[test]
fn the_first_shims_do_not_say_what_is_lost() {
    let mut decoder = wire::Decoder::default();
    let said = serde_json::json!({"output": {"stdout": 3, "stderr": 5}});
    decoder.push(&wire::encode(&said, &[]));
    let Some((Message::Output(sizes), _)) = decoder.next_frame().unwrap() else {
        panic!("no sizes");
    };
    assert_eq!((sizes.stdout, sizes.stderr), (3, 5));
    assert_eq!((sizes.stdout_lost, sizes.stderr_lost), (0, 0));
}

#[test]
fn a_stop_leaves_no_process_even_of_those_that_ignore_it_or_left_the_session() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-stop-3");
    let template = Template::start().unwrap();
    let script = "setsid sh -c 'trap \"\" TERM; (trap \"\" TERM; sleep 1000) & sleep 1000' &
                  echo ready; trap '' TERM; sleep 1000";
    let mut agent = launch(&template, &spec(&dir, script), &dir);
    agent.server.hello();
    agent.server.ask(Command::Watch(true), &[]);
    while !matches!(agent.server.read(), Message::Output(sizes) if sizes.stdout > 0) {}
    let stop = Command::Stop {
        grace_ms: Some(200),
        reason: EndReason::Stopped,
    };
    let Outcome::Ended(exit) = agent.server.ask(stop, &[]) else {
        panic!("no end");
    };
    assert_eq!((exit.reason, exit.forced), (EndReason::Stopped, true));
    assert_eq!(tree::search("agent-stop-3").found, []);
}

#[test]
fn a_paused_tree_stands_still_until_it_is_resumed() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-pause-4");
    let template = Template::start().unwrap();
    let script = "setsid sh -c 'while :; do echo x; done' & sleep 1000";
    let mut agent = launch(&template, &spec(&dir, script), &dir);
    agent.server.hello();
    agent.server.ask(Command::Watch(true), &[]);
    while !matches!(agent.server.read(), Message::Output(_)) {}
    let outcome = agent
        .server
        .ask(Command::Pause(wire::PauseHow::Forced), &[]);
    assert!(
        matches!(outcome, Outcome::Paused(paused) if paused.forced),
        "{outcome:?}"
    );
    let processes = tree::search("agent-pause-4").found;
    assert!(processes.len() >= 3);
    assert!(
        processes.iter().all(tree::Process::is_stopped),
        "{processes:?}"
    );
    assert_eq!(agent.server.ask(Command::Resume, &[]), Outcome::Done);
    while !matches!(agent.server.read(), Message::Output(_)) {}
    let kill = Command::Kill {
        reason: EndReason::Killed,
    };
    let Outcome::Ended(exit) = agent.server.ask(kill, &[]) else {
        panic!("no end");
    };
    assert_eq!(exit.exit_signal, Some(9));
    assert_eq!(tree::search("agent-pause-4").found, []);
}

#[test]
fn an_agent_that_ends_with_its_stdin_full_is_not_lost() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-full-9");
    let template = Template::start().unwrap();
    let mut agent = launch(&template, &spec(&dir, "sleep 1000"), &dir);
    agent.server.hello();
    let write = Command::Write {
        offset: None,
        close: false,
    };
    let outcome = agent.server.ask(write, &vec![b'x'; 500_000]);
    assert!(
        matches!(outcome, Outcome::Written { complete: true, .. }),
        "{outcome:?}"
    );
    let stop = Command::Stop {
        grace_ms: None,
        reason: EndReason::Stopped,
    };
    let Outcome::Ended(exit) = agent.server.ask(stop, &[]) else {
        panic!("no end");
    };
    assert_eq!(
        (exit.reason, exit.exit_signal),
        (EndReason::Stopped, Some(15))
    );
}

#[test]
fn a_program_that_cannot_be_executed_is_told_with_its_error_number() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("agent-5");
    let template = Template::start().unwrap();
    let mut spec = spec(&dir, "");
    spec.program = "/nowhere/program".into();
    let mut agent = launch(&template, &spec, &dir);
    let Message::Failed(failure) = agent.server.read() else {
        panic!("it started");
    };
    assert_eq!(failure.errno, Some(2));
    assert_eq!(failure.action, "execute /nowhere/program");
}

#[test]
fn the_time_limits_hold_without_a_server() {
    let root = tempfile::tempdir().unwrap();
    let template = Template::start().unwrap();
    let cases: [(&str, Set, EndReason); 3] = [
        (
            "agent-6",
            |limits| limits.max_runtime_ms = Some(300),
            EndReason::Timeout,
        ),
        (
            "agent-7",
            |limits| limits.idle_timeout_ms = Some(300),
            EndReason::IdleTimeout,
        ),
        (
            "agent-8",
            |limits| limits.orphan_timeout_ms = Some(300),
            EndReason::Orphaned,
        ),
    ];
    for (name, set, reason) in cases {
        let dir = root.path().join(name);
        let mut spec = spec(&dir, "exec sleep 1000");
        set(&mut spec.limits);
        let mut agent = launch(&template, &spec, &dir);
        agent.server.hello();
        drop(agent);
        // Blocks until the shim gives the lock up, which it does last.
        let lock = File::open(dir.join(record::LOCK)).unwrap();
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        let exit: Exit = record::read(&dir, record::EXIT).unwrap().unwrap();
        assert_eq!((exit.reason, exit.exit_signal), (reason, Some(15)));
    }
}
