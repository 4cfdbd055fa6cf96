//! A server with one agent, in which a scenario is played: for real or from a recording.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use descartes_core::protocol::{
    AgentId, AgentInfo, AgentStatus, Command, CommandResponse, ControlCommand, ErrorCode, Raw,
    Reply, Request, StdinPosition, Stream,
};
use descartes_testkit::{Client, TestServer, config, socket_endpoint, soon};
use tempfile::TempDir;
use tokio::sync::watch;

use super::record::Program;

/// What a scenario has to do with.
pub(crate) struct World {
    pub(crate) agent: AgentId,
    /// The agent's pid, as its record has it.
    pub(crate) pid: u64,
    client: Client,
    server: Option<Server>,
    watching: watch::Receiver<Option<bool>>,
}

/// The server of a [`World`].
pub(crate) enum Server {
    /// Today's, in this process.
    Here(TestServer),
    /// One of any version.
    Program(Program),
}

impl World {
    pub(crate) async fn new(
        server: Server,
        agent: AgentId,
        pid: u64,
        watching: watch::Receiver<Option<bool>>,
    ) -> Self {
        let mut world = Self {
            agent,
            pid,
            client: server.client().await,
            server: Some(server),
            watching,
        };
        // What it says by itself comes before what it is asked for.
        world.server_watches(false).await;
        world
    }

    /// Ends the server as a crash would and starts it again.
    pub(crate) async fn crash(&mut self) {
        self.crash_and_lose(&[]).await;
    }

    /// As [`World::crash`], and meanwhile files go from the agent's folder.
    pub(crate) async fn crash_and_lose(&mut self, files: &[&str]) {
        let agent = format!("agents/{}", self.agent);
        let lose = |state_dir: &Path| {
            for file in files {
                std::fs::remove_file(state_dir.join(&agent).join(file)).unwrap();
            }
        };
        let next = match self.server.take() {
            Some(Server::Here(test)) => Server::Here(
                test.crash_and_restart(async |state_dir| lose(state_dir))
                    .await,
            ),
            Some(Server::Program(program)) => {
                let program = program.crash();
                lose(&program.dir().join("state"));
                Server::Program(program.start().await)
            }
            None => panic!("an earlier start failed"),
        };
        self.go_on_with(next).await;
        self.server_watches(false).await;
    }

    /// Ends the server in order, its agent with it, and starts it again.
    pub(crate) async fn shut_down(&mut self) {
        let next = match self.server.take() {
            Some(Server::Here(test)) => Server::here(test.stop_and_keep().await).await,
            Some(Server::Program(program)) => {
                Server::Program(program.terminate().await.start().await)
            }
            None => panic!("an earlier start failed"),
        };
        self.go_on_with(next).await;
    }

    /// Ends the server for good.
    pub(crate) async fn close(mut self) {
        match self.server.take() {
            Some(Server::Here(test)) => test.stop().await,
            Some(Server::Program(program)) => drop(program.terminate().await),
            None => {}
        }
    }

    async fn go_on_with(&mut self, server: Server) {
        self.client = server.client().await;
        self.server = Some(server);
    }

    /// Gives a command without waiting for its reply.
    pub(crate) async fn begin(&self, name: &str, command: &Command) {
        let request = ControlCommand {
            request_id: name.to_owned(),
            agent_id: self.agent,
            command_type: command.command_type().to_owned(),
            payload: command.payload(),
        };
        self.client.send(Request::from(request).encode()).await;
    }

    /// The next reply, and to which command it is.
    pub(crate) async fn reply(&self) -> (String, CommandResponse) {
        match self.client.reply().await {
            Reply::Command(response) => (response.request_id.clone(), response),
            other => panic!("{other:?}"),
        }
    }

    /// Gives a command that has to succeed.
    pub(crate) async fn done(&self, command: &Command) -> Raw {
        self.client.done(self.agent, command).await
    }

    /// Gives a command that has to be refused, with this code and a message that has `words`.
    pub(crate) async fn refused(&self, command: &Command, code: ErrorCode, words: &str) -> Raw {
        let response = self.client.command(self.agent, command).await;
        assert!(!response.success, "{response:?}");
        assert_eq!(response.error_code, Some(code), "{response:?}");
        let error = response.error.unwrap_or_default();
        assert!(error.contains(words), "{error}");
        response.data.unwrap_or_else(Raw::nil)
    }

    /// Writes to the agent's stdin; the reply says how many bytes count as written, and how many
    /// there are altogether.
    pub(crate) async fn writes(&self, write: &Command, written: u64, total: u64) {
        let data = self.done(write).await;
        let number = |key| data.get(key).and_then(|value| value.as_u64());
        let reply = (number("bytes_written"), number("stdin_bytes"));
        assert_eq!(reply, (Some(written), Some(total)));
    }

    pub(crate) async fn info(&self) -> AgentInfo {
        self.client.info(self.agent).await
    }

    /// Waits for a status. Asks again and again, for who waits for output changes what the server
    /// says to the shim.
    pub(crate) async fn becomes(&self, status: AgentStatus) -> AgentInfo {
        let becoming = async {
            loop {
                let info = self.info().await;
                if info.status == status {
                    return info;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(&format!("the agent to be {status}"), becoming).await
    }

    /// Waits until this is the output, by the shim's word and in truth.
    pub(crate) async fn prints(&self, stream: Stream, text: &str) {
        let printing = async {
            loop {
                let output = self.info().await.output;
                let reported = match stream {
                    Stream::Stdout => output.stdout_bytes,
                    Stream::Stderr => output.stderr_bytes,
                };
                if reported >= text.len() as u64 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(&format!("the agent to print {text:?}"), printing).await;
        assert_eq!(self.output(stream).await, text.as_bytes());
    }

    async fn output(&self, stream: Stream) -> Bytes {
        let data = self.done(&read(stream, 0, Duration::ZERO)).await;
        data.get("data")
            .and_then(|data| data.as_bin())
            .unwrap_or_default()
    }

    /// Waits until the server last said this to the shim about reports of output.
    pub(crate) async fn server_watches(&mut self, watching: bool) {
        let said = self.watching.wait_for(|said| *said == Some(watching));
        soon("the server to watch or not", said).await.unwrap();
    }
}

impl Server {
    /// Today's server with the files in this folder. It listens elsewhere each time, for what a
    /// server leaves behind that ends as in a crash goes a moment later.
    pub(crate) async fn here(dir: TempDir) -> Self {
        let config = config(dir.path());
        Self::Here(TestServer::start_in(dir, config).await)
    }

    async fn client(&self) -> Client {
        match self {
            Self::Here(test) => test.client().await,
            Self::Program(program) => Client::connect(&socket_endpoint(program.dir())).await,
        }
    }
}

pub(crate) fn read(stream: Stream, offset: u64, wait: Duration) -> Command {
    Command::Read {
        stream,
        offset: Some(offset),
        max_bytes: None,
        wait,
        since: None,
        times: false,
    }
}

/// A write that goes on after everything else.
pub(crate) fn write(data: &'static str) -> Command {
    write_at(data, StdinPosition::Next)
}

pub(crate) fn write_at(data: &'static str, position: StdinPosition) -> Command {
    Command::WriteStdin {
        data: Bytes::from_static(data.as_bytes()),
        close: false,
        position,
    }
}
