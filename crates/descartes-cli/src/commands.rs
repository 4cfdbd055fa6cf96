//! The commands, a file each.

pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod control;
pub(crate) mod events;
pub(crate) mod health;
pub(crate) mod keygen;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod send;
pub(crate) mod servers;
pub(crate) mod show;
pub(crate) mod spawn;
pub(crate) mod stats;
pub(crate) mod top;
pub(crate) mod wait;
