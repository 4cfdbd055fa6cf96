//! What clients do with an agent, and what they have to see of it.
//!
//! A scenario is played with real programs to record it, and with the recording to see that a
//! server still works with such a shim. So nothing may happen in it by itself: each step waits for
//! the effect of the one before, and nobody waits for output in a way that reaches the shim, except
//! where that is the point.

use std::pin::Pin;
use std::time::Duration;

use descartes_core::protocol::{
    AgentStatus, Command, EndReason, ErrorCode, PauseMode, PauseRequest, SignalScope, StdinMode,
    StdinPosition, Stream,
};

use super::world::{World, read, write, write_at};

/// A line that an agent of [`SCENARIOS`] prints first: from there on, it is as the scenario wants
/// it.
pub(crate) const READY: &str = "ready\n";

/// Far more than any agent takes to end.
const GRACE: Duration = Duration::from_mins(1);

/// Something that clients do.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// Also the recording's name.
    pub(crate) name: &'static str,
    /// The first version of the shim's socket that can do it.
    pub(crate) since: u32,
    /// `sh`, or `polite`, which pauses by SIGUSR1 and goes on by SIGUSR2.
    pub(crate) backend: &'static str,
    pub(crate) script: &'static str,
    pub(crate) stdin: StdinMode,
    pub(crate) play: Play,
}

pub(crate) type Play = for<'a> fn(&'a mut World) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

impl Scenario {
    const fn new(name: &'static str, script: &'static str, play: Play) -> Self {
        Self {
            name,
            since: 1,
            backend: "sh",
            script,
            stdin: StdinMode::Pipe,
            play,
        }
    }

    /// The scenario of this name.
    pub(crate) fn named(name: &str) -> &'static Self {
        let mut all = SCENARIOS.iter();
        all.find(|scenario| scenario.name == name).unwrap()
    }
}

const SLEEPER: &str = "echo ready; exec sleep 1000";

/// Everything that is recorded.
pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario::new("ends", "echo ready; read line; exit 7", |world| {
        Box::pin(ends(world))
    }),
    Scenario::new("paused", SLEEPER, |world| Box::pin(paused(world))),
    Scenario {
        backend: "polite",
        ..Scenario::new(
            "polite",
            "trap '' USR1 USR2; sleep 1000 & trap 'echo pausing' USR1; trap 'echo resuming' USR2
             echo ready; while :; do wait; done",
            |world| Box::pin(polite(world)),
        )
    },
    Scenario::new(
        "output",
        "echo ready; read line; echo $line; echo $line again >&2
         read line; echo $line; exec sleep 1000",
        |world| Box::pin(output(world)),
    ),
    Scenario::new("stdin", "echo ready; cat; exec sleep 1000", |world| {
        Box::pin(stdin(world))
    }),
    Scenario {
        stdin: StdinMode::Null,
        ..Scenario::new("no_stdin", SLEEPER, |world| Box::pin(no_stdin(world)))
    },
    Scenario::new("full", SLEEPER, |world| Box::pin(full(world))),
    Scenario::new(
        "signals",
        "trap '' USR1 USR2; sleep 1000 & trap 'echo one' USR1; trap 'echo two' USR2
         echo ready; while :; do wait; done",
        |world| Box::pin(signals(world)),
    ),
    Scenario::new(
        "stopped",
        "trap '' TERM; echo ready; read line; exit 3",
        |world| Box::pin(stopped(world)),
    ),
    Scenario::new(
        "forced",
        "trap '' TERM; echo ready; exec sleep 1000",
        |world| Box::pin(forced(world)),
    ),
    Scenario::new("shutdown", SLEEPER, |world| Box::pin(shutdown(world))),
    Scenario {
        since: 2,
        ..Scenario::new("writers", "echo ready; exec cat", |world| {
            Box::pin(writers(world))
        })
    },
    Scenario {
        since: 3,
        ..Scenario::new("restored", SLEEPER, |world| Box::pin(restored(world)))
    },
];

fn pause(mode: PauseRequest) -> Command {
    Command::Pause { mode }
}

fn stop(grace: Duration) -> Command {
    let grace = Some(grace);
    Command::Stop { grace, wait: true }
}

async fn kill(world: &World) {
    let end = world.done(&Command::Kill).await;
    assert_eq!(end.get("exit_signal").unwrap().as_i64(), Some(9));
    assert_eq!(end.get("forced").unwrap().as_bool(), Some(false));
    let info = world.becomes(AgentStatus::Terminated).await;
    assert_eq!(info.end_reason, Some(EndReason::Killed));
}

