//! The server's side of the socket to one shim.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use descartes_shim::record;
use descartes_shim::wire::{self, Message, Request};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::io::Interest;
use tokio::net::UnixStream;

const READ_BYTES: usize = 8 * 1024;

/// A connection to a shim, buffered in both directions.
#[derive(Debug)]
pub(crate) struct Link {
    /// `None` where there was no connection yet, or none could be had.
    stream: Option<UnixStream>,
    decoder: wire::Decoder,
    unsent: VecDeque<u8>,
}

impl Link {
    /// Takes over a connected socket. Must be called within a runtime.
    pub(crate) fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            stream: Some(UnixStream::from_std(stream)?),
            decoder: wire::Decoder::default(),
            unsent: VecDeque::new(),
        })
    }

    /// A link that is as if its connection had just broken.
    pub(crate) fn broken() -> Self {
        Self {
            stream: None,
            decoder: wire::Decoder::default(),
            unsent: VecDeque::new(),
        }
    }

    /// Queues a request. It goes out while [`Link::next`] is awaited.
    pub(crate) fn send(&mut self, request: &Request, data: &[u8]) {
        self.unsent.extend(wire::encode(request, data));
    }

    /// Bytes that the shim has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// The next message of the shim; sends what is queued meanwhile.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the shim closed the connection,
    /// [`io::ErrorKind::NotConnected`] where there was none, or what the socket says.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn next(&mut self) -> io::Result<Message> {
        let Some(stream) = &self.stream else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        loop {
            if let Some((message, _)) = self.decoder.next_frame()? {
                return Ok(message);
            }
            let mut interest = Interest::READABLE;
            if !self.unsent.is_empty() {
                interest |= Interest::WRITABLE;
            }
            let ready = stream.ready(interest).await?;
            if ready.is_writable() {
                flush(stream, &mut self.unsent)?;
            }
            if ready.is_readable() {
                fill(stream, &mut self.decoder)?;
            }
        }
    }
}

fn flush(stream: &UnixStream, unsent: &mut VecDeque<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match stream.try_write(unsent.as_slices().0) {
            Ok(count) => drop(unsent.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            // What the shim said before it closed is still to be read.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
                ) =>
            {
                *unsent = VecDeque::new();
            }
            Err(error) => return Err(error),
        }
    }
    *unsent = VecDeque::new();
    Ok(())
}

fn fill(stream: &UnixStream, decoder: &mut wire::Decoder) -> io::Result<()> {
    let mut buffer = [0; READ_BYTES];
    match stream.try_read(&mut buffer) {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(count) => {
            decoder.push(&buffer[..count]);
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error),
    }
}
/// Connects to the shim whose agent's folder is `dir`. Does not wait: a shim that takes no more
/// connections is an error.
pub(crate) fn connect(dir: &Path) -> io::Result<std::os::unix::net::UnixStream> {
    // The folder's own path may be too long for a socket address.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder: OwnedFd = rustix::fs::open(dir, flags, Mode::empty())?;
    let path = format!(
        "/proc/self/fd/{}/{}",
        folder.as_fd().as_raw_fd(),
        record::SOCKET
    );
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket.into())
}
