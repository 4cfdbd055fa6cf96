//! A shim of some version, played from a recording.

use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use descartes_testkit::soon;
use rustix::fs::FlockOperation;
use serde_json::Value;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::recording::{Line, Recording, read_frame, write_frame};

/// Plays the shim's part; what the server says has to be what it said when it was recorded.
#[derive(Debug)]
pub(crate) struct OldShim {
    /// Whether the server wants output reported at once, as it said last.
    pub(crate) watching: watch::Receiver<Option<bool>>,
    /// Fails with what went otherwise than recorded.
    pub(crate) playing: JoinHandle<Result<(), String>>,
}

struct Player {
    recording: Recording,
    dir: PathBuf,
    listener: UnixListener,
    stream: Option<UnixStream>,
    /// The requests' numbers, as recorded and as they are now.
    numbers: HashMap<u64, u64>,
    watching: watch::Sender<Option<bool>>,
}

impl OldShim {
    /// Prepares the agent's folder as such a shim would, and begins to play.
    pub(crate) fn start(recording: Recording, dir: &Path) -> Self {
        private_dir(dir);
        for name in ["spec.json", "state.json"] {
            write(
                &dir.join(name),
                recording.files[name].to_string().as_bytes(),
            );
        }
        write(&dir.join("lock"), b"");
        // An open file of its own: the server that runs in this process finds it locked.
        let lock = File::open(dir.join("lock")).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        let listener = UnixListener::bind(dir.join("control.sock")).unwrap();
        let (sender, watching) = watch::channel(None);
        let player = Player {
            recording,
            dir: dir.to_owned(),
            listener,
            stream: None,
            numbers: HashMap::new(),
            watching: sender,
        };
        let playing = tokio::spawn(async move {
            let outcome = player.play().await;
            drop(lock);
            outcome
        });
        Self { watching, playing }
    }
}

impl Player {
    async fn play(mut self) -> Result<(), String> {
        for line in std::mem::take(&mut self.recording.lines) {
            match line {
                Line::Connected => {
                    self.hear_nothing_more().await?;
                    let (stream, _) = self.listener.accept().await.unwrap();
                    self.stream = Some(stream);
                    self.watching.send_replace(None);
                }
                Line::Server { header, data } => self.hear(header, &data).await?,
                Line::Shim { header } => self.say(header).await?,
            }
        }
        std::fs::remove_file(self.dir.join("control.sock")).unwrap();
        let stream = self.stream.as_ref().expect("a server is connected");
        // One that has gone by itself cannot be told.
        let _ = rustix::net::shutdown(stream, rustix::net::Shutdown::Write);
        self.hear_nothing_more().await
    }

    async fn hear(&mut self, expected: Value, expected_data: &[u8]) -> Result<(), String> {
        let Some((header, data)) = self.frame().await else {
            return Err(format!("the server went instead of {expected}"));
        };
        let (mut now, mut then) = (header.clone(), expected.clone());
        let numbers = [&mut then, &mut now].map(|header| header["id"].take().as_u64());
        for header in [&mut then, &mut now] {
            forget_grace_of_shutdown(header);
        }
        let [Some(recorded), Some(number)] = numbers else {
            return Err(format!("no number in {header}"));
        };
        if now != then || data != expected_data {
            let data = String::from_utf8_lossy(&data);
            return Err(format!("{header} with {data:?} instead of {expected}"));
        }
        self.numbers.insert(recorded, number);
        if let Some(watching) = header["command"]["watch"].as_bool() {
            self.watching.send_replace(Some(watching));
        }
        Ok(())
    }

    async fn say(&mut self, mut header: Value) -> Result<(), String> {
        if let Some(recorded) = header["reply"]["id"].as_u64() {
            let number = self.numbers.get(&recorded);
            let number = number.ok_or_else(|| format!("a reply to nothing: {header}"))?;
            header["reply"]["id"] = (*number).into();
        }
        let sizes = if header["hello"].is_object() {
            &header["hello"]["sizes"]
        } else {
            &header["output"]
        };
        if sizes.is_object() {
            self.write_output(|stream| sizes[stream].as_u64().unwrap());
        }
        if header["ended"].is_object() || header["reply"]["outcome"]["ended"].is_object() {
            self.write_output(|_| u64::MAX);
            let exit = self.recording.files["exit.json"].to_string();
            write(&self.dir.join("exit.json"), exit.as_bytes());
        }
        let stream = self.stream.as_mut().expect("a server is connected");
        // A server that is just going is found out at the next line.
        let _ = write_frame(stream, &header.to_string(), &[]).await;
        Ok(())
    }

    /// Both output streams, as far as they have come.
    fn write_output(&self, length: impl Fn(&str) -> u64) {
        for (name, content) in &self.recording.files {
            if let Some((stream, _)) = name.split_once('/') {
                private_dir(&self.dir.join(stream));
                let content = content.as_str().unwrap().as_bytes();
                let length = usize::try_from(length(stream)).unwrap();
                let content = &content[..length.min(content.len())];
                write(&self.dir.join(name), content);
            }
        }
    }

    async fn frame(&mut self) -> Option<(Value, Vec<u8>)> {
        let stream = self.stream.as_mut().expect("a server is connected");
        let frame = soon("the server's next word", read_frame(stream)).await;
        let (header, data) = frame.unwrap()?;
        Some((serde_json::from_str(&header).unwrap(), data))
    }

    /// Waits until the server has left the connection. It was to say nothing more there.
    async fn hear_nothing_more(&mut self) -> Result<(), String> {
        if self.stream.is_none() {
            return Ok(());
        }
        match self.frame().await {
            Some((header, _)) => Err(format!("the server said beyond the recording: {header}")),
            None => Ok(()),
        }
    }
}

/// How long a server that shuts down leaves its agents is a matter of its own.
fn forget_grace_of_shutdown(header: &mut Value) {
    if header["command"]["stop"]["reason"] == "server_shutdown" {
        header["command"]["stop"]["grace_ms"].take();
    }
}

pub(crate) fn private_dir(path: &Path) {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).unwrap();
}

/// Writes a file as a shim does: whole or not at all.
fn write(path: &Path, content: &[u8]) {
    let temporary = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&temporary).unwrap();
    file.write_all(content).unwrap();
    std::fs::rename(temporary, path).unwrap();
}