async fn ends(world: &mut World) {
    world.prints(Stream::Stdout, READY).await;
    let info = world.info().await;
    assert_eq!(info.status, AgentStatus::Running);
    assert_eq!(info.pid.map(u64::from), Some(world.pid));
    assert_eq!(info.output.stdout_bytes, READY.len() as u64);
    world.writes(&write("\n"), 1, 1).await;
    let info = world.becomes(AgentStatus::Failed).await;
    let end = (info.exit_code, info.exit_signal, info.end_reason);
    assert_eq!(end, (Some(7), None, Some(EndReason::Exited)));
    assert_eq!(info.pid.map(u64::from), Some(world.pid));
}

async fn paused(world: &mut World) {
    let cooperative = pause(PauseRequest::Cooperative);
    let unsupported = ErrorCode::UnsupportedCommand;
    world
        .refused(&cooperative, unsupported, "no cooperative pause")
        .await;
    let mode = world.done(&pause(PauseRequest::Forced)).await;
    assert_eq!(mode.get("mode").unwrap().as_str(), Some("forced"));
    world.becomes(AgentStatus::Paused).await;
    world.crash().await;
    let info = world.becomes(AgentStatus::Paused).await;
    assert_eq!(info.pause_mode, Some(PauseMode::Forced));
    let invalid = ErrorCode::InvalidState;
    let again = pause(PauseRequest::Auto);
    world.refused(&again, invalid, "paused already").await;
    world.done(&Command::Resume).await;
    world.becomes(AgentStatus::Running).await;
    world
        .refused(&Command::Resume, invalid, "is not paused")
        .await;
    kill(world).await;
}

async fn polite(world: &mut World) {
    let mode = world.done(&pause(PauseRequest::Auto)).await;
    assert_eq!(mode.get("mode").unwrap().as_str(), Some("cooperative"));
    world.prints(Stream::Stdout, "ready\npausing\n").await;
    world.crash().await;
    let info = world.becomes(AgentStatus::Paused).await;
    assert_eq!(info.pause_mode, Some(PauseMode::Cooperative));
    world.done(&Command::Resume).await;
    world
        .prints(Stream::Stdout, "ready\npausing\nresuming\n")
        .await;
    world.becomes(AgentStatus::Running).await;
    let end = world.done(&stop(GRACE)).await;
    assert_eq!(end.get("exit_signal").unwrap().as_i64(), Some(15));
    world.becomes(AgentStatus::Terminated).await;
}

async fn output(world: &mut World) {
    let after_ready = READY.len() as u64;
    world
        .begin("read", &read(Stream::Stdout, after_ready, GRACE))
        .await;
    world.server_watches(true).await;
    world.begin("write", &write("more\n")).await;
    for _ in ["read", "write"] {
        let (to, reply) = world.reply().await;
        assert!(reply.success, "{reply:?}");
        if to == "read" {
            let data = reply.data.and_then(|data| data.get("data")?.as_bin());
            assert_eq!(data.as_deref(), Some(b"more\n".as_slice()));
        }
    }
    world.server_watches(false).await;
    world.prints(Stream::Stderr, "more again\n").await;
    world.writes(&write("end\n"), 4, 9).await;
    world.prints(Stream::Stdout, "ready\nmore\nend\n").await;
    kill(world).await;
    let output = world.info().await.output;
    assert_eq!((output.stdout_bytes, output.stderr_bytes), (15, 11));
}

async fn stdin(world: &mut World) {
    let at = |data, offset| write_at(data, StdinPosition::Offset(offset));
    let invalid = ErrorCode::InvalidState;
    world.writes(&write("one "), 4, 4).await;
    world.writes(&at("one two ", 0), 8, 8).await;
    world
        .refused(&at("four ", 20), invalid, "beyond the 8 bytes")
        .await;
    world.prints(Stream::Stdout, "ready\none two ").await;
    world.crash().await;
    world.writes(&at("two three ", 4), 10, 14).await;
    world.writes(&Command::CloseStdin, 0, 14).await;
    world
        .refused(&write("five "), invalid, "stdin is closed")
        .await;
    world.writes(&at("two three ", 4), 10, 14).await;
    world.prints(Stream::Stdout, "ready\none two three ").await;
    kill(world).await;
}

