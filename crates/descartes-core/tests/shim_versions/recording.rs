//! What a server and a shim of some version said to each other, as a file.
//!
//! Deliberately without the types of `descartes_shim::wire`: these are today's, and what is kept
//! here is not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use descartes_core::AgentId;
use descartes_shim::tree;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Data of equal bytes is written once, with how often, where it is longer than this.
const REPEATED_FROM: usize = 1000;

/// One life of a shim, as its folder and its socket saw it.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) files: BTreeMap<String, Value>,
    pub(crate) lines: Vec<Line>,
}

/// One thing that happened on the socket.
#[derive(Debug, Clone)]
pub(crate) enum Line {
    /// A server connected.
    Connected,
    /// The server sent a frame.
    Server { header: Value, data: Vec<u8> },
    /// The shim sent a frame.
    Shim { header: Value },
}

/// The processes that a recording is to be about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) agent: AgentId,
    /// The agent's first process.
    pub(crate) leader: tree::Process,
    pub(crate) shim: tree::Process,
}

impl Recording {
    /// Reads a recording and makes it one about `agent`, made just now.
    pub(crate) fn load(version: u32, name: &str, agent: AgentId) -> Self {
        let path = folder(version).join(format!("{name}.jsonl"));
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let (_, after) = text.split_once("\"agent_id\":\"").unwrap();
        let (recorded, _) = after.split_once('"').unwrap();
        let text = text.replace(recorded, &agent.to_string());
        let mut recording = Self {
            files: BTreeMap::new(),
            lines: Vec::new(),
        };
        for line in text.lines() {
            recording.add(serde_json::from_str(line).unwrap());
        }
        recording
    }

    fn add(&mut self, mut line: Value) {
        make_present(&mut line);
        let header = line["header"].take();
        match (line["from"].as_str(), line["file"].as_str()) {
            (Some("server"), _) if line["connects"] == true => self.lines.push(Line::Connected),
            (Some("server"), _) => {
                let data = line["data"].as_str().unwrap_or_default();
                let times = line["times"].as_u64().unwrap_or(1);
                let data = data.as_bytes().repeat(usize::try_from(times).unwrap());
                self.lines.push(Line::Server { header, data });
            }
            (Some("shim"), _) => self.lines.push(Line::Shim { header }),
            (_, Some(name)) => drop(self.files.insert(name.to_owned(), line["content"].take())),
            _ => panic!("no line of a recording: {line}"),
        }
    }

    /// Puts real processes in the place of those that it was recorded with.
    pub(crate) fn belongs_to(&mut self, identity: Identity) {
        let headers = self.lines.iter_mut().filter_map(|line| match line {
            Line::Shim { header } => Some(header),
            _ => None,
        });
        for value in headers.chain(self.files.values_mut()) {
            identify(value, identity);
        }
    }
}

impl Identity {
    fn state(self) -> Value {
        json!({
            "pid": self.leader.pid, "start_time": self.leader.start_time,
            "shim_pid": self.shim.pid, "shim_start_time": self.shim.start_time,
            "boot_id": tree::boot_id(), "pid_namespace": tree::pid_namespace(),
        })
    }
}

/// Where the recordings of one version are.
pub(crate) fn folder(version: u32) -> PathBuf {
    let recordings = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../descartes-shim/tests/recordings"
    );
    PathBuf::from(recordings).join(format!("v{version}"))
}

/// The line for a frame, its header byte for byte.
pub(crate) fn line(from: &str, header: &str, data: &[u8]) -> String {
    let mut line = format!("{{\"from\":\"{from}\",\"header\":{header}");
    let (times, data) = match data.first() {
        Some(first) if data.len() > REPEATED_FROM && data.iter().all(|byte| byte == first) => {
            (data.len(), &data[..1])
        }
        _ => (1, data),
    };
    if !data.is_empty() {
        let text = Value::from(std::str::from_utf8(data).unwrap());
        write!(line, ",\"data\":{text}").unwrap();
    }
    if times > 1 {
        write!(line, ",\"times\":{times}").unwrap();
    }
    line + "}"
}

/// Reads a frame's header and data; `None` where the other side has closed.
pub(crate) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<(String, Vec<u8>)>> {
    let header_len = match stream.read_u32_le().await {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ) =>
        {
            return Ok(None);
        }
        length => usize::try_from(length?).unwrap(),
    };
    let data_len = usize::try_from(stream.read_u32_le().await?).unwrap();
    let mut header = vec![0; header_len];
    stream.read_exact(&mut header).await?;
    let mut data = vec![0; data_len];
    stream.read_exact(&mut data).await?;
    Ok(Some((String::from_utf8(header).unwrap(), data)))
}

/// Writes a frame.
pub(crate) async fn write_frame(
    stream: &mut (impl AsyncWrite + Unpin),
    header: &str,
    data: &[u8],
) -> io::Result<()> {
    let mut frame = Vec::new();
    for length in [header.len(), data.len()] {
        frame.extend(u32::try_from(length).unwrap().to_le_bytes());
    }
    frame.extend(header.as_bytes());
    frame.extend(data);
    stream.write_all(&frame).await
}

/// Makes all times the present: what ended long ago would be removed as old.
fn make_present(value: &mut Value) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    each_object(value, &mut |object| {
        if object.len() == 2 && object.contains_key("secs") && object.contains_key("nanos") {
            object["secs"] = now.as_secs().into();
            object["nanos"] = now.subsec_nanos().into();
        }
    });
}

fn identify(value: &mut Value, identity: Identity) {
    each_object(value, &mut |object| {
        if object.contains_key("shim_pid") {
            let Value::Object(state) = identity.state() else {
                unreachable!("it is written as one");
            };
            object.extend(state);
        }
    });
}

fn each_object(value: &mut Value, change: &mut impl FnMut(&mut serde_json::Map<String, Value>)) {
    match value {
        Value::Object(object) => {
            change(object);
            for inner in object.values_mut() {
                each_object(inner, change);
            }
        }
        Value::Array(items) => {
            for item in items {
                each_object(item, change);
            }
        }
        _ => {}
    }
}
