//! The sockets as their users see them: over real connections, against peers that behave and peers that do not.

#[cfg(test)]
mod binding;
#[cfg(test)]
mod events;
#[cfg(test)]
mod ipc;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod security;
#[cfg(test)]
mod support;
