//! What every command prints: its table, its `--json`, its errors, and its exit codes.

mod control;
mod following;
mod host;
mod looking;
mod spawning;
mod talking;
