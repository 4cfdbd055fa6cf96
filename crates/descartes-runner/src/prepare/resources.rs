//! Limits of memory, CPU and processes, as files of an agent's cgroup.

use std::collections::BTreeMap;

use descartes_protocol::Limits;
use descartes_shim::cgroup::Base;

use super::invalid;
use crate::error::SpawnError;

/// The controllers that limits are made of.
const CONTROLLERS: [&str; 3] = ["memory", "cpu", "pids"];

/// The kernel's default period of `cpu.max`, in microseconds (cgroup-v2.rst).
const CPU_PERIOD_US: u64 = 100_000;

/// More than any host's CPUs do in a period, and less than the kernel refuses (2⁴⁴ µs,
/// `MAX_BW` in `kernel/sched/sched.h`).
const CPU_QUOTA_US_MAX: u64 = 1 << 40;

/// As many processes as a kernel can have; it refuses larger limits (`PID_MAX_LIMIT`,
/// `include/linux/threads.h`).
const PIDS_MAX: u64 = 4 * 1024 * 1024;

/// The controllers by which agents in `base` can be limited.
pub(crate) fn controllers(base: &Base) -> Vec<&'static str> {
    let mut controllers = CONTROLLERS.to_vec();
    controllers.retain(|controller| base.offers(controller));
    controllers
}

/// The files and values of the cgroup limits that were asked for. One that this host cannot
/// enforce is refused rather than ignored; one above all that there can be limits nothing.
pub(super) fn limits(
    cgroups: Option<&Base>,
    asked: &Limits,
) -> Result<BTreeMap<String, String>, SpawnError> {
    let quota = |percent: u64| percent.saturating_mul(CPU_PERIOD_US / 100);
    let wanted = [
        (
            "limits.memory_bytes",
            "memory",
            asked.memory_bytes.map(|bytes| {
                // Without the second the kernel would pick single processes, and the rest go on.
                vec![
                    ("memory.max", bytes.to_string()),
                    ("memory.oom.group", "1".to_owned()),
                ]
            }),
            asked.memory_bytes,
        ),
        (
            "limits.cpu_percent",
            "cpu",
            asked.cpu_percent.map(|percent| {
                let quota = quota(percent).min(CPU_QUOTA_US_MAX);
                vec![("cpu.max", format!("{quota} {CPU_PERIOD_US}"))]
            }),
            asked.cpu_percent,
        ),
        (
            "limits.pids",
            "pids",
            asked
                .pids
                .map(|pids| vec![("pids.max", pids.min(PIDS_MAX).to_string())]),
            asked.pids,
        ),
    ];
    let mut limits = BTreeMap::new();
    for (field, controller, files, value) in wanted {
        let Some(files) = files else { continue };
        if value == Some(0) {
            return Err(invalid(
                field,
                "must be at least 1; leave it out for no limit",
            ));
        }
        if !cgroups.is_some_and(|base| base.enable_controller(controller)) {
            let reason = format!(
                "this host cannot enforce it: the cgroup controller `{controller}` is not delegated to the server"
            );
            return Err(SpawnError::InvalidConfig { field, reason });
        }
        limits.extend(
            files
                .into_iter()
                .map(|(file, value)| (file.to_owned(), value)),
        );
    }
    Ok(limits)
}
