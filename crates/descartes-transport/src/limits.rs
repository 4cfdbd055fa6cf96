//! What a peer can cost: every bound of a socket, with its default.
//!
//! Measured with the defaults, beside what the kernel holds in its own buffers:
//!
//! | peer that does not read | costs |
//! |---|---|
//! | client, replies of 1 MiB | 33 MiB, with CURVE 35 MiB |
//! | client, replies of 4 KiB | 4 MiB |
//! | subscriber, events of 64 KiB | 3 MiB, with CURVE 4 MiB: there the bound is 64 events of any size |
//!
//! Requests that nobody takes: `recv_hwm` messages for all peers together, and for each connection the one message that
//! is being read. The library has no bound on the number of connections.

use std::time::Duration;

use omq_tokio::{KeepAlive as OmqKeepAlive, OnMute, Options, ReconnectPolicy};

const RECONNECT_MIN: Duration = Duration::from_millis(100);
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// The bounds of a socket. Used by both sides; the fields that concern only one say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest message, all frames together with 64 bytes for each, in bytes; default 16 MiB. A peer that sends more is
    /// disconnected.
    pub max_message_size: usize,
    /// Connections that have not finished their handshake, server only; default 8,192. One remote host gets at most an
    /// eighth of them; loopback is exempt.
    pub max_pending_handshakes: usize,
    /// Time from accept or dial to the end of the handshake; default 5 s.
    pub handshake_timeout: Duration,
    /// Time between two pings to a peer; default 10 s. Zero: none, and a silent peer stays connected.
    pub heartbeat_interval: Duration,
    /// A peer from which nothing came for this long is disconnected; default 30 s.
    pub heartbeat_timeout: Duration,
    /// What the peer is told to use as its own timeout; default 30 s, at most 6,553 s.
    pub heartbeat_ttl: Duration,
    /// How long `close` waits for queued messages to go out; default 2 s.
    pub linger: Duration,
    /// A TCP peer that acknowledges nothing, or does not read, for this long is disconnected (Linux); default 30 s. It
    /// is what ends a stalled reader, since a peer cannot be pinged while the connection is full.
    pub tcp_user_timeout: Duration,
    /// TCP keepalive probes.
    pub tcp_keepalive: KeepAlive,
    /// Messages queued for one peer; default 1,000. Beyond it a reply is refused and an event dropped.
    pub send_hwm: u32,
    /// Bytes of replies above 4 KiB that may wait for one client that does not read, server only; default 32 MiB. One
    /// reply is always taken, however large.
    pub reply_backlog_bytes: usize,
    /// Messages of all peers together that were received and not yet taken by `recv`; default 16, which is also the
    /// least. Then peers have to wait; more than that made nothing quicker when measured.
    pub recv_hwm: u32,
    /// Subscriptions of one client, server only; default 16,384. A client with more is disconnected.
    pub max_subscriptions: usize,
    /// Connection events that may wait for the task that watches them; default 4,096. More are not lost: the state is
    /// then read anew.
    pub monitor_capacity: usize,
}

/// TCP keepalive: how a silent connection is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeepAlive {
    /// Silence before the first probe; default 1 min.
    pub idle: Duration,
    /// Time between probes; default 10 s.
    pub interval: Duration,
    /// Unanswered probes until the connection counts as dead; default 3.
    pub probes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_size: 16 << 20,
            max_pending_handshakes: 8192,
            handshake_timeout: Duration::from_secs(5),
            heartbeat_interval: Duration::from_secs(10),
            heartbeat_timeout: Duration::from_secs(30),
            heartbeat_ttl: Duration::from_secs(30),
            linger: Duration::from_secs(2),
            tcp_user_timeout: Duration::from_secs(30),
            tcp_keepalive: KeepAlive::default(),
            send_hwm: 1000,
            reply_backlog_bytes: 32 << 20,
            recv_hwm: 16,
            max_subscriptions: 16_384,
            monitor_capacity: 4096,
        }
    }
}

impl Default for KeepAlive {
    fn default() -> Self {
        Self {
            idle: Duration::from_mins(1),
            interval: Duration::from_secs(10),
            probes: 3,
        }
    }
}

impl Limits {
    pub(crate) fn options(&self) -> Options {
        let keepalive = self.tcp_keepalive;
        let options = if self.heartbeat_interval.is_zero() {
            Options::new()
        } else {
            Options::new()
                .heartbeat_interval(self.heartbeat_interval)
                .heartbeat_timeout(self.heartbeat_timeout)
                .heartbeat_ttl(self.heartbeat_ttl)
        };
        options
            .max_message_size(self.max_message_size)
            .max_pending_handshakes(self.max_pending_handshakes)
            .handshake_timeout(self.handshake_timeout)
            .linger(self.linger)
            .tcp_user_timeout(self.tcp_user_timeout)
            .tcp_keepalive(OmqKeepAlive::Enabled {
                idle: keepalive.idle,
                intvl: keepalive.interval,
                cnt: keepalive.probes,
            })
            .send_hwm(self.send_hwm)
            .recv_hwm(self.recv_hwm)
            .monitor_capacity(self.monitor_capacity)
            .on_mute(OnMute::Block)
            .reconnect(ReconnectPolicy::Exponential {
                min: RECONNECT_MIN,
                max: RECONNECT_MAX,
            })
    }
}
