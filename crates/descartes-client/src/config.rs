//! How a client is set up.

use std::time::Duration;

use descartes_transport::{ClientSecurity, Endpoint, Limits};

use crate::ClientBundle;
use crate::error::ConfigError;

/// The longest time between two heartbeats, in seconds. Three of them are well below what ZeroMQ can tell a peer.
const HEARTBEAT_SECS_MAX: u64 = 600;

/// How many heartbeats a silent server may miss before its connection counts as broken.
const HEARTBEATS_MISSED_MAX: u32 = 3;

/// Settings of a client. Every field has a default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZmqRunnerConfig {
    /// Where the server listens: `tcp://HOST:PORT` or `ipc:///PATH`. Default: `tcp://127.0.0.1:5555`.
    pub endpoint: String,
    /// Seconds until an attempt to connect is given up. Default: 10; at least 1.
    pub connection_timeout_secs: u64,
    /// Seconds without a reply after which a request counts as lost: it is sent again where that is safe. It should be
    /// above the server's own `request_timeout_secs`, within which the server answers everything. What is known to
    /// take longer, such as a `stop` with its own grace time, gets that time in addition. Default: 35; at least 1.
    pub request_timeout_secs: u64,
    /// How often one request is sent at most, where that is safe, until there is a reply. Default: 6; at least 1.
    pub max_request_attempts: u32,
    /// Whether a broken connection is made again, and what was under way on it sent again. Default: true.
    pub auto_reconnect: bool,
    /// How many attempts in a row are made to connect again. The very first connection is tried once: a server that is
    /// not there is told at once. Default: 30, which with the delay is half a minute for a restart.
    pub max_reconnect_attempts: u32,
    /// Seconds between two attempts to connect again; the first one follows at once. Default: 1.
    pub reconnect_delay_secs: u64,
    /// Whether the server is asked for a sign of life when it is silent (ZeroMQ's own heartbeats). Default: true.
    pub enable_heartbeat: bool,
    /// Seconds between two such questions; after three without an answer the connection counts as broken.
    /// Default: 10; 1 to 600.
    pub heartbeat_interval_secs: u64,
    /// The server that is expected there. Another one is refused, before anything is asked of it. Default: any.
    pub server_id: Option<String>,
    /// The keys for a server that encrypts; only they count here, not the bundle's endpoints. Default: none, a plain
    /// connection. See [`Self::for_bundle`].
    pub bundle: Option<ClientBundle>,
}

impl Default for ZmqRunnerConfig {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5555".to_owned(),
            connection_timeout_secs: 10,
            request_timeout_secs: 35,
            max_request_attempts: 6,
            auto_reconnect: true,
            max_reconnect_attempts: 30,
            reconnect_delay_secs: 1,
            enable_heartbeat: true,
            heartbeat_interval_secs: 10,
            server_id: None,
            bundle: None,
        }
    }
}

impl ZmqRunnerConfig {
    /// The settings for the server that a bundle is for, and the defaults beside them.
    #[must_use]
    pub fn for_bundle(bundle: ClientBundle) -> Self {
        Self {
            endpoint: bundle.endpoint.clone(),
            bundle: Some(bundle),
            ..Self::default()
        }
    }

    pub(crate) fn check(self) -> Result<Checked, ConfigError> {
        let at_least_one = [
            ("connection_timeout_secs", self.connection_timeout_secs),
            ("request_timeout_secs", self.request_timeout_secs),
            ("max_request_attempts", self.max_request_attempts.into()),
            ("heartbeat_interval_secs", self.heartbeat_interval_secs),
        ];
        if let Some((key, _)) = at_least_one.iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero { key });
        }
        if self.heartbeat_interval_secs > HEARTBEAT_SECS_MAX {
            return Err(ConfigError::TooLarge {
                key: "heartbeat_interval_secs",
                max: HEARTBEAT_SECS_MAX,
            });
        }
        let endpoint: Endpoint = self.endpoint.parse()?;
        if endpoint.is_wildcard() {
            return Err(ConfigError::Wildcard { endpoint });
        }
        let security = match &self.bundle {
            None => ClientSecurity::Null,
            Some(bundle) => bundle.security()?,
        };
        let redials = if self.auto_reconnect {
            self.max_reconnect_attempts
        } else {
            0
        };
        Ok(Checked {
            endpoint,
            security,
            limits: self.limits(),
            connection_timeout: Duration::from_secs(self.connection_timeout_secs),
            request_timeout: Duration::from_secs(self.request_timeout_secs),
            reconnect_delay: Duration::from_secs(self.reconnect_delay_secs),
            redials,
            request_attempts: self.max_request_attempts,
            server_id: self.server_id,
        })
    }

    fn limits(&self) -> Limits {
        let defaults = Limits::default();
        let interval = if self.enable_heartbeat {
            Duration::from_secs(self.heartbeat_interval_secs)
        } else {
            Duration::ZERO
        };
        Limits {
            heartbeat_interval: interval,
            heartbeat_timeout: interval * HEARTBEATS_MISSED_MAX,
            handshake_timeout: Duration::from_secs(self.connection_timeout_secs),
            // Every request is waited for: nothing is on its way when a connection is closed.
            linger: Duration::ZERO,
            ..defaults
        }
    }
}

/// Settings that were found to be good.
#[derive(Debug, Clone)]
pub(crate) struct Checked {
    pub(crate) endpoint: Endpoint,
    pub(crate) security: ClientSecurity,
    pub(crate) limits: Limits,
    pub(crate) connection_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) reconnect_delay: Duration,
    /// Attempts in a row to make a connection that broke.
    pub(crate) redials: u32,
    /// How often one request is sent at most.
    pub(crate) request_attempts: u32,
    pub(crate) server_id: Option<String>,
}
