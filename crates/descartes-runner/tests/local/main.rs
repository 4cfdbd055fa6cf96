//! The runner on this host, without a server.
#![cfg(test)]

mod common;
mod leaving;
mod retention;
mod telling;
