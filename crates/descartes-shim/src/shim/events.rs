//! The shim's loop: waits for the kernel and the server, and carries out what follows.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use rustix::process::WaitOptions;

use super::Shim;
use super::timers::{
    DEAF_INTERVAL, FREEZE_INTERVAL, KILL_INTERVAL, STANDSTILL, UNREAPED_INTERVAL,
    UNWATCHED_INTERVAL, WATCHED_INTERVAL,
};
use crate::connection::Connection;
use crate::lifecycle::{Event, Moment, State};
use crate::wire::Message;

/// What woke the loop up.
#[derive(Debug, Clone, Copy)]
enum Source {
    Children,
    EndSignal,
    Leader,
    Stdout,
    Stderr,
    Stdin,
    Listener,
    /// A connection, by its id.
    Server(u64),
}

impl Shim {
    /// Serves until the agent has ended and its end is recorded.
    pub(super) fn serve(&mut self) {
        loop {
            let sources = self.wait();
            // First of all: an agent that has ended by itself was not stopped.
            self.reap();
            for source in sources {
                self.handle(source);
            }
            self.reap();
            self.connections.retain(Connection::is_alive);
            self.look_at_clock();
            if matches!(self.lifecycle.state(), State::Ended { .. }) {
                self.say_goodbye();
                return;
            }
            self.report_output();
        }
    }

    fn wait(&mut self) -> Vec<Source> {
        loop {
            match self.poll() {
                Ok(sources) => return sources,
                // A signal came, whose pipe is readable now; or the shim stood still, and whatever
                // came meanwhile has to be seen before time limits are.
                Err(Errno::INTR) => {}
                Err(_) => return Vec::new(),
            }
        }
    }

