//! Every key of the configuration, except those of backends: its name, what it means, and the
//! setting that it stands for. What reads and shows configurations works from this table.

use super::Settings;
use super::slot::Slot;

/// One key.
pub(crate) struct Key {
    /// Its name, with a dot after its table.
    pub(crate) name: &'static str,
    /// What it means, for `--print-config`.
    pub(crate) help: &'static str,
    /// The setting.
    pub(crate) slot: for<'a> fn(&'a mut Settings) -> Slot<'a>,
}

/// The key of this name.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether keys stand in a table of this name.
pub(crate) fn is_table(name: &str) -> bool {
    let table = |key: &Key| key.name.split_once('.').map(|(table, _)| table);
    KEYS.iter().any(|key| table(key) == Some(name))
}

/// All keys: those outside of tables first, those of one table together.
pub(crate) const KEYS: &[Key] = &[
    Key {
        name: "endpoint",
        help: "Where requests come in: tcp://HOST:PORT or ipc:///PATH; port 0 takes any free one.",
        slot: |settings| Slot::Text(&mut settings.server.endpoint),
    },
    Key {
        name: "pub_endpoint",
        help: "Where events go out; unset: the port after, or the path with .pub; \"\": nowhere.",
        slot: |settings| Slot::OptionalText(&mut settings.server.pub_endpoint),
    },
    Key {
        name: "advertise_host",
        help: "The host that replies name, where endpoint listens on all; unset: the host's name.",
        slot: |settings| Slot::OptionalText(&mut settings.server.advertise_host),
    },
    Key {
        name: "server_id",
        help: "What the server is called; default: the host's name.",
        slot: |settings| Slot::Text(&mut settings.server.server_id),
    },
    Key {
        name: "max_agents",
        help: "Most agents that run at once.",
        slot: |settings| Slot::Count(&mut settings.server.max_agents),
    },
    Key {
        name: "status_update_interval_secs",
        help: "Seconds between two heartbeats on the event socket.",
        slot: |settings| Slot::Number(&mut settings.server.status_update_interval_secs),
    },
    Key {
        name: "enable_status_updates",
        help: "Whether changes of status and heartbeats are broadcast.",
        slot: |settings| Slot::Switch(&mut settings.server.enable_status_updates),
    },
    Key {
        name: "request_timeout_secs",
        help: "Seconds after which a command that is not done is answered with `timeout`.",
        slot: |settings| Slot::Number(&mut settings.server.request_timeout_secs),
    },
    Key {
        name: "shutdown_timeout_secs",
        help: "Seconds that a shutdown takes at most; agents have 80 % of them before they are killed.",
        slot: |settings| Slot::Number(&mut settings.server.shutdown_timeout_secs),
    },
    Key {
        name: "on_shutdown",
        help: "What a shutdown does with running agents: \"stop\" them, or \"detach\", so that they go on.",
        slot: |settings| Slot::Choice(&mut settings.server.on_shutdown),
    },
    Key {
        name: "state_dir",
        help: "Agents, output, keys; unset: $XDG_STATE_HOME (or ~/.local/state)/descartes/<server_id>.",
        slot: |settings| Slot::OptionalPath(&mut settings.server.state_dir),
    },
    Key {
        name: "retain_finished",
        help: "Finished agents that are kept, by number.",
        slot: |settings| Slot::Count(&mut settings.server.retain_finished),
    },
    Key {
        name: "retain_secs",
        help: "Seconds that finished agents are kept.",
        slot: |settings| Slot::Number(&mut settings.server.retain_secs),
    },
    Key {
        name: "retain_bytes",
        help: "Bytes of output kept of all finished agents together.",
        slot: |settings| Slot::Number(&mut settings.server.retain_bytes),
    },
    Key {
        name: "runner.working_dir",
        help: "Where agents work that name no directory; unset: where the server was started.",
        slot: |settings| Slot::OptionalPath(&mut settings.server.runner_config.working_dir),
    },
    Key {
        name: "runner.max_concurrent_agents",
        help: "A second limit on agents that run at once, beside max_agents; unset: none.",
        slot: |settings| {
            Slot::OptionalCount(&mut settings.server.runner_config.max_concurrent_agents)
        },
    },
    Key {
        name: "runner.enable_health_checks",
        help: "Whether to look after agents' shims that do not answer.",
        slot: |settings| Slot::Switch(&mut settings.server.runner_config.enable_health_checks),
    },
    Key {
        name: "runner.health_check_interval_secs",
        help: "Seconds between two such looks.",
        slot: |settings| {
            Slot::Number(&mut settings.server.runner_config.health_check_interval_secs)
        },
    },
    Key {
        name: "runner.enable_json_streaming",
        help: "Whether agents' events are read for session, model, usage and result.",
        slot: |settings| Slot::Switch(&mut settings.server.runner_config.enable_json_streaming),
    },
    Key {
        name: "runner.output_bytes",
        help: "Bytes kept of each output stream of an agent; at least 4096.",
        slot: |settings| Slot::Number(&mut settings.server.runner_config.output_bytes),
    },
    Key {
        name: "runner.stdin_bytes",
        help: "Bytes of stdin that wait for an agent, beyond what its pipe holds.",
        slot: |settings| Slot::Number(&mut settings.server.runner_config.stdin_bytes),
    },
    Key {
        name: "runner.stop_grace_secs",
        help: "Seconds between a stop's signal and SIGKILL, where the stop does not say.",
        slot: |settings| Slot::Number(&mut settings.server.runner_config.stop_grace_secs),
    },
    Key {
        name: "runner.orphan_timeout_secs",
        help: "Seconds without any server after which an agent is stopped; 0: never.",
        slot: |settings| Slot::Number(&mut settings.server.runner_config.orphan_timeout_secs),
    },
    Key {
        name: "runner.use_cgroups",
        help: "Whether agents get a cgroup of their own where one can be made.",
        slot: |settings| Slot::Switch(&mut settings.server.runner_config.use_cgroups),
    },
    Key {
        name: "security.mode",
        help: "\"curve\": encrypted, with known clients; \"none\"; \"auto\": curve where other hosts reach it.",
        slot: |settings| Slot::Choice(&mut settings.server.security.mode),
    },
    Key {
        name: "security.keys_dir",
        help: "The folder of the keys; unset: `keys` in state_dir.",
        slot: |settings| Slot::OptionalPath(&mut settings.server.security.keys_dir),
    },
    Key {
        name: "security.authorized_clients",
        help: "The file that lists the clients; unset: authorized_clients.toml in keys_dir.",
        slot: |settings| Slot::OptionalPath(&mut settings.server.security.authorized_clients),
    },
    Key {
        name: "log.level",
        help: "What is logged: off, error, warn, info, debug, trace, or TARGET=LEVEL, with commas.",
        slot: |settings| Slot::Text(&mut settings.log.level),
    },
    Key {
        name: "log.format",
        help: "How: \"text\" for people, \"json\" for programs, one object a line.",
        slot: |settings| Slot::Choice(&mut settings.log.format),
    },
];
