//! How a server is set up, and what can be wrong with it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use descartes_runner::ProcessRunnerConfig;
use descartes_runner::backend::Backends;
use descartes_transport::Endpoint;

mod check;

/// Settings of a server. Every field has a default.
#[derive(Debug, Clone)]
pub struct ZmqServerConfig {
    /// Where requests come in: `tcp://HOST:PORT` or `ipc:///PATH`. Port 0 takes any free one.
    /// Default: `tcp://127.0.0.1:5555`.
    pub endpoint: String,
    /// Where events go out. `None`: the same host and the port after, or the path with `.pub`
    /// after it; an empty text: nowhere. Default: `None`.
    pub pub_endpoint: Option<String>,
    /// The host that replies and client bundles name, where `endpoint` listens on all of them.
    /// Default: the host's name.
    pub advertise_host: Option<String>,
    /// What the server is called. Default: the host's name.
    pub server_id: String,
    /// Most agents that run at once. Default: 100.
    pub max_agents: usize,
    /// Seconds between two heartbeats on the event socket. Default: 10; at least 1.
    pub status_update_interval_secs: u64,
    /// Whether changes of status and heartbeats are broadcast. Default: true.
    pub enable_status_updates: bool,
    /// Settings of the agents.
    pub runner_config: ProcessRunnerConfig,
    /// Seconds after which a command that is not done is answered with `timeout`, and the limit
    /// of a spawn that brings none. Default: 30; at least 1.
    pub request_timeout_secs: u64,
    /// Seconds that a shutdown takes at most, but never less than one. Agents have 80 % of it before
    /// they are killed; with 0 they are killed at once. Default: 10.
    pub shutdown_timeout_secs: u64,
    /// What a shutdown does with running agents. Default: stop them.
    pub on_shutdown: OnShutdown,
    /// The folder that holds the agents, their output and the keys. `None`:
    /// `$XDG_STATE_HOME/descartes/<server_id>`, `$HOME/.local/state/…` where that is not set, and
    /// `/var/lib/…` where neither is. Default: `None`.
    pub state_dir: Option<PathBuf>,
    /// Finished agents that are kept, by number. Default: 1,000.
    pub retain_finished: usize,
    /// Seconds that finished agents are kept. Default: 604,800, a week.
    pub retain_secs: u64,
    /// Bytes of output kept of all finished agents together. Default: 10 GiB.
    pub retain_bytes: u64,
    /// Who may connect.
    pub security: SecurityConfig,
    /// The backends that clients may name. Default: the built-in ones.
    pub backends: Backends,
}

/// What a shutdown does with running agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnShutdown {
    /// They are stopped, and killed when the time is over.
    #[default]
    Stop,
    /// They go on, and the next start finds them.
    Detach,
}

/// Who may connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SecurityConfig {
    /// Whether connections are encrypted and clients known by their keys. Default: auto.
    pub mode: SecurityMode,
    /// The folder of the keys. `None`: `keys` in the state folder. Default: `None`.
    pub keys_dir: Option<PathBuf>,
    /// The file that lists the clients. `None`: `authorized_clients.toml` in the folder of the
    /// keys. Default: `None`.
    pub authorized_clients: Option<PathBuf>,
}

/// Whether connections are encrypted and clients known by their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityMode {
    /// No: whoever reaches the socket may do everything.
    None,
    /// Yes.
    Curve,
    /// Exactly if an endpoint can be reached from other hosts.
    #[default]
    Auto,
}

impl Default for ZmqServerConfig {
    fn default() -> Self {
        Self {
            endpoint: "tcp://127.0.0.1:5555".to_owned(),
            pub_endpoint: None,
            advertise_host: None,
            server_id: host_name(),
            max_agents: 100,
            status_update_interval_secs: 10,
            enable_status_updates: true,
            runner_config: ProcessRunnerConfig::default(),
            request_timeout_secs: 30,
            shutdown_timeout_secs: 10,
            on_shutdown: OnShutdown::default(),
            state_dir: None,
            retain_finished: 1000,
            retain_secs: 7 * 24 * 60 * 60,
            retain_bytes: 10 * 1024 * 1024 * 1024,
            security: SecurityConfig::default(),
            backends: Backends::builtin(),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFault {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.key, self.problem)
    }
}

/// What a valid configuration comes to.
#[derive(Debug, Clone)]
pub(crate) struct Settled {
    pub(crate) endpoint: Endpoint,
    pub(crate) pub_endpoint: Option<Endpoint>,
    pub(crate) state_dir: PathBuf,
    pub(crate) keys_dir: PathBuf,
    pub(crate) authorized_clients: PathBuf,
    pub(crate) curve: bool,
}

impl ZmqServerConfig {
    /// Everything that is wrong with the configuration, as far as it can be told without trying.
    #[must_use]
    pub fn faults(&self) -> Vec<ConfigFault> {
        self.settle().err().unwrap_or_default()
    }

    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(self.request_timeout_secs)
    }

