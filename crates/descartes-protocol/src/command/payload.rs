//! The payloads of the commands.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;

use super::Command;
use crate::codec::{Decode, Encode, Fault, Head, Problem, Reader, Writer, excerpt, record, rules};
use crate::names::names;
use crate::{
    PauseRequest, Raw, SignalNumber, SignalScope, StdinPosition, Stream, Timestamp, UnknownName,
    WriterId,
};

/// The longest grace time: a day.
const GRACE_MAX: Duration = Duration::from_hours(24);

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

record! {
    struct PausePayload {
        mode: Option<PauseRequest>,
        force: Option<bool>,
    }
}

record! {
    struct StopPayload {
        grace_secs: Option<Grace>,
        wait: bool = true,
    }
}

record! {
    struct WritePayload {
        data: Input,
        encoding: Encoding = Encoding::Utf8,
        close: bool = false,
        offset: Option<u64>,
        writer: Option<WriterPayload>,
    }
}

record! {
    struct WriterPayload {
        id: WriterId,
        offset: u64,
    }
}

record! {
    struct ReadPayload {
        offset: Option<u64>,
        max_bytes: Option<u64>,
        wait_ms: u64 = 0,
        since: Option<Timestamp>,
        times: bool = false,
    }
}

record! {
    struct SignalPayload {
        signal: SignalNumber,
        scope: SignalScope = SignalScope::Tree,
    }
}

record! {
    struct ActionPayload {
        action: String,
        params: Option<Raw>,
    }
}

record! {
    struct QueryPayload {
        stdout: bool = true,
        stderr: bool = false,
        max_lines: Option<u64>,
        tail: bool = false,
    }
}

names! {
    /// What the text in `write_stdin` is.
    enum Encoding, "encoding" {
        /// The input itself.
        Utf8 = "utf8",
        /// The input as base64.
        Base64 = "base64",
    }
}

/// How long a `stop` waits. On the wire seconds, whole or not.
#[derive(Clone, Copy, PartialEq)]
struct Grace(Duration);

/// What goes to standard input. On the wire bytes or a string.
#[derive(Clone, PartialEq)]
struct Input(Bytes);

pub(super) fn parse(command_type: &str, payload: Option<&Raw>) -> Result<Command, Fault> {
    Ok(match command_type {
        "pause" => read::<PausePayload>(payload)?.into(),
        "resume" => bare(payload, Command::Resume)?,
        "stop" => read::<StopPayload>(payload)?.into(),
        "kill" => bare(payload, Command::Kill)?,
        "write_stdin" => read::<WritePayload>(payload)?.try_into()?,
        "close_stdin" => bare(payload, Command::CloseStdin)?,
        "read_stdout" => read::<ReadPayload>(payload)?.of(Stream::Stdout),
        "read_stderr" => read::<ReadPayload>(payload)?.of(Stream::Stderr),
        "get_status" => bare(payload, Command::GetStatus)?,
        "signal" => read::<SignalPayload>(payload)?.into(),
        "custom_action" => read::<ActionPayload>(payload)?.into(),
        "query_output" => read::<QueryPayload>(payload)?.into(),
        "stream_logs" => bare(payload, Command::StreamLogs)?,
        other => return Err(Problem::UnsupportedCommand(excerpt(other)).into()),
    })
}

pub(super) fn encode(command: &Command) -> Option<Raw> {
    Some(match command {
        Command::Resume
        | Command::Kill
        | Command::CloseStdin
        | Command::GetStatus
        | Command::StreamLogs => return None,
        &Command::Pause { mode } => Raw::of(&PausePayload {
            mode: Some(mode),
            force: None,
        }),
        &Command::Stop { grace, wait } => Raw::of(&StopPayload {
            grace_secs: grace.map(Grace),
            wait,
        }),
        Command::WriteStdin {
            data,
            close,
            position,
        } => Raw::of(&WritePayload::new(data.clone(), *close, position.clone())),
        &Command::Read {
            offset,
            max_bytes,
            wait,
            since,
            times,
            ..
        } => Raw::of(&ReadPayload {
            offset,
            max_bytes,
            wait_ms: wait.as_millis().try_into().unwrap_or(u64::MAX),
            since,
            times,
        }),
        &Command::Signal { signal, scope } => Raw::of(&SignalPayload { signal, scope }),
        Command::CustomAction { action, params } => Raw::of(&ActionPayload {
            action: action.clone(),
            params: params.clone(),
        }),
        &Command::QueryOutput {
            stdout,
            stderr,
            max_lines,
            tail,
        } => Raw::of(&QueryPayload {
            stdout,
            stderr,
            max_lines,
            tail,
        }),
    })
}

/// Reads a payload; an absent one is empty.
fn read<T: Decode>(payload: Option<&Raw>) -> Result<T, Fault> {
    static EMPTY_MAP: Bytes = Bytes::from_static(&[0x80]);
    let encoded = match payload {
        Some(payload) if !payload.is_nil() => payload.as_bytes(),
        _ => &EMPTY_MAP,
    };
    let mut reader = Reader::new(encoded);
    let payload = rules::map(reader).and_then(|()| T::read_from(&mut reader));
    payload.map_err(|fault| fault.at("payload"))
}

