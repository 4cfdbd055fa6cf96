//! What the server and a shim say to each other on `control.sock`.
//!
//! A message is a frame: two little-endian `u32` (length of the header, length of the data), the
//! header as JSON, the data as it is. Only [`Command::Write`] and [`Command::WriteFrom`] have data. The shim speaks first,
//! with [`Message::Hello`]; after that each [`Request`] gets exactly one [`Message::Reply`] with
//! its number, in whatever order the effects come about; [`Message::Output`], [`Message::Paused`] and
//! [`Message::Ended`] come by themselves.
//!
//! # Versions
//!
//! After an upgrade the new server speaks with the old shims of agents that run, and after a
//! downgrade an old server with new ones. So what was once said here keeps its meaning:
//!
//! - No message, field, or value of a field is removed, renamed or given another meaning.
//! - A new field may only say what a reader may do without: one that does not know it passes over it.
//!   It is an `Option` or has `#[serde(default)]`, for older writers leave it out.
//! - Whatever must not be passed over is a new [`Command`], for a shim that does not know it
//!   closes the connection. It raises [`VERSION`] and gets a constant like [`WRITERS_SINCE`], and
//!   the server sends it only where the shim's version, in [`State`], is at least that.
//! - A shim says a new [`Message`], [`Outcome`], [`Refusal`], [`EndReason`] only in answer to a new
//!   command: a server that does not know it takes the connection for broken.
//! - Records on disk are read in the same way, and obey the same rules.
//!
//! Before [`VERSION`] is raised, what the present version says is recorded and kept in
//! `tests/recordings`, where a README says how. Tests of `descartes-core` play the recordings of
//! all versions to today's server and today's shim.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::record::{EndReason, Exit, State};

/// The version of this protocol, said in [`Message::Hello`] and in the agent's
/// [`State`].
pub const VERSION: u32 = 3;

/// The first version with [`Command::WriteFrom`].
pub const WRITERS_SINCE: u32 = 2;

/// The first version with [`Command::Restore`].
pub const RESTORE_SINCE: u32 = 3;

/// Most data of one frame, in bytes.
pub const DATA_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest header, in bytes.
const HEADER_BYTES_MAX: usize = 64 * 1024;

const PREFIX_BYTES: usize = 8;

/// A numbered command of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the server; the reply carries it.
    pub id: u64,
    /// What to do.
    pub command: Command,
}

/// What a server asks of a shim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Write the frame's data to stdin. Answered with [`Outcome::Written`].
    Write {
        /// How many bytes of stdin come before this data; what was accepted before is skipped.
        offset: Option<u64>,
        /// End stdin after it, if all of it was taken.
        close: bool,
    },
    /// Write the frame's data to stdin, as one of several writers. Answered with
    /// [`Outcome::Written`].
    ///
    /// A command of its own, for a shim of version 1 would pass over a field that it does not
    /// know and take the data a second time. This one it does not understand at all.
    WriteFrom {
        /// The name that the writer chose for itself.
        writer: String,
        /// How many bytes this writer sent before this data; what was accepted before is skipped.
        offset: u64,
        /// End stdin after it, if all of it was taken.
        close: bool,
    },
    /// Send a signal.
    Signal {
        /// Its number.
        signal: i32,
        /// Only to the agent's first process, rather than to the whole tree.
        leader_only: bool,
    },
    /// Pause the tree. Answered when it stands still.
    Pause(PauseHow),
    /// Let the tree go on.
    Resume,
    /// Signal the tree, and kill what is left after the grace time. Answered when nothing is left.
    Stop {
        /// Grace time in milliseconds; `None` is the agent's own.
        grace_ms: Option<u64>,
        /// What to record.
        reason: EndReason,
    },
    /// Kill the tree. Answered when nothing is left.
    Kill {
        /// What to record.
        reason: EndReason,
    },
    /// Report output at once (`true`), or at most once a second.
    Watch(bool),
    /// Put `spec.json` and `state.json` back as they were, and the whole folder if it is gone.
    Restore,
}

/// How to pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseHow {
    /// Cooperatively where the backend can, else by force.
    Auto,
    /// Freeze the tree.
    Forced,
    /// Ask it to.
    Cooperative,
}

/// What a shim says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// First on every connection.
    Hello(Hello),
    /// First and only on the connection of a shim that could not start its agent.
    Failed(StartFailure),
    /// The answer to a request.
    Reply {
        /// The request's number.
        id: u64,
        /// What came of it.
        outcome: Outcome,
    },
    /// How long the output streams are by now.
    Output(Sizes),
    /// Whether, and how, the agent is paused from now on.
    Paused(Option<Paused>),
    /// The agent ended, and `exit.json` says so.
    Ended(Exit),
}