    /// The folder that holds the agents, their output and the keys.
    #[must_use]
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| {
            // Relative ones are to be ignored, says the XDG Base Directory Specification.
            let absolute = |name| {
                std::env::var_os(name)
                    .map(PathBuf::from)
                    .filter(|path| path.is_absolute())
            };
            let root = absolute("XDG_STATE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
                .unwrap_or_else(|| PathBuf::from("/var/lib"));
            root.join("descartes").join(&self.server_id)
        })
    }

    pub(crate) fn settle(&self) -> Result<Settled, Vec<ConfigFault>> {
        let mut faults = Vec::new();
        self.check_numbers(&mut faults);
        self.check_server_id(&mut faults);
        let endpoint = parse("endpoint", &self.endpoint, &mut faults);
        let pub_endpoint = self.settle_pub_endpoint(endpoint.as_ref(), &mut faults);
        let state_dir = self.state_dir();
        let keys_dir = self
            .security
            .keys_dir
            .clone()
            .unwrap_or_else(|| state_dir.join("keys"));
        let authorized_clients = self
            .security
            .authorized_clients
            .clone()
            .unwrap_or_else(|| keys_dir.join("authorized_clients.toml"));
        match endpoint {
            Some(endpoint) if faults.is_empty() => Ok(Settled {
                curve: self.needs_curve(&endpoint, pub_endpoint.as_ref()),
                endpoint,
                pub_endpoint,
                state_dir,
                keys_dir,
                authorized_clients,
            }),
            _ => Err(faults),
        }
    }

    fn needs_curve(&self, endpoint: &Endpoint, pub_endpoint: Option<&Endpoint>) -> bool {
        match self.security.mode {
            SecurityMode::None => false,
            SecurityMode::Curve => true,
            SecurityMode::Auto => {
                !endpoint.is_local_only()
                    || pub_endpoint.is_some_and(|endpoint| !endpoint.is_local_only())
            }
        }
    }

    fn settle_pub_endpoint(
        &self,
        endpoint: Option<&Endpoint>,
        faults: &mut Vec<ConfigFault>,
    ) -> Option<Endpoint> {
        match self.pub_endpoint.as_deref() {
            Some("") => None,
            Some(text) => {
                let parsed = parse("pub_endpoint", text, faults);
                if parsed.is_some() && parsed.as_ref() == endpoint && !text.ends_with(":0") {
                    faults.push(fault("pub_endpoint", "is the same as endpoint"));
                }
                parsed
            }
            None => match endpoint?.default_pub() {
                Ok(endpoint) => Some(endpoint),
                Err(error) => {
                    faults.push(fault(
                        "pub_endpoint",
                        &format!("{error}; set it, or set it to \"\" for no events"),
                    ));
                    None
                }
            },
        }
    }
}

fn parse(key: &'static str, text: &str, faults: &mut Vec<ConfigFault>) -> Option<Endpoint> {
    match text.parse() {
        Ok(endpoint) => Some(endpoint),
        Err(error) => {
            faults.push(fault(key, &format!("{error}")));
            None
        }
    }
}

fn fault(key: &'static str, problem: &str) -> ConfigFault {
    ConfigFault {
        key,
        problem: problem.to_owned(),
    }
}

/// The host's name; `localhost` where it has none that can be a server's id.
pub(crate) fn host_name() -> String {
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    if name.is_empty() || name == "(none)" {
        "localhost".to_owned()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(endpoint: &str) -> ZmqServerConfig {
        ZmqServerConfig {
            endpoint: endpoint.to_owned(),
            ..ZmqServerConfig::default()
        }
    }

    #[test]
    fn an_address_that_other_hosts_can_reach_is_encrypted_by_itself() {
        assert!(config("tcp://0.0.0.0:5555").settle().unwrap().curve);
        assert!(config("tcp://10.1.2.3:5555").settle().unwrap().curve);
        assert!(!config("tcp://127.0.0.1:5555").settle().unwrap().curve);
        assert!(!config("ipc:///run/descartes.sock").settle().unwrap().curve);
        let mut local_requests = config("tcp://127.0.0.1:5555");
        local_requests.pub_endpoint = Some("tcp://0.0.0.0:5556".to_owned());
        assert!(
            local_requests.settle().unwrap().curve,
            "both sockets, or neither"
        );
        local_requests.security.mode = SecurityMode::None;
        assert!(!local_requests.settle().unwrap().curve);
    }

    #[test]
    fn all_faults_are_told_at_once() {
        let config = ZmqServerConfig {
            endpoint: "tpc://nowhere".to_owned(),
            server_id: "a/b".to_owned(),
            max_agents: 0,
            request_timeout_secs: 0,
            ..ZmqServerConfig::default()
        };
        let keys: Vec<_> = config.faults().into_iter().map(|fault| fault.key).collect();
        assert_eq!(
            keys,
            [
                "max_agents",
                "request_timeout_secs",
                "server_id",
                "endpoint"
            ]
        );
    }

    #[test]
    fn events_go_out_at_the_next_port_unless_told_otherwise() {
        let next = config("tcp://127.0.0.1:5555")
            .settle()
            .unwrap()
            .pub_endpoint;
        assert_eq!(next.unwrap().to_string(), "tcp://127.0.0.1:5556");
        let mut none = config("tcp://127.0.0.1:5555");
        none.pub_endpoint = Some(String::new());
        assert!(none.settle().unwrap().pub_endpoint.is_none());
    }
}
