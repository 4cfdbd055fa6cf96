//! One server's connection to the shim.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use serde::Serialize;

use crate::lifecycle::Moment;
use crate::wire::{self, Request, Sizes};

/// A server that leaves this much unread is taken for gone.
const UNREAD_BYTES_MAX: usize = 1024 * 1024;

/// A connection, buffered in both directions.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: u64,
    stream: OwnedFd,
    decoder: wire::Decoder,
    unsent: VecDeque<u8>,
    /// Whether output is to be reported at once.
    pub(crate) watching: bool,
    /// What was reported last, and when.
    pub(crate) reported: (Sizes, Moment),
    alive: bool,
}

impl Connection {
    pub(crate) fn new(id: u64, stream: OwnedFd, now: Moment) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&stream, true)?;
        Ok(Self {
            id,
            stream,
            decoder: wire::Decoder::default(),
            unsent: VecDeque::new(),
            watching: false,
            reported: (Sizes::default(), now),
            alive: true,
        })
    }

    pub(crate) fn stream(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// False once the server has gone, or broken the protocol.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive
    }

    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Queues a message and sends what the socket takes.
    pub(crate) fn send<T: Serialize>(&mut self, message: &T) {
        self.unsent.extend(wire::encode(message, &[]));
        self.flush();
        if self.unsent.len() > UNREAD_BYTES_MAX {
            self.alive = false;
        }
    }

    pub(crate) fn flush(&mut self) {
        while self.alive && !self.unsent.is_empty() {
            let flags = rustix::net::SendFlags::NOSIGNAL;
            match rustix::net::send(&self.stream, self.unsent.as_slices().0, flags) {
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => return,
                Err(_) => self.alive = false,
            }
        }
    }

    /// Takes what the server sent, and returns the whole requests in it.
    pub(crate) fn receive(&mut self, buffer: &mut [u8]) -> Vec<(Request, Vec<u8>)> {
        match rustix::io::read(&self.stream, &mut *buffer) {
            Ok(0) => self.alive = false,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(_) => self.alive = false,
        }
        let mut requests = Vec::new();
        while self.alive {
            match self.decoder.next_frame() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(_) => self.alive = false,
            }
        }
        requests
    }
}
