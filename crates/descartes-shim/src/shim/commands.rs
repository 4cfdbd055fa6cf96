//! What servers ask of a shim, and how its end is told.

use std::time::Duration;

use rustix::process::{Signal, WaitStatus};

use super::Shim;
use crate::cgroup;
use crate::lifecycle::{Because, Effect, Event, State};
use crate::record::{self, EndReason, Exit, WallTime};
use crate::stdin::Position;
use crate::tree;
use crate::wire::{Command, Message, Outcome, Paused, Refusal, Request};

/// Turns of reading after the end: far more than a pipe holds. Only a process that cannot be killed
/// could go on writing.
const LAST_TURNS: usize = 64;

impl Shim {
    /// Carries out one request of the server `connection`.
    pub(super) fn obey(&mut self, connection: u64, request: &Request, data: &[u8]) {
        let sender = Some((connection, request.id));
        match request.command {
            Command::Write { offset, close } => {
                let position = offset.map_or(Position::Next, Position::Stdin);
                let outcome = self.stdin.write(data, position, close);
                self.reply(connection, request.id, outcome);
            }
            Command::WriteFrom {
                ref writer,
                offset,
                close,
            } => {
                let position = Position::Writer(writer, offset);
                let outcome = self.stdin.write(data, position, close);
                self.reply(connection, request.id, outcome);
            }
            Command::Signal {
                signal,
                leader_only,
            } => {
                let outcome = self.signal(signal, leader_only);
                self.reply(connection, request.id, outcome);
            }
            Command::Pause(how) => self.apply(sender, Event::Pause(how)),
            Command::Resume => self.apply(sender, Event::Resume),
            Command::Stop { grace_ms, reason } => {
                let grace = grace_ms.map_or_else(|| self.grace(), Duration::from_millis);
                self.apply(sender, Event::Stop { reason, grace });
            }
            Command::Kill { reason } => self.apply(sender, Event::Kill { reason }),
            Command::Watch(watching) => {
                for server in &mut self.connections {
                    if server.id == connection {
                        server.watching = watching;
                    }
                }
                self.reply(connection, request.id, Outcome::Done);
            }
            Command::Restore => {
                let outcome = self.restore_by_request();
                self.reply(connection, request.id, outcome);
            }
        }
    }

