//! A server of some version, played from a recording to today's shim.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_core::AgentId;
use descartes_shim::record;
use descartes_shim::template::Template;
use descartes_shim::tree::Process;
use descartes_testkit::soon;
use rustix::fs::FlockOperation;
use rustix::process::Signal;
use serde_json::Value;
use tokio::net::UnixStream;

use super::old_shim::private_dir;
use super::record::wait_until_unlocked;
use super::recording::{Line, Recording, read_frame, write_frame};

/// What is another number or text each time.
const VOLATILE: [&str; 8] = [
    "pid",
    "start_time",
    "shim_pid",
    "shim_start_time",
    "boot_id",
    "pid_namespace",
    "secs",
    "nanos",
];

/// A shim of today that runs a recorded agent, and what is known of its output.
struct Shim {
    dir: PathBuf,
    process: Process,
    stream: Option<UnixStream>,
    sizes: (u64, u64),
}

/// Starts the agent of a recording anew, says what the server said then, and compares the answers.
pub(crate) async fn play(version: u32, name: &str) {
    let agent = AgentId::generate();
    let recording = Recording::load(version, name, agent);
    let root = tempfile::tempdir().unwrap();
    let mut shim = Shim::start(&recording, &root.path().join(agent.to_string())).await;
    for line in &recording.lines {
        match line {
            // The hello that follows says how much output there is to be by then.
            Line::Connected => shim.stream = None,
            Line::Server { header, data } => {
                let stream = shim.stream.as_mut().unwrap();
                let sent = write_frame(stream, &header.to_string(), data).await;
                sent.unwrap();
            }
            Line::Shim { header } if header["hello"].is_object() => shim.greets(header).await,
            Line::Shim { header } if header["output"].is_object() => shim.reports(header).await,
            Line::Shim { header } => {
                let said = shim.says_beside_output().await;
                assert_resembles(header, &said, header, &said);
            }
        }
    }
    wait_until_unlocked(&shim.dir).await;
    let exit = std::fs::read(shim.dir.join(record::EXIT)).unwrap();
    let exit: Value = serde_json::from_slice(&exit).unwrap();
    let recorded = &recording.files[record::EXIT];
    assert_resembles(recorded, &exit, recorded, &exit);
}

/// Whether who reads a record as it was finds all of it in what is written now, of the same kind.
pub(crate) fn assert_has_shape_of(recorded: &Value, present: &Value, at: &str) {
    if let (Value::Object(recorded), Value::Object(_)) = (recorded, present) {
        for (key, recorded) in recorded {
            let at = format!("{at}.{key}");
            let present = present.get(key);
            assert_has_shape_of(recorded, present.unwrap_or_else(|| panic!("no {at}")), &at);
        }
    } else {
        let kinds = [recorded, present].map(std::mem::discriminant);
        assert_eq!(kinds[0], kinds[1], "{at}: {recorded} has become {present}");
    }
}

impl Shim {
    async fn start(recording: &Recording, dir: &Path) -> Self {
        private_dir(dir);
        let spec = recording.files[record::SPEC].to_string();
        std::fs::write(dir.join(record::SPEC), spec).unwrap();
        let lock = File::create(dir.join(record::LOCK)).unwrap();
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).unwrap();
        let (ours, theirs) = BlockingStream::pair().unwrap();
        let template = Template::start().unwrap();
        let folder = File::open(dir).unwrap();
        let pid = template.start_shim(folder.as_fd(), lock.as_fd(), theirs.as_fd());
        let mut shim = Self {
            dir: dir.to_owned(),
            process: Process::read(pid.unwrap()).unwrap(),
            stream: None,
            sizes: (0, 0),
        };
        drop(theirs);
        ours.set_nonblocking(true).unwrap();
        shim.stream = Some(UnixStream::from_std(ours).unwrap());
        let hello = shim.says().await;
        assert!(hello["hello"].is_object(), "{hello}");
        shim
    }

    /// Connects; as often as it takes until there is as much output as there was then.
    async fn greets(&mut self, recorded: &Value) {
        let wanted = sizes(&recorded["hello"]["sizes"]);
        let greeting = async {
            loop {
                self.stream = Some(
                    UnixStream::connect(self.dir.join(record::SOCKET))
                        .await
                        .unwrap(),
                );
                let hello = self.says().await;
                if self.sizes == wanted {
                    return hello;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let hello = soon("the agent's output", greeting).await;
        assert_resembles(recorded, &hello, recorded, &hello);
    }

    /// Waits until it has reported at least as much output.
    async fn reports(&mut self, recorded: &Value) {
        let wanted = sizes(&recorded["output"]);
        while self.sizes.0 < wanted.0 || self.sizes.1 < wanted.1 {
            let said = self.says().await;
            assert!(said["output"].is_object(), "{said} instead of {recorded}");
        }
    }

    async fn says_beside_output(&mut self) -> Value {
        loop {
            let said = self.says().await;
            if !said["output"].is_object() {
                return said;
            }
        }
    }

    async fn says(&mut self) -> Value {
        let stream = self.stream.as_mut().unwrap();
        let frame = soon("the shim's next word", read_frame(stream)).await;
        let (header, data) = frame.unwrap().expect("the shim is there");
        assert_eq!(data, b"", "a server of that version expects no data");
        let header: Value = serde_json::from_str(&header).unwrap();
        for told in [&header["hello"]["sizes"], &header["output"]] {
            if told.is_object() {
                self.sizes = sizes(told);
            }
        }
        header
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // It has gone already, unless the test has failed. It takes its agent along.
        let _ = self.process.signal(Signal::TERM);
    }
}

fn sizes(value: &Value) -> (u64, u64) {
    let length = |stream| value[stream].as_u64().unwrap();
    (length("stdout"), length("stderr"))
}

/// Whether a reader of the recorded value finds all of it in the present one, with the same
/// meaning.
fn assert_resembles(recorded: &Value, present: &Value, whole_recorded: &Value, whole: &Value) {
    let compared = format!("recorded {whole_recorded}\npresent  {whole}");
    match (recorded, present) {
        (Value::Object(recorded), Value::Object(_)) => {
            for (key, recorded) in recorded {
                let present = present.get(key);
                let present = present.unwrap_or_else(|| panic!("no {key}\n{compared}"));
                let volatile = VOLATILE.contains(&key.as_str());
                match (recorded, present) {
                    _ if volatile => assert_has_shape_of(recorded, present, key),
                    (Value::Number(then), Value::Number(now)) if key.ends_with("version") => {
                        assert!(now.as_u64() >= then.as_u64(), "{compared}");
                    }
                    _ => assert_resembles(recorded, present, whole_recorded, whole),
                }
            }
        }
        _ => assert_eq!(recorded, present, "{compared}"),
    }
}