/// How things stand when a server connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`] of the shim.
    pub version: u32,
    /// Which process the agent is.
    pub state: State,
    /// Whether, and how, it is paused.
    pub paused: Option<Paused>,
    /// Bytes of stdin accepted so far.
    pub stdin_bytes: u64,
    /// How long the output streams are.
    pub sizes: Sizes,
}

/// That an agent is paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Frozen, rather than asked to.
    pub forced: bool,
    /// Since when.
    pub since: crate::record::WallTime,
}

/// Lengths of the output streams in bytes, counting what could not be written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// Of stdout.
    pub stdout: u64,
    /// Of stderr.
    pub stderr: u64,
    /// Of stdout, bytes that are on no disk: it was full, or somebody deleted them. The first shims
    /// did not tell.
    #[serde(default)]
    pub stdout_lost: u64,
    /// The same of stderr.
    #[serde(default)]
    pub stderr_lost: u64,
}

impl Sizes {
    /// The lengths at the streams' ends.
    #[must_use]
    pub fn of(exit: &Exit) -> Self {
        Self {
            stdout: exit.stdout.bytes,
            stderr: exit.stderr.bytes,
            stdout_lost: exit.stdout.lost,
            stderr_lost: exit.stderr.lost,
        }
    }
}

/// Why an agent could not be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// What was being done, as a fragment that follows "failed to".
    pub action: String,
    /// The operating system's error number, where it was one.
    pub errno: Option<i32>,
    /// The error in words.
    pub error: String,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The effect is there.
    Done,
    /// The tree stands still.
    Paused(Paused),
    /// How much of the data was taken.
    Written {
        /// Bytes of this request's data that count as written, those skipped included.
        taken: u64,
        /// Bytes of stdin accepted so far.
        total: u64,
        /// Whether all of the data was taken.
        complete: bool,
    },
    /// Nothing of the agent is left.
    Ended(Exit),
    /// It was not done.
    Refused(Refusal),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The agent is being stopped or has ended.
    Ending,
    /// It is paused already.
    AlreadyPaused,
    /// It is not paused.
    NotPaused,
    /// Its backend has no cooperative pause.
    NoCooperativePause,
    /// These processes could not be frozen before the deadline.
    NotFrozen(Vec<i32>),
    /// Its stdin is no pipe.
    NoStdin,
    /// Its stdin was closed, by the server or by the agent.
    StdinClosed,
    /// `offset` is beyond what was accepted so far.
    StdinGap {
        /// Bytes of stdin accepted so far.
        total: u64,
    },
    /// The writer's `offset` is beyond what was accepted from it so far.
    WriterGap {
        /// Bytes accepted from this writer so far.
        accepted: u64,
    },
    /// The records could not be put back.
    NotRestored {
        /// The operating system's error number.
        errno: i32,
    },
    /// The signal could not be sent.
    SignalFailed {
        /// The operating system's error number.
        errno: i32,
    },
}

/// Encodes one message with its data.
///
/// # Panics
/// If the data is longer than [`DATA_BYTES_MAX`]: the caller splits it.
#[must_use]
pub fn encode<T: Serialize>(header: &T, data: &[u8]) -> Vec<u8> {
    assert!(data.len() <= DATA_BYTES_MAX, "frame data above its limit");
    // Plain structs of numbers and texts: nothing in them can fail to become JSON.
    let header = serde_json::to_vec(header).unwrap_or_default();
    let mut frame = Vec::with_capacity(PREFIX_BYTES + header.len() + data.len());
    for length in [header.len(), data.len()] {
        frame.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    }
    frame.extend_from_slice(&header);
    frame.extend_from_slice(data);
    frame
}

/// Lengths of header and data.
fn lengths(prefix: [u8; PREFIX_BYTES]) -> (usize, usize) {
    let half = |at: usize| {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&prefix[at..at + 4]);
        u32::from_le_bytes(bytes) as usize
    };
    (half(0), half(4))
}

/// Cuts a byte stream into frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes as they were received.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Takes the next whole message, if there is one.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] where the other side breaks the protocol: a frame above the
    /// limits, or a header that is no such message.
    pub fn next_frame<T: DeserializeOwned>(&mut self) -> io::Result<Option<(T, Vec<u8>)>> {
        let pending = &self.buffer[self.start..];
        let Some((prefix, rest)) = pending.split_first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let (header_len, data_len) = lengths(*prefix);
        if header_len > HEADER_BYTES_MAX || data_len > DATA_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("frame of {header_len} and {data_len} bytes is above the limit"),
            ));
        }
        if rest.len() < header_len + data_len {
            return Ok(None);
        }
        let message = serde_json::from_slice(&rest[..header_len])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let data = rest[header_len..header_len + data_len].to_vec();
        self.start += PREFIX_BYTES + header_len + data_len;
        if self.start == self.buffer.len() {
            self.buffer = Vec::new();
            self.start = 0;
        }
        Ok(Some((message, data)))
    }
}