    /// A shim that is asked to end by a signal, as when the host shuts down, ends its agent.
    pub(super) fn stop_by_signal(&mut self) {
        let grace = self.grace();
        let reason = EndReason::Stopped;
        self.apply(None, Event::Stop { reason, grace });
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.spec.limits.stop_grace_ms)
    }

    fn signal(&mut self, number: i32, leader_only: bool) -> Outcome {
        let frozen = matches!(self.lifecycle.state(), State::Paused { forced: true });
        if number == libc::SIGCONT && frozen {
            // It would let the tree go on, or some of it: so it is a resume, and the status says so.
            self.apply(None, Event::Resume);
            return Outcome::Done;
        }
        let Some(signal) = tree::signal_from_number(number) else {
            return Outcome::Refused(Refusal::SignalFailed {
                errno: libc::EINVAL,
            });
        };
        let sent = if leader_only {
            match &self.leader {
                Some(pidfd) => {
                    rustix::process::pidfd_send_signal(pidfd, signal).map_err(Into::into)
                }
                None => return Outcome::Refused(Refusal::Ending),
            }
        } else {
            self.tree.signal(signal)
        };
        match sent {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Refused(Refusal::SignalFailed {
                errno: error.raw_os_error().unwrap_or(libc::EIO),
            }),
        }
    }

    /// Lets the lifecycle take an event, and does what it says. `sender` is who gets the answer.
    pub(super) fn apply(&mut self, sender: Option<(u64, u64)>, event: Event) {
        let now = self.now();
        let effects = self.lifecycle.handle(event, now);
        self.timers.follow(self.lifecycle.state(), now);
        for effect in effects {
            self.carry_out(sender, effect);
        }
    }

    fn carry_out(&mut self, sender: Option<(u64, u64)>, effect: Effect) {
        match effect {
            Effect::SignalStop => {
                self.signal_tree(self.spec.stop_signal);
                // One that stands still by a signal of its own finds the other when it wakes.
                let _ = self.tree.signal(Signal::CONT);
            }
            Effect::Kill => {
                self.kill();
            }
            Effect::Freeze => {
                self.is_to_thaw = false;
                self.tree.freeze();
            }
            Effect::Thaw => {
                self.is_to_thaw = self.tree.thaw().is_err();
                self.set_paused(None);
            }
            Effect::AskPause => self.ask(|signals| signals.pause),
            Effect::AskResume => {
                self.ask(|signals| signals.resume);
                self.set_paused(None);
            }
            Effect::TellPaused { forced } => {
                let since = WallTime::now();
                let paused = Paused { forced, since };
                self.set_paused(Some(paused));
                self.answer_pause(&Outcome::Paused(paused));
            }
            Effect::TellNotPaused(because) => {
                let refusal = match because {
                    Because::Deadline => Refusal::NotFrozen(self.tree.moving()),
                    Because::Ending => Refusal::Ending,
                    Because::Resumed => Refusal::NotPaused,
                };
                self.answer_pause(&Outcome::Refused(refusal));
            }
            Effect::TellDone => self.answer(sender, Outcome::Done),
            Effect::Refuse(refusal) => self.answer(sender, Outcome::Refused(refusal)),
            Effect::AwaitEnd => self.end_waiters.extend(sender),
            Effect::AwaitPause => self.pause_waiters.extend(sender),
            Effect::Finish => self.finish(),
        }
    }

    /// Kills the tree; to be called again until it is empty. Returns whether all of it could be
    /// tried.
    pub(super) fn kill(&mut self) -> bool {
        let tried = self.tree.kill();
        if let (Err(_), Some(leader)) = (&tried, &self.leader) {
            // This takes no descriptor, and an agent that holds too many frees them.
            let _ = rustix::process::pidfd_send_signal(leader, Signal::KILL);
        }
        tried.is_ok()
    }

    /// Tells every server before anybody is answered, so that no status is behind a reply.
    fn set_paused(&mut self, paused: Option<Paused>) {
        if self.paused != paused {
            self.paused = paused;
            for server in &mut self.connections {
                server.send(&Message::Paused(paused));
            }
        }
    }

    fn ask(&mut self, which: impl Fn(record::PauseSignals) -> i32) {
        if let Some(signals) = self.spec.pause_signals {
            self.signal_tree(which(signals));
        }
    }

    fn signal_tree(&mut self, number: i32) {
        let signal = tree::signal_from_number(number).unwrap_or(Signal::TERM);
        // A tree that cannot be signalled is killed when the grace time is over.
        let _ = self.tree.signal(signal);
    }

    /// The tree has gone: takes the rest of its output, and puts the end on record.
    fn finish(&mut self) {
        for _ in 0..LAST_TURNS {
            let stdout = self.stdout.copy(&mut self.buffer);
            let stderr = self.stderr.copy(&mut self.buffer);
            if !stdout.more && !stderr.more {
                break;
            }
        }
        self.look_after_folder();
        self.stdout.settle();
        self.stderr.settle();
        self.tree.clear_leaf();
        let exit = self.exit();
        if let Some(leaf) = self.tree.leaf() {
            let _ = cgroup::remove(leaf);
        }
        // Who is connected learns the end even if the disk does not take it.
        let _ = self.recorder.record(&exit);
        for (connection, id) in std::mem::take(&mut self.end_waiters) {
            self.reply(connection, id, Outcome::Ended(exit.clone()));
        }
        for server in &mut self.connections {
            server.send(&Message::Ended(exit.clone()));
        }
    }

    fn exit(&self) -> Exit {
        let State::Ended { mut reason, forced } = self.lifecycle.state() else {
            unreachable!("the end is recorded when it has come");
        };
        let out_of_memory = self
            .tree
            .leaf()
            .is_some_and(|leaf| cgroup::was_out_of_memory(leaf));
        let exit_signal = self.leader_end.and_then(WaitStatus::terminating_signal);
        if reason == EndReason::Exited && exit_signal == Some(libc::SIGKILL) && out_of_memory {
            reason = EndReason::MemoryLimit;
        }
        Exit {
            version: record::VERSION,
            exit_code: self.leader_end.and_then(WaitStatus::exit_status),
            exit_signal,
            reason,
            forced,
            finished_at: WallTime::now(),
            stdout: self.stdout.end(),
            stderr: self.stderr.end(),
            left_over: self.tree.pids(),
        }
    }

    /// Leaves connected servers the time to take the last messages, but not for ever.
    pub(super) fn say_goodbye(&mut self) {
        for server in &mut self.connections {
            let deadline = std::time::Instant::now() + Duration::from_secs(1);
            while server.has_unsent() && server.is_alive() && std::time::Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(1));
                server.flush();
            }
        }
    }

    fn answer_pause(&mut self, outcome: &Outcome) {
        for (connection, id) in std::mem::take(&mut self.pause_waiters) {
            self.reply(connection, id, outcome.clone());
        }
    }

    fn answer(&mut self, sender: Option<(u64, u64)>, outcome: Outcome) {
        if let Some((connection, id)) = sender {
            self.reply(connection, id, outcome);
        }
    }

    fn reply(&mut self, connection: u64, id: u64, outcome: Outcome) {
        if let Some(server) = self
            .connections
            .iter_mut()
            .find(|server| server.id == connection)
        {
            server.send(&Message::Reply { id, outcome });
        }
    }
}
