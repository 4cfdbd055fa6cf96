//! Where agents' leaves are made, and which limits they can have there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Name of the folder of all leaves.
const NAME: &str = "descartes";

/// Name of the cgroup that a server is put into so that the one above it holds no processes: what
/// `DelegateSubgroup=` says in the systemd unit. Its agents are beside it then.
const SUBGROUP: &str = "descartes-server";

/// The folder in which agents' leaves are made.
///
/// ```text
/// <own cgroup>                    <unit>
/// ├─ (the server, shims)          ├─ descartes-server/   the server, shims
/// └─ descartes/                   └─ descartes/
///    └─ <agent>/                     └─ <agent>/
/// ```
///
/// On the left leaves can have controllers only if the own cgroup is the root: no other may hold
/// processes *and* hand out controllers (cgroup-v2.rst, "No Internal Process Constraint").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    path: PathBuf,
}

impl Base {
    /// Looks for a cgroup v2 hierarchy in which this process may make leaves that can be frozen
    /// and killed: beside the cgroup that it is in, where that is named `descartes-server`, else
    /// below it. It tries with a leaf of its own.
    ///
    /// # Errors
    /// Why there is none, in words for the log.
    pub fn detect() -> Result<Self, String> {
        let unreadable = |error: io::Error| format!("cannot read its cgroup: {error}");
        let mount = mount_point().map_err(unreadable)?;
        let mount = mount.ok_or("no cgroup v2 hierarchy is mounted")?;
        let own = own_cgroup().map_err(unreadable)?;
        let own = own.ok_or("this process is in no cgroup v2")?;
        Self::of(&mount.join(own.trim_start_matches('/')))
    }

    /// The same for a process in the cgroup `own`, an absolute path.
    ///
    /// # Errors
    /// Why there is none, in words for the log.
    pub fn of(own: &Path) -> Result<Self, String> {
        if own.file_name().is_some_and(|name| name == SUBGROUP)
            && let Ok(beside) = Self::at(own.with_file_name(NAME))
        {
            return Ok(beside);
        }
        Self::at(own.join(NAME))
    }

    fn at(path: PathBuf) -> Result<Self, String> {
        fs::create_dir_all(&path)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        let probe = path.join(format!("probe-{}", std::process::id()));
        fs::create_dir_all(&probe)
            .map_err(|error| format!("cannot create {}: {error}", probe.display()))?;
        let usable = ["cgroup.kill", "cgroup.freeze", "cgroup.procs"]
            .iter()
            .find_map(|file| {
                let opened = fs::OpenOptions::new().write(true).open(probe.join(file));
                opened
                    .err()
                    .map(|error| format!("cannot write {file}: {error}"))
            });
        let removed = fs::remove_dir(&probe);
        if let Some(fault) = usable {
            return Err(fault);
        }
        removed.map_err(|error| format!("cannot remove {}: {error}", probe.display()))?;
        Ok(Self { path })
    }

    /// Where the leaf of this agent is made.
    #[must_use]
    pub fn leaf(&self, agent_id: &str) -> PathBuf {
        self.path.join(agent_id)
    }

    /// Where the leaves are.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether leaves can limit `controller` (`memory`, `cpu`, `pids`), as far as can be seen
    /// without changing anything.
    #[must_use]
    pub fn offers(&self, controller: &str) -> bool {
        lists(&self.path.join(ENABLED), controller)
            || ((lists(&self.path.join(AVAILABLE), controller)
                || self.parent_handing_out(controller).is_some())
                && is_writable(&self.path.join(ENABLED)))
    }

    /// Whether leaves can limit `controller` (`memory`, `cpu`, `pids`): it enables it for them, in
    /// the cgroup of all leaves and, where it has to and may, in the one above.
    #[must_use]
    pub fn enable_controller(&self, controller: &str) -> bool {
        let enabled = self.path.join(ENABLED);
        if lists(&enabled, controller) {
            return true;
        }
        if !lists(&self.path.join(AVAILABLE), controller) {
            let above = self.parent_handing_out(controller);
            if above.is_none_or(|above| enable(&above, controller).is_err()) {
                return false;
            }
        }
        enable(&enabled, controller).is_ok()
    }

    /// The file of the cgroup above in which this controller may be enabled.
    fn parent_handing_out(&self, controller: &str) -> Option<PathBuf> {
        let parent = self.path.parent()?;
        let enabled = parent.join(ENABLED);
        let may = lists(&parent.join(AVAILABLE), controller)
            && is_writable(&enabled)
            && (is_root(parent) || has_no_processes(parent));
        may.then_some(enabled)
    }
}

/// File with the controllers that a cgroup may hand on.
const AVAILABLE: &str = "cgroup.controllers";
/// File with those that it hands on.
const ENABLED: &str = "cgroup.subtree_control";

fn lists(file: &Path, controller: &str) -> bool {
    fs::read_to_string(file)
        .is_ok_and(|list| list.split_ascii_whitespace().any(|name| name == controller))
}

fn enable(file: &Path, controller: &str) -> io::Result<()> {
    fs::write(file, format!("+{controller}"))
}

fn is_writable(file: &Path) -> bool {
    rustix::fs::access(file, rustix::fs::Access::WRITE_OK).is_ok()
}

/// The kernel keeps no type for the root of the hierarchy, as that is always a domain.
fn is_root(cgroup: &Path) -> bool {
    !cgroup.join("cgroup.type").exists()
}

/// Asked although the kernel refuses most controllers itself (EBUSY): `cpu` and `pids` it would
/// take, and then let no process into the leaves any more.
fn has_no_processes(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.procs")).is_ok_and(|list| list.is_empty())
}

/// Whether this process is in the cgroup `leaf` or in one below it: what an agent starts is in its
/// leaf, a server as well.
///
/// # Errors
/// Why that cannot be seen.
pub fn holds_this_process(leaf: &Path) -> io::Result<bool> {
    let own = own_cgroup()?.zip(mount_point()?);
    let own = own.map(|(own, mount)| mount.join(own.trim_start_matches('/')));
    Ok(own.is_some_and(|own| own.starts_with(leaf)))
}

/// Where cgroup v2 is mounted (`proc_pid_mountinfo(5)`).
fn mount_point() -> io::Result<Option<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(mounts.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        right
            .starts_with("cgroup2 ")
            .then(|| left.split(' ').nth(4).map(PathBuf::from))
            .flatten()
    }))
}

fn own_cgroup() -> io::Result<Option<String>> {
    let cgroups = fs::read_to_string("/proc/self/cgroup")?;
    let mut lines = cgroups.lines();
    let own = lines.find_map(|line| line.strip_prefix("0::"));
    Ok(own.map(str::to_owned))
}