/// A command whose payload says nothing, but has to be one.
fn bare(payload: Option<&Raw>, command: Command) -> Result<Command, Fault> {
    read::<Raw>(payload).map(|_| command)
}

impl From<PausePayload> for Command {
    fn from(payload: PausePayload) -> Self {
        let mode = payload.mode.unwrap_or(match payload.force {
            Some(true) => PauseRequest::Forced,
            _ => PauseRequest::Auto,
        });
        Self::Pause { mode }
    }
}

impl From<StopPayload> for Command {
    fn from(payload: StopPayload) -> Self {
        Self::Stop {
            grace: payload.grace_secs.map(|grace| grace.0),
            wait: payload.wait,
        }
    }
}

impl WritePayload {
    fn new(data: Bytes, close: bool, position: StdinPosition) -> Self {
        let (offset, writer) = match position {
            StdinPosition::Next => (None, None),
            StdinPosition::Offset(offset) => (Some(offset), None),
            StdinPosition::Writer { id, offset } => (None, Some(WriterPayload { id, offset })),
        };
        Self {
            data: Input(data),
            encoding: Encoding::Utf8,
            close,
            offset,
            writer,
        }
    }
}

impl TryFrom<WritePayload> for Command {
    type Error = Fault;

    fn try_from(payload: WritePayload) -> Result<Self, Fault> {
        let Input(data) = payload.data;
        let data = match payload.encoding {
            Encoding::Utf8 => data,
            Encoding::Base64 => match BASE64.decode(&data) {
                Ok(decoded) => decoded.into(),
                Err(_) => return Err(Fault::from(Problem::NotBase64).at("payload.data")),
            },
        };
        let position = match (payload.offset, payload.writer) {
            (None, None) => StdinPosition::Next,
            (Some(offset), None) => StdinPosition::Offset(offset),
            (None, Some(WriterPayload { id, offset })) => StdinPosition::Writer { id, offset },
            (Some(_), Some(_)) => {
                return Err(Fault::from(Problem::NotWith("offset")).at("payload.writer"));
            }
        };
        Ok(Self::WriteStdin {
            data,
            close: payload.close,
            position,
        })
    }
}

impl ReadPayload {
    fn of(self, stream: Stream) -> Command {
        Command::Read {
            stream,
            offset: self.offset,
            max_bytes: self.max_bytes,
            wait: Duration::from_millis(self.wait_ms),
            since: self.since,
            times: self.times,
        }
    }
}

impl From<SignalPayload> for Command {
    fn from(payload: SignalPayload) -> Self {
        Self::Signal {
            signal: payload.signal,
            scope: payload.scope,
        }
    }
}

impl From<ActionPayload> for Command {
    fn from(payload: ActionPayload) -> Self {
        Self::CustomAction {
            action: payload.action,
            params: payload.params,
        }
    }
}

impl From<QueryPayload> for Command {
    fn from(payload: QueryPayload) -> Self {
        Self::QueryOutput {
            stdout: payload.stdout,
            stderr: payload.stderr,
            max_lines: payload.max_lines,
            tail: payload.tail,
        }
    }
}

impl Encode for Grace {
    fn write_to(&self, writer: &mut Writer) {
        if self.0.subsec_nanos() == 0 {
            writer.uint(self.0.as_secs());
        } else {
            writer.float(self.0.as_secs_f64());
        }
    }
}

impl Decode for Grace {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (grace, found) = match reader.head()? {
            Head::Unsigned(secs) => (Some(Duration::from_secs(secs)), secs.to_string()),
            Head::Negative(secs) => (None, secs.to_string()),
            Head::Float(secs) => (Duration::try_from_secs_f64(secs).ok(), secs.to_string()),
            other => return Err(other.instead_of("a number")),
        };
        let out_of_range = || Problem::OutOfRange {
            expected: "0 to 86400 seconds",
            found,
        };
        let grace = grace.filter(|grace| *grace <= GRACE_MAX);
        grace.map(Self).ok_or_else(|| out_of_range().into())
    }
}

impl Encode for Input {
    fn write_to(&self, writer: &mut Writer) {
        writer.bin(&self.0);
    }
}

impl Decode for Input {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        match reader.head()? {
            Head::Bin(len) | Head::Str(len) => reader.shared(len).map(Self),
            other => Err(other.instead_of("bytes or a string")),
        }
    }
}

impl Encode for SignalNumber {
    fn write_to(&self, writer: &mut Writer) {
        match self.name() {
            Some(name) => writer.str(name),
            None => writer.int(self.number().into()),
        }
    }
}

impl Decode for SignalNumber {
    fn read_from(reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let (signal, found) = match reader.head()? {
            Head::Str(len) => {
                let name = reader.str_body(len)?;
                (name.parse().ok(), excerpt(name))
            }
            Head::Unsigned(number) => {
                let small = i32::try_from(number).ok();
                (small.and_then(Self::new), number.to_string())
            }
            Head::Negative(number) => (None, number.to_string()),
            other => return Err(other.instead_of("a signal's name or number")),
        };
        signal.ok_or_else(|| Problem::UnsupportedSignal(found).into())
    }
}
