//! What can be wrong with single settings.

use descartes_runner::OUTPUT_BYTES_MIN;

use super::{ConfigFault, ZmqServerConfig, fault};

/// The longest time that a setting may name, in seconds: what adds up with the present.
const SECS_MAX: u64 = 100 * 365 * 24 * 60 * 60;

impl ZmqServerConfig {
    pub(super) fn check_numbers(&self, faults: &mut Vec<ConfigFault>) {
        let least_one = [
            ("max_agents", self.max_agents as u64),
            (
                "status_update_interval_secs",
                self.status_update_interval_secs,
            ),
            ("request_timeout_secs", self.request_timeout_secs),
            (
                "runner.health_check_interval_secs",
                self.runner_config.health_check_interval_secs,
            ),
        ];
        for (key, value) in least_one {
            if value == 0 {
                faults.push(fault(key, "must be at least 1"));
            }
        }
        let times = [
            (
                "status_update_interval_secs",
                self.status_update_interval_secs,
            ),
            ("request_timeout_secs", self.request_timeout_secs),
            ("shutdown_timeout_secs", self.shutdown_timeout_secs),
            ("retain_secs", self.retain_secs),
            (
                "runner.health_check_interval_secs",
                self.runner_config.health_check_interval_secs,
            ),
            ("runner.stop_grace_secs", self.runner_config.stop_grace_secs),
            (
                "runner.orphan_timeout_secs",
                self.runner_config.orphan_timeout_secs,
            ),
        ];
        for (key, secs) in times {
            if secs > SECS_MAX {
                faults.push(fault(
                    key,
                    &format!("must be at most {SECS_MAX}, a hundred years"),
                ));
            }
        }
        if self.runner_config.max_concurrent_agents == Some(0) {
            faults.push(fault(
                "runner.max_concurrent_agents",
                "must be at least 1; leave it out for no limit of its own",
            ));
        }
        if self.runner_config.output_bytes < OUTPUT_BYTES_MIN {
            faults.push(fault(
                "runner.output_bytes",
                &format!("must be at least {OUTPUT_BYTES_MIN}"),
            ));
        }
        if let Some(dir) = &self.runner_config.working_dir
            && !dir.is_dir()
        {
            faults.push(fault(
                "runner.working_dir",
                &format!("{} is not a directory", dir.display()),
            ));
        }
    }

    /// The id stands in topics and in the state folder's path.
    pub(super) fn check_server_id(&self, faults: &mut Vec<ConfigFault>) {
        let id = &self.server_id;
        let allowed = |character: char| {
            character.is_alphanumeric() || matches!(character, '-' | '_' | '.' | ':')
        };
        if id.is_empty() || id.len() > 128 || id.starts_with('.') || !id.chars().all(allowed) {
            faults.push(fault(
                "server_id",
                "must be 1 to 128 letters, digits, `-`, `_`, `:` and `.`, and not begin with `.`",
            ));
        }
    }
}
