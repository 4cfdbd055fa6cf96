//! What is missing in an agent's folder, and the disk has no room to put it back.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use descartes_core::ZmqServerConfig;
use descartes_core::protocol::{AgentId, AgentStatus, Command, EndReason, StdinPosition};
use descartes_testkit::{TestServer, shim_of, signal, soon};
use tempfile::TempDir;

/// A small disk at a server's state folder; it goes, with all that is in it, when this is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where nobody may mount one, which is said.
    #[expect(clippy::disallowed_methods, reason = "a disk is no agent")]
    fn at(path: &Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"]);
        let mounted = mount.arg(path).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(path.to_owned()));
        }
        eprintln!("skipped: nobody may mount a disk here; it takes root");
        None
    }

    fn fill(&self) {
        let ballast = self.0.join("ballast");
        let mut size = 1 << 20;
        while size > 0 {
            let filled = fs::read(&ballast).map_or(0, |it| it.len());
            if fs::write(&ballast, vec![0; filled + size]).is_err() {
                size /= 2;
            }
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    #[expect(clippy::disallowed_methods, reason = "a disk is no agent")]
    fn drop(&mut self) {
        let mut umount = std::process::Command::new("umount");
        let _ = umount.arg("--lazy").arg(&self.0).status();
    }
}

fn settings(dir: &TempDir) -> ZmqServerConfig {
    let mut config = descartes_testkit::config(dir.path());
    config.runner_config.health_check_interval_secs = 1;
    config
}

fn folder(state_dir: &Path, agent: AgentId) -> PathBuf {
    state_dir.join("agents").join(agent.to_string())
}

async fn comes(path: &Path) {
    let is_there = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(&path.display().to_string(), is_there).await;
}

fn write(line: &'static str) -> Command {
    Command::WriteStdin {
        data: line.as_bytes().into(),
        close: false,
        position: StdinPosition::Next,
    }
}

#[tokio::test]
async fn a_folder_that_the_disk_has_no_room_for_is_put_back_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(&dir);
    let state_dir = config.state_dir();
    let Some(disk) = SmallDisk::at(&state_dir) else {
        return;
    };
    let test = TestServer::start_in(dir, config.clone()).await;
    let client = test.client().await;
    let agent = client
        .spawn("echo ready; read -r line; echo $line; exit 3")
        .await;
    client.wait_ready(agent.id).await;
    let home = folder(&state_dir, agent.id);
    disk.fill();
    let before = fs::metadata(&state_dir).unwrap().modified().unwrap();
    fs::remove_dir_all(&home).unwrap();
    disk.fill();
    let tried = async {
        // It is made beside the others, in vain.
        while fs::metadata(&state_dir).unwrap().modified().unwrap() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let dir = test.crash().await;
    soon("an attempt to make the folder anew", tried).await;
    assert!(!home.exists());
    disk.make_room();
    for record in ["spec.json", "state.json", "exit.json.reserved"] {
        comes(&home.join(record)).await;
    }
    let test = TestServer::start_in(dir, config.clone()).await;
    let client = test.client().await;
    client.done(agent.id, &write("after\n")).await;
    let info = client.wait_end(agent.id).await;
    assert_eq!(info.exit_code, Some(3));
    let again = test.crash().await;
    let test = TestServer::start_in(again, config).await;
    let client = test.client().await;
    let info = client.info(agent.id).await;
    assert_eq!(
        (info.exit_code, info.end_reason),
        (Some(3), Some(EndReason::Exited))
    );
    assert_eq!(info.output.stdout_lost_bytes, Some("ready\n".len() as u64));
    assert_eq!(client.stdout(agent.id).await, "after\n");
    let _dir = test.stop_and_keep().await;
    drop(disk);
}

#[tokio::test]
async fn an_agent_whose_end_cannot_be_recorded_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = settings(&dir);
    let state_dir = config.state_dir();
    let Some(disk) = SmallDisk::at(&state_dir) else {
        return;
    };
    let test = TestServer::start_in(dir, config.clone()).await;
    let client = test.client().await;
    let agent = client.spawn("sleep 1000").await;
    let shim = shim_of(&state_dir, agent.id);
    let mut dir = test.crash().await;
    signal(shim, "KILL");
    let home = folder(&state_dir, agent.id);
    fs::write(home.join("state.json"), "{").unwrap();
    fs::remove_file(home.join("exit.json.reserved")).unwrap();
    disk.fill();
    for _ in 0..2 {
        let test = TestServer::start_in(dir, config.clone()).await;
        let info = test.client().await.info(agent.id).await;
        assert_eq!(
            (info.status, info.end_reason),
            (AgentStatus::Failed, Some(EndReason::Lost))
        );
        dir = test.crash().await;
    }
    drop(disk);
}

#[tokio::test]
async fn an_agent_that_has_written_was_started_whatever_is_missing() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("echo ready; sleep 1000").await;
    client.wait_ready(agent.id).await;
    let config = test.server.config().clone();
    let state_dir = config.state_dir();
    let shim = shim_of(&state_dir, agent.id);
    let dir = test.crash().await;
    signal(shim, "KILL");
    fs::remove_file(folder(&state_dir, agent.id).join("state.json")).unwrap();
    let test = TestServer::start_in(dir, config).await;
    let client = test.client().await;
    let info = client.info(agent.id).await;
    assert_eq!((info.pid, info.end_reason), (None, Some(EndReason::Lost)));
    assert_eq!(client.stdout(agent.id).await, "ready\n");
    test.stop().await;
}

#[tokio::test]
async fn records_that_are_removed_while_an_agent_runs_are_put_back_before_it_ends() {
    let test = TestServer::start_with(|config| {
        config.runner_config.enable_health_checks = false;
    })
    .await;
    let client = test.client().await;
    let agent = client.spawn("echo ready; read -r line; exit 5").await;
    client.wait_ready(agent.id).await;
    let config = test.server.config().clone();
    let home = folder(&config.state_dir(), agent.id);
    for record in ["spec.json", "state.json"] {
        fs::remove_file(home.join(record)).unwrap();
    }
    client.done(agent.id, &write("end\n")).await;
    client.wait_end(agent.id).await;
    let dir = test.stop_and_keep().await;
    let test = TestServer::start_in(dir, config).await;
    let info = test.client().await.info(agent.id).await;
    assert_eq!((info.exit_code, info.pid), (Some(5), agent.pid));
    test.stop().await;
}