async fn no_stdin(world: &mut World) {
    let invalid = ErrorCode::InvalidState;
    world
        .refused(&write("one "), invalid, "without a stdin")
        .await;
    kill(world).await;
}

async fn full(world: &mut World) {
    static MUCH: [u8; 100_000] = [b'x'; 100_000];
    let much = write(std::str::from_utf8(&MUCH).unwrap());
    let data = world.refused(&much, ErrorCode::Busy, "stdin is full").await;
    let number = |key| data.get(key).and_then(|value| value.as_u64());
    let taken = number("bytes_written").unwrap();
    assert!((1..100_000).contains(&taken), "{taken}");
    assert_eq!(number("stdin_bytes"), Some(taken));
    let data = world
        .refused(&write("more"), ErrorCode::Busy, "0 bytes were taken")
        .await;
    assert_eq!(data.get("stdin_bytes").unwrap().as_u64(), Some(taken));
    kill(world).await;
}

async fn signals(world: &mut World) {
    let signal = |name: &str, scope| Command::Signal {
        signal: name.parse().unwrap(),
        scope,
    };
    world.done(&signal("SIGUSR1", SignalScope::Tree)).await;
    world.prints(Stream::Stdout, "ready\none\n").await;
    world.done(&signal("SIGUSR2", SignalScope::Leader)).await;
    world.prints(Stream::Stdout, "ready\none\ntwo\n").await;
    world.done(&pause(PauseRequest::Forced)).await;
    // One that lets the agent go on is a resume.
    world.done(&signal("SIGCONT", SignalScope::Tree)).await;
    world.becomes(AgentStatus::Running).await;
    kill(world).await;
}

async fn stopped(world: &mut World) {
    world.begin("stop", &stop(GRACE)).await;
    world.begin("pause", &pause(PauseRequest::Auto)).await;
    let (to, reply) = world.reply().await;
    assert_eq!(
        (to.as_str(), reply.error_code),
        ("pause", Some(ErrorCode::InvalidState))
    );
    world.begin("second stop", &stop(GRACE)).await;
    world.begin("write", &write("\n")).await;
    for _ in ["write", "stop", "second stop"] {
        let (to, reply) = world.reply().await;
        let data = reply.data.filter(|_| reply.success).unwrap();
        if to != "write" {
            assert_eq!(data.get("exit_code").unwrap().as_i64(), Some(3));
            assert_eq!(data.get("end_reason").unwrap().as_str(), Some("stopped"));
            assert_eq!(data.get("forced").unwrap().as_bool(), Some(false));
        }
    }
    world.becomes(AgentStatus::Terminated).await;
}

async fn forced(world: &mut World) {
    let end = world.done(&stop(Duration::from_millis(100))).await;
    assert_eq!(end.get("exit_signal").unwrap().as_i64(), Some(9));
    assert_eq!(end.get("forced").unwrap().as_bool(), Some(true));
    let info = world.becomes(AgentStatus::Terminated).await;
    assert_eq!(info.end_reason, Some(EndReason::Stopped));
}

async fn shutdown(world: &mut World) {
    world.shut_down().await;
    let info = world.becomes(AgentStatus::Terminated).await;
    let end = (info.exit_signal, info.end_reason);
    assert_eq!(end, (Some(15), Some(EndReason::ServerShutdown)));
}

async fn writers(world: &mut World) {
    let by = |writer: &str, data, offset| {
        let id = writer.parse().unwrap();
        write_at(data, StdinPosition::Writer { id, offset })
    };
    world.writes(&by("a", "a1 ", 0), 3, 3).await;
    world.writes(&by("b", "b1 ", 0), 3, 6).await;
    world.writes(&by("a", "a1 ", 0), 3, 6).await;
    let gap = by("b", "b3 ", 9);
    world
        .refused(&gap, ErrorCode::InvalidState, "beyond the 3 bytes")
        .await;
    world.prints(Stream::Stdout, "ready\na1 b1 ").await;
    world.crash().await;
    world.writes(&by("b", "b1 b2 ", 0), 6, 9).await;
    world.prints(Stream::Stdout, "ready\na1 b1 b2 ").await;
    kill(world).await;
}

async fn restored(world: &mut World) {
    world.prints(Stream::Stdout, READY).await;
    world.crash_and_lose(&["state.json"]).await;
    let info = world.info().await;
    assert_eq!(info.status, AgentStatus::Running);
    assert_eq!(info.pid.map(u64::from), Some(world.pid));
    kill(world).await;
}
