//! Where agents' cgroups are made, and which controllers they can have, on the real hierarchy.
//!
//! These tests make cgroups of their own and hand the controller `hugetlb` (or `misc`, or `rdma`)
//! down to them, which limits nothing by itself. At the end everything is as it was.
#![cfg(test)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use descartes_shim::cgroup::{self, Base};
use rustix::fs::{FlockOperation, flock};

/// Controllers that no other program is likely to need, whose absence or presence hurts nobody.
const HARMLESS: [&str; 3] = ["hugetlb", "misc", "rdma"];

/// A cgroup of a test's own directly below the root, which hands one controller down to it.
struct Ground {
    root: PathBuf,
    path: PathBuf,
    controller: &'static str,
    /// What of the root has to be put back.
    was_off: bool,
    children: Vec<Child>,
    /// One test at a time changes the root.
    _turn: File,
}

impl Ground {
    /// `None`, loudly, where this host does not let the test change its cgroups.
    fn prepare(name: &str) -> Option<Self> {
        let skip = |reason: String| {
            eprintln!("skipped: {reason}");
            None
        };
        let Some(root) = root() else {
            return skip("no cgroup v2 hierarchy is mounted".to_owned());
        };
        let turn = File::create(std::env::temp_dir().join("descartes-test-cgroups.lock")).unwrap();
        flock(&turn, FlockOperation::LockExclusive).unwrap();
        let offered = fs::read_to_string(root.join("cgroup.controllers")).unwrap_or_default();
        let find = |name: &&&str| offered.split_whitespace().any(|offer| offer == **name);
        let Some(&controller) = HARMLESS.iter().find(find) else {
            return skip(format!(
                "of {HARMLESS:?} cgroup v2 has only [{}]",
                offered.trim()
            ));
        };
        let was_off = !enabled(&root).contains(&controller.to_owned());
        let path = root.join(format!("descartes-test-{name}-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&path) {
            return skip(format!("cannot create {}: {error}", path.display()));
        }
        let ground = Self {
            root,
            path,
            controller,
            was_off,
            children: Vec::new(),
            _turn: turn,
        };
        let handed = fs::write(ground.root.join(ENABLED), format!("+{controller}"));
        match handed {
            Ok(()) => Some(ground),
            Err(error) => skip(format!("the root hands out no controllers: {error}")),
        }
    }

    /// A cgroup of this name with a process in it, as a server would be.
    fn inhabited(&mut self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap();
        self.settle(&path).unwrap();
        path
    }

    /// Starts a process and puts it into the cgroup.
    fn settle(&mut self, cgroup: &Path) -> std::io::Result<()> {
        #[expect(clippy::disallowed_methods, reason = "a process to put somewhere")]
        let child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()?;
        let pid = child.id().to_string();
        self.children.push(child);
        fs::write(cgroup.join("cgroup.procs"), pid)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while cgroup::remove(&self.path).is_err() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.was_off {
            let off = format!("-{}", self.controller);
            // Where the test was about the root itself, the folder of all leaves has it as well.
            let _ = fs::write(self.root.join("descartes").join(ENABLED), &off);
            let _ = fs::write(self.root.join(ENABLED), &off);
        }
    }
}

/// Names the cgroup to a test's second process.
const LEAF: &str = "DESCARTES_TEST_LEAF";

const ENABLED: &str = "cgroup.subtree_control";

fn root() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut mounts = mounts.lines().map(|line| line.split(' '));
    mounts.find_map(|mut fields| {
        let path = fields.nth(1)?;
        (fields.next() == Some("cgroup2")).then(|| PathBuf::from(path))
    })
}