    fn poll(&self) -> Result<Vec<Source>, Errno> {
        let timeout = self.next_wake().map(|wake| {
            let left = wake.saturating_sub(self.now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut sources = Vec::with_capacity(8 + self.connections.len());
        let mut polled = Vec::with_capacity(8 + self.connections.len());
        self.sources(|source, descriptor| {
            sources.push(source);
            polled.push(descriptor);
        });
        rustix::event::poll(&mut polled, timeout.as_ref())?;
        let ready = sources.into_iter().zip(polled);
        let ready = ready.filter(|(_, polled)| !polled.revents().is_empty());
        Ok(ready.map(|(source, _)| source).collect())
    }

    fn sources<'a>(&'a self, mut add: impl FnMut(Source, PollFd<'a>)) {
        let readable = PollFlags::IN;
        let mut input = |source, descriptor| {
            add(source, PollFd::from_borrowed_fd(descriptor, readable));
        };
        input(Source::Children, self.child_signals.descriptor());
        input(Source::EndSignal, self.end_signals.descriptor());
        if self.deaf_until.is_none() {
            input(Source::Listener, self.folder.listener());
        }
        if let Some(leader) = self.leader.as_ref()
            && self.unreaped_until.is_none()
        {
            input(Source::Leader, leader.as_fd());
        }
        if let Some(pipe) = self.stdout.pipe() {
            input(Source::Stdout, pipe);
        }
        if let Some(pipe) = self.stderr.pipe() {
            input(Source::Stderr, pipe);
        }
        if let Some(pipe) = self.stdin.waits_for() {
            add(
                Source::Stdin,
                PollFd::from_borrowed_fd(pipe, PollFlags::OUT),
            );
        }
        for server in &self.connections {
            let mut flags = readable;
            if server.has_unsent() {
                flags |= PollFlags::OUT;
            }
            add(
                Source::Server(server.id),
                PollFd::from_borrowed_fd(server.stream(), flags),
            );
        }
    }

    fn handle(&mut self, source: Source) {
        match source {
            // It was reaped before this, unless a tracer has not let go of it.
            Source::Leader => {
                if self.leader.is_some() {
                    self.unreaped_until = Some(self.now() + UNREAPED_INTERVAL);
                }
            }
            Source::Children => self.child_signals.clear(),
            Source::EndSignal => {
                self.end_signals.clear();
                self.stop_by_signal();
            }
            Source::Stdout => self.copy(true),
            Source::Stderr => self.copy(false),
            Source::Stdin => self.stdin.flush(),
            Source::Listener => self.accept(),
            Source::Server(id) => self.hear(id),
        }
    }

    fn copy(&mut self, stdout: bool) {
        let stream = if stdout {
            &mut self.stdout
        } else {
            &mut self.stderr
        };
        let lost_before = stream.end().lost;
        let copied = stream.copy(&mut self.buffer);
        let lost = stream.end().lost > lost_before;
        let now = self.now();
        if copied.bytes > 0 {
            self.timers.output_came(now);
        }
        if lost {
            self.timers.doubt_folder();
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(self.folder.listener(), flags) {
            Ok(stream) => {
                if let Ok(server) = self.connection(stream) {
                    self.greet(server);
                }
            }
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            // There is no descriptor for it, and it would wake the loop again at once.
            Err(_) => self.deaf_until = Some(self.now() + DEAF_INTERVAL),
        }
    }

    fn connection(&mut self, stream: OwnedFd) -> std::io::Result<Connection> {
        let id = self.next_connection;
        self.next_connection += 1;
        Connection::new(id, stream, self.now())
    }

    fn hear(&mut self, id: u64) {
        let Some(server) = self.connections.iter_mut().find(|server| server.id == id) else {
            return;
        };
        server.flush();
        for (request, data) in server.receive(&mut self.buffer) {
            self.obey(id, &request, &data);
        }
    }

    /// Collects the dead: the agent's first process, and whatever was orphaned below it.
    fn reap(&mut self) {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    if pid.as_raw_nonzero().get() == self.state.pid && self.leader.is_some() {
                        self.leader = None;
                        self.leader_end = Some(status);
                        self.apply(None, Event::LeaderEnded);
                    }
                }
                Ok(None) => return,
                Err(rustix::io::Errno::INTR) => {}
                // No child is left, and with a subreaper that means no descendant.
                Err(_) => {
                    self.apply(None, Event::TreeEmpty);
                    return;
                }
            }
        }
    }

    fn look_at_clock(&mut self) {
        let now = self.now();
        let stood_still = now.saturating_sub(self.looked_until) > STANDSTILL;
        self.looked_at = now;
        self.deaf_until = self.deaf_until.filter(|until| *until > now);
        self.unreaped_until = self.unreaped_until.filter(|until| *until > now);
        if self.is_to_thaw {
            self.is_to_thaw = self.tree.thaw().is_err();
        }
        let servers = self.connections.len();
        self.timers.servers(servers, now);
        if self.timers.folder_due().is_some_and(|due| due <= now) {
            self.look_after_folder();
        }
        match self.lifecycle.state() {
            State::Freezing { .. } => {
                self.tree.freeze();
                if self.tree.is_frozen() {
                    self.apply(None, Event::Frozen);
                }
            }
            State::Killing { .. } => {
                // Nothing is given up on that cannot be seen, or that was killed just now only.
                if !self.kill() || stood_still {
                    self.apply(None, Event::Unseen);
                }
            }
            // They cut a stop short that would take longer.
            State::Running | State::Paused { .. } | State::Stopping { .. } => {
                let reached = self.timers.limits().find(|(at, _)| *at <= now);
                if let Some((_, reason)) = reached {
                    let grace = self.grace();
                    self.apply(None, Event::Stop { reason, grace });
                }
            }
            State::Ended { .. } => {}
        }
        self.apply(None, Event::Tick);
        // A look that takes long is no standstill: else nobody would ever be given up on where all of them do.
        self.looked_until = self.now();
    }

    /// When the loop has to wake up even if nothing happens.
    fn next_wake(&self) -> Option<Moment> {
        let now = self.now();
        let state = match self.lifecycle.state() {
            State::Freezing { .. } => Some(now + FREEZE_INTERVAL),
            State::Killing { .. } => Some(now + KILL_INTERVAL),
            _ => self.lifecycle.deadline(),
        };
        let limits = match self.lifecycle.state() {
            State::Running | State::Paused { .. } => self.timers.limits().map(|(at, _)| at).min(),
            // Those that are reached have been acted on.
            State::Stopping { .. } => {
                let limits = self.timers.limits().map(|(at, _)| at);
                limits.filter(|at| *at > self.looked_at).min()
            }
            _ => None,
        };
        let sizes = self.sizes();
        let reports = self
            .connections
            .iter()
            .filter(|server| server.reported.0 != sizes && !server.has_unsent())
            .map(report_due)
            .min();
        let folder = self.timers.folder_due();
        let thaw = self.is_to_thaw.then_some(now + FREEZE_INTERVAL);
        let held_back = [self.deaf_until, self.unreaped_until, thaw];
        let wakes = [state, limits, reports, folder]
            .into_iter()
            .chain(held_back);
        wakes.flatten().min()
    }

    /// Tells servers how long the output is by now, as often as they want to know. One that has
    /// not taken the last report gets the next one when it has.
    fn report_output(&mut self) {
        let sizes = self.sizes();
        let now = self.now();
        for server in &mut self.connections {
            if server.reported.0 != sizes && !server.has_unsent() && report_due(server) <= now {
                server.reported = (sizes, now);
                server.send(&Message::Output(sizes));
            }
        }
    }
}

fn report_due(server: &Connection) -> Moment {
    let interval = if server.watching {
        WATCHED_INTERVAL
    } else {
        UNWATCHED_INTERVAL
    };
    server.reported.1 + interval
}
