//! Makes recordings: a server program of any version, a shim that is its own, and between them
//! somebody who writes down what they say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use descartes_core::AgentId;
use descartes_core::protocol::AgentConfig;
use descartes_testkit::{Client, shell, signal, socket_endpoint, soon};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixDatagram, UnixListener, UnixStream};
use tokio::sync::watch;

use super::recording::{folder, line, read_frame, write_frame};
use super::scenarios::{READY, Scenario};
use super::world::{Server, World};

const BACKENDS: &str = r#"
[runner]
use_cgroups = false
orphan_timeout_secs = 120
stdin_bytes = 1000
[backends.sh]
command = "sh"
args = ["-c", "{task}"]
stdin = "pipe"
parser = "text"
[backends.polite]
command = "sh"
args = ["-c", "{task}"]
stdin = "pipe"
parser = "text"
pause_signal = "SIGUSR1"
resume_signal = "SIGUSR2"
"#;

/// A server program in a folder of its own, running or not.
pub(crate) struct Program {
    binary: PathBuf,
    dir: TempDir,
    child: Option<Child>,
}

impl Program {
    fn new(binary: PathBuf) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            binary,
            dir,
            child: None,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits until it serves.
    #[expect(clippy::disallowed_methods, reason = "a server is no agent")]
    pub(crate) async fn start(mut self) -> Self {
        let path = |name| self.dir.path().join(name);
        let endpoint = socket_endpoint(self.dir.path());
        let state = path("state").display().to_string();
        let head = format!(
            "endpoint = \"{endpoint}\"\nserver_id = \"test-server\"\nstate_dir = \"{state}\"\n"
        );
        std::fs::write(path("server.toml"), head + BACKENDS).unwrap();
        let _ = std::fs::remove_file(path("notify.sock"));
        let notifications = UnixDatagram::bind(path("notify.sock")).unwrap();
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(path("server.toml"));
        command.env_clear().env("PATH", "/usr/bin:/bin");
        command.env("NOTIFY_SOCKET", path("notify.sock"));
        command.current_dir("/").stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let mut told = [0; 4096];
        let length = soon("the server", notifications.recv(&mut told)).await;
        assert!(told[..length.unwrap()].starts_with(b"READY=1"));
        self
    }

    /// Ends it as a crash would.
    pub(crate) fn crash(mut self) -> Self {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        self
    }

    /// Ends it in order, its agents with it.
    pub(crate) async fn terminate(mut self) -> Self {
        let mut child = self.child.take().expect("it runs");
        signal(child.id().try_into().unwrap(), "TERM");
        let ending = async {
            while child.try_wait().unwrap().is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon("the server's end", ending).await;
        self
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Plays a scenario with this server program and the shim that it brings, and writes down what was
/// said. Returns the version of the shim's socket.
pub(crate) async fn record(scenario: &Scenario, binary: &Path) -> u32 {
    let program = Program::new(binary.to_owned()).start().await;
    let agent = spawn(scenario, &program).await;
    let dir = program.dir().join(format!("state/agents/{agent}"));
    // What comes is said on the socket that somebody can get between, as to any later server.
    let program = program.crash();
    let notes = Notes::default();
    for name in ["spec.json", "state.json"] {
        notes.file(name, &std::fs::read_to_string(dir.join(name)).unwrap());
    }
    let watching = listen_between(&dir, notes.clone());
    let server = Server::Program(program.start().await);
    let state: Value = parse(&dir.join("state.json"));
    let pid = state["pid"].as_u64().unwrap();
    let mut world = World::new(server, agent, pid, watching).await;
    (scenario.play)(&mut world).await;
    wait_until_unlocked(&dir).await;
    notes.file(
        "exit.json",
        &std::fs::read_to_string(dir.join("exit.json")).unwrap(),
    );
    for stream in ["stdout", "stderr"] {
        notes.output(&dir, stream);
    }
    world.close().await;
    // The first version did not say in its record which it was.
    let version = u32::try_from(state["wire_version"].as_u64().unwrap_or(1)).unwrap();
    assert!(version >= scenario.since);
    std::fs::create_dir_all(folder(version)).unwrap();
    let path = folder(version).join(format!("{}.jsonl", scenario.name));
    std::fs::write(path, notes.text()).unwrap();
    version
}

async fn spawn(scenario: &Scenario, program: &Program) -> AgentId {
    let client = Client::connect(&socket_endpoint(program.dir())).await;
    let config = AgentConfig {
        model_backend: scenario.backend.to_owned(),
        stdin: Some(scenario.stdin),
        ..shell(scenario.script)
    };
    let agent = client.try_spawn(config).await.agent_info.unwrap().id;
    client.wait_ready(agent).await;
    agent
}

/// Takes the place of the shim's socket and hands on what is said there.
fn listen_between(dir: &Path, notes: Notes) -> watch::Receiver<Option<bool>> {
    let behind = dir.join("shim.sock");
    std::fs::rename(dir.join("control.sock"), &behind).unwrap();
    let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
    let (watching, said) = watch::channel(None);
    tokio::spawn(async move {
        while let Ok((server, _)) = listener.accept().await {
            notes.add("{\"from\":\"server\",\"connects\":true}");
            watching.send_replace(None);
            let shim = UnixStream::connect(&behind).await.unwrap();
            let (from_server, to_server) = server.into_split();
            let (from_shim, to_shim) = shim.into_split();
            let (heard, watching) = (notes.clone(), watching.clone());
            tokio::spawn(hand_on(
                "server",
                from_server,
                to_shim,
                move |header, data| {
                    heard.add(&line("server", header, data));
                    let header: Value = serde_json::from_str(header).unwrap();
                    if let Some(watches) = header["command"]["watch"].as_bool() {
                        watching.send_replace(Some(watches));
                    }
                },
            ));
            let heard = notes.clone();
            tokio::spawn(hand_on(
                "shim",
                from_shim,
                to_server,
                move |header, data| {
                    heard.add(&line("shim", header, data));
                },
            ));
        }
    });
    said
}

/// Each frame is written down before it is handed on, so nothing stands before what it follows
/// from.
async fn hand_on(
    who: &str,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    write_down: impl Fn(&str, &[u8]),
) {
    while let Ok(Some((header, data))) = read_frame(&mut from).await {
        write_down(&header, &data);
        if write_frame(&mut to, &header, &data).await.is_err() {
            eprintln!("what the {who} said last found nobody");
        }
    }
    let _ = to.shutdown().await;
}

/// The lines of a recording.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<String>>);

impl Notes {
    fn add(&self, line: &str) {
        writeln!(self.0.lock().unwrap(), "{line}").unwrap();
    }

    fn file(&self, name: &str, content: &str) {
        self.add(&format!("{{\"file\":\"{name}\",\"content\":{content}}}"));
    }

    /// The one segment of a stream: a scenario's agent says little.
    fn output(&self, dir: &Path, stream: &str) {
        let name = format!("{stream}/{:020}", 0);
        if let Ok(content) = std::fs::read_to_string(dir.join(&name)) {
            assert!(stream != "stdout" || content.starts_with(READY));
            self.file(&name, &Value::from(content).to_string());
        }
    }

    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

/// Waits until no shim holds the folder.
pub(crate) async fn wait_until_unlocked(dir: &Path) {
    let lock = std::fs::File::open(dir.join("lock")).unwrap();
    let unlocked = async {
        while flock(&lock, FlockOperation::NonBlockingLockShared).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("the shim's end", unlocked).await;
}

fn parse(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
