//! The real program, in a folder of its own.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use tempfile::TempDir;

/// Far more than anything here takes: a test that fails shall not hang.
const PATIENCE: Duration = Duration::from_mins(1);

/// A folder with what a server needs.
pub(crate) struct Place {
    dir: TempDir,
}

/// A server that runs, and the socket on which it tells its service manager how it is.
pub(crate) struct Server {
    child: Child,
    notifications: UnixDatagram,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program, with a file that holds `config` and none of this process's environment.
    pub(crate) fn command(&self, config: &str) -> Command {
        let file = self.path().join("server.toml");
        std::fs::write(&file, config).expect("the file is written");
        let mut command = program();
        command.arg("--config").arg(file);
        command.env("XDG_STATE_HOME", self.path());
        command
    }

    /// Starts a server on sockets in the folder, and waits until it is ready.
    pub(crate) fn serve(&self) -> Server {
        let mut command = self.command(&self.config());
        command.stderr(Stdio::piped());
        let server = self.start(command);
        let told = server.notification();
        assert!(told.starts_with("READY=1\n"), "{told}");
        assert!(told.contains(&self.endpoint()), "{told}");
        server
    }

    /// Starts a server on a free port, in whose backend `sh` a task is a shell script, and waits until it is ready.
    /// Started again, it has another port and finds its agents. Its log is shown where the test fails.
    pub(crate) fn serve_on_tcp(&self) -> (Server, SocketAddr) {
        let config = format!(
            "endpoint = \"tcp://127.0.0.1:0\"\nstate_dir = \"{}\"\n\
             [runner]\nuse_cgroups = false\norphan_timeout_secs = 120\n\
             [backends.sh]\ncommand = \"/bin/sh\"\nargs = [\"-c\", \"{{task}}\"]\n",
            self.path().join("state").display()
        );
        let mut command = self.command(&config);
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        let log = File::options().create(true).append(true).open(self.log());
        command.stderr(log.expect("a file for the log"));
        let server = self.start(command);
        let told = server.notification();
        let address = told
            .lines()
            .find_map(|line| line.strip_prefix("STATUS=serving on tcp://"));
        let address = address.and_then(|address| address.parse().ok());
        (server, address.unwrap_or_else(|| panic!("{told}")))
    }

    /// A file that a server of this folder keeps of an agent.
    pub(crate) fn agent_file(&self, agent: &str, name: &str) -> PathBuf {
        let agents = self.path().join("state/agents");
        agents.join(agent).join(name)
    }

    /// A configuration with sockets in the folder.
    pub(crate) fn config(&self) -> String {
        format!(
            "endpoint = \"{}\"\n[runner]\nuse_cgroups = false\n",
            self.endpoint()
        )
    }

    fn endpoint(&self) -> String {
        format!("ipc://{}/requests.sock", self.path().display())
    }

    fn log(&self) -> PathBuf {
        self.path().join("server.log")
    }

    fn start(&self, mut command: Command) -> Server {
        let socket = self.path().join("notify.sock");
        // That of the server before.
        let _ = std::fs::remove_file(&socket);
        let notifications = UnixDatagram::bind(&socket).expect("a socket");
        let limited = notifications.set_read_timeout(Some(PATIENCE));
        limited.expect("a minute is a timeout");
        command.env("NOTIFY_SOCKET", socket);
        command.stdout(Stdio::piped());
        Server {
            child: command.spawn().expect("the program starts"),
            notifications,
        }
    }
}

impl Server {
    /// The next word to the service manager.
    pub(crate) fn notification(&self) -> String {
        let mut buffer = [0; 4096];
        let received = self.notifications.recv(&mut buffer);
        let length = received.expect("a word within a minute");
        text(buffer[..length].to_vec())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it has ended");
    }

    /// Closes the log's reading end.
    pub(crate) fn close_log(&mut self) {
        self.child.stderr = None;
    }

    /// Reads the log up to a line that contains `text`.
    pub(crate) fn wait_for_log(&mut self, text: &str) {
        let mut log =
            BufReader::with_capacity(1, self.child.stderr.as_mut().expect("the log is open"));
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            let length = log.read_line(&mut line).expect("the log is text");
            assert!(length > 0, "no line has {text}");
        }
    }

    /// Waits for the end. Returns what was written to stdout.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let descriptor =
            pidfd_open(self.pid(), PidfdFlags::empty()).expect("it is not waited for yet");
        let mut waiting = [PollFd::new(&descriptor, PollFlags::IN)];
        let patience = Timespec::try_from(PATIENCE).expect("a minute");
        assert_eq!(poll(&mut waiting, Some(&patience)), Ok(1), "it goes on");
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().expect("stdout is piped");
        stdout.read_to_string(&mut text).expect("stdout is text");
        (self.child.wait().expect("it has ended"), text)
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Place {
    #[expect(clippy::print_stdout, reason = "it says why a test fails")]
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(log) = std::fs::read_to_string(self.log())
        {
            println!("{log}");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, unless the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that ends by itself. Returns its exit code, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> (i32, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().expect("the program starts");
    (
        status.code().expect("no signal ended it"),
        text(stdout),
        text(stderr),
    )
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("it is text")
}

/// The program alone.
#[expect(
    clippy::disallowed_methods,
    reason = "a test starts the program as a shell would, not as an agent"
)]
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_descartes-server"));
    command.env_clear();
    command
}
