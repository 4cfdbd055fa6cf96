//! Holds one agent's process tree for the Descartes server.
//!
//! Only a parent learns an exit code, and only the holder of a pipe gets the output, so a server
//! that is itself the parent of its agents loses both when it dies. Here each agent gets a small
//! parent of its own, the *shim*: it starts the agent, copies its output into files, feeds its
//! stdin, delivers signals to the whole tree, enforces the time limits, records the exit, and
//! serves one Unix socket that the server connects to, leaves and comes back to as it likes.
//!
//! ```text
//! server ──(seqpacket, descriptors)──▶ template ──fork──▶ shim ──fork, exec──▶ agent
//!    └───────────(stream: control.sock)───────────────────▶┘
//! ```
//!
//! The crate holds both ends of what the two share: the records on disk ([`record`]), the
//! messages on the socket ([`wire`]), the output segments ([`segments`]) and their times
//! ([`times`]), and what it takes to find and signal a process tree ([`tree`], [`cgroup`]). It deliberately knows nothing of
//! ZeroMQ, async runtimes, backends or clients.
//!
//! A shim is started by a *template*: a small single-threaded process that the server starts once
//! ([`template::Template`]). It runs either from the `descartes-shim` binary or, where that is not
//! installed, from the server's own executable: a constructor that runs before `main` recognises
//! the request by `argv[0]` together with an inherited socket, and never returns.
//!
//! Linux only.

pub mod cgroup;
mod connection;
mod folder;
pub mod lifecycle;
mod output;
mod place;
mod process;
pub mod record;
mod recorder;
pub mod segments;
mod shim;
mod signals;
mod stdin;
pub mod template;
pub mod times;
pub mod tree;
pub mod wire;

/// Runs before `main` in every program that links this crate: a template process never gets to
/// that `main`. In all other programs it compares `argv[0]` and returns.
// SAFETY: called before `main` but after the C library's own initialisation; `run_if_asked` uses
// only system calls, the allocator and `std::env::args_os`, which std sets up in an earlier
// constructor on Linux.
#[ctor::ctor(unsafe)]
fn before_main() {
    template::run_if_asked();
}