fn enabled(cgroup: &Path) -> Vec<String> {
    let list = fs::read_to_string(cgroup.join(ENABLED)).unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

/// Whether a leaf has a file of this controller.
fn has_files_of(leaf: &Path, controller: &str) -> bool {
    let files = fs::read_dir(leaf).unwrap().flatten();
    let mut names = files.map(|file| file.file_name().into_string().unwrap());
    names.any(|name| name.starts_with(&format!("{controller}.")))
}

#[test]
fn a_server_in_a_subgroup_of_its_own_has_its_agents_beside_it_with_controllers() {
    let Some(mut ground) = Ground::prepare("beside") else {
        return;
    };
    let (unit, controller) = (ground.path.clone(), ground.controller);
    let own = ground.inhabited("descartes-server");
    let base = Base::of(&own).unwrap();
    assert_eq!(base.path(), unit.join("descartes"));
    assert!(base.offers(controller));
    assert_eq!(
        enabled(&unit),
        Vec::<String>::new(),
        "a look changes nothing"
    );
    assert!(base.enable_controller(controller));
    let leaf = base.leaf("agent");
    cgroup::create(&leaf, []).unwrap();
    assert!(has_files_of(&leaf, controller));
    ground.settle(&leaf).unwrap();
    // The next start of the service is put where this one is, while the agent goes on.
    ground.settle(&own).unwrap();
    // Later servers find it enabled.
    let again = Base::of(&own).unwrap();
    assert!(again.offers(controller) && again.enable_controller(controller));
}

#[test]
fn a_cgroup_with_processes_of_its_own_hands_no_controller_to_agents_and_stays_usable() {
    let Some(mut ground) = Ground::prepare("below") else {
        return;
    };
    let controller = ground.controller;
    let own = ground.inhabited("session.scope");
    let base = Base::of(&own).unwrap();
    assert_eq!(base.path(), own.join("descartes"));
    // Handed down as far as the server's own cgroup: it could be enabled but for the server.
    fs::write(ground.path.join(ENABLED), format!("+{controller}")).unwrap();
    assert!(!base.offers(controller));
    assert!(!base.enable_controller(controller));
    assert_eq!(enabled(&own), Vec::<String>::new());
    let leaf = base.leaf("agent");
    cgroup::create(&leaf, []).unwrap();
    ground.settle(&leaf).unwrap();
    ground.settle(&own).unwrap();
}

#[test]
fn what_others_have_enabled_is_used() {
    let Some(mut ground) = Ground::prepare("given") else {
        return;
    };
    let controller = ground.controller;
    let base = Base::of(&ground.inhabited("descartes-server")).unwrap();
    fs::write(ground.path.join(ENABLED), format!("+{controller}")).unwrap();
    assert!(base.offers(controller) && base.enable_controller(controller));
}

#[test]
fn a_controller_that_is_not_handed_down_is_none() {
    let Some(mut ground) = Ground::prepare("none") else {
        return;
    };
    let inner = ground.inhabited("without/descartes-server");
    // Two levels up it could be enabled; the server changes one.
    let base = Base::of(&inner).unwrap();
    assert!(!base.offers(ground.controller) && !base.enable_controller(ground.controller));
    assert!(!base.offers("no-such-controller"));
    assert!(!base.enable_controller("no-such-controller"));
    assert_eq!(enabled(&ground.path), Vec::<String>::new());
}

#[test]
fn in_the_root_controllers_are_enabled_beside_processes() {
    let Some(ground) = Ground::prepare("root") else {
        return;
    };
    if !ground.was_off {
        eprintln!("skipped: the root hands out {} already", ground.controller);
        return;
    }
    let root = ground.root.clone();
    let base = Base::of(&root).unwrap();
    fs::write(root.join(ENABLED), format!("-{}", ground.controller)).unwrap();
    assert!(base.offers(ground.controller));
    assert!(base.enable_controller(ground.controller));
    assert!(enabled(base.path()).contains(&ground.controller.to_owned()));
    let leaf = base.leaf(&format!("test-{}", std::process::id()));
    cgroup::create(&leaf, []).unwrap();
    let has_files = has_files_of(&leaf, ground.controller);
    cgroup::remove(&leaf).unwrap();
    assert!(has_files);
}

#[test]
fn a_process_neither_kills_nor_removes_the_cgroup_that_it_is_in() {
    if let Some(leaf) = std::env::var_os(LEAF) {
        let leaf = PathBuf::from(leaf);
        assert!(!cgroup::holds_this_process(&leaf).unwrap());
        fs::write(leaf.join("cgroup.procs"), "0").unwrap();
        let below = leaf.join("below");
        fs::create_dir(&below).unwrap();
        for cgroup in [leaf.parent().unwrap(), &leaf] {
            assert!(cgroup::holds_this_process(cgroup).unwrap());
            for refused in [cgroup::kill(cgroup), cgroup::remove(cgroup)] {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
            }
        }
        fs::remove_dir(&below).unwrap();
        return;
    }
    let Some(mut ground) = Ground::prepare("own") else {
        return;
    };
    let leaf = ground.inhabited("leaf");
    let own = std::env::current_exe().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test's second process")]
    let mut second = Command::new(own);
    second
        .args([
            "--exact",
            "a_process_neither_kills_nor_removes_the_cgroup_that_it_is_in",
        ])
        .env(LEAF, &leaf);
    assert!(second.status().unwrap().success());
    assert!(ground.children[0].try_wait().unwrap().is_none());
    cgroup::kill(&leaf).unwrap();
    assert!(!ground.children[0].wait().unwrap().success());
}
