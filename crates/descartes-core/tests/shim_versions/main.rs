//! Servers and shims of different versions, as they meet after an upgrade or on the way back.
//!
//! What a version says on a shim's socket is kept in `descartes-shim/tests/recordings`; a README
//! there says how. Here today's server meets the shims in the recordings, and today's shim the
//! servers in them.
#![cfg(test)]

mod old_server;
mod old_shim;
mod record;
mod recording;
mod scenarios;
mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;

use descartes_core::AgentId;
use descartes_core::protocol::{ErrorCode, StdinPosition};
use descartes_shim::wire;
use descartes_testkit::{Stranger, TestServer};

use old_shim::{OldShim, private_dir};
use recording::{Identity, Recording, folder};
use scenarios::{SCENARIOS, Scenario};
use world::{Server, World, write_at};

/// Lets today's server find an agent with a shim of that version, and plays a scenario with it.
async fn meet_old_shim(version: u32, name: &str, play: scenarios::Play) {
    // They stand for processes of the recording, so that no others can be taken for them.
    let (leader, shim) = (Stranger::start(), Stranger::start());
    let identity = Identity {
        agent: AgentId::generate(),
        leader: leader.process(),
        shim: shim.process(),
    };
    let mut recording = Recording::load(version, name, identity.agent);
    recording.belongs_to(identity);
    let dir = tempfile::tempdir().unwrap();
    private_dir(&dir.path().join("state/agents"));
    let agent_dir = dir.path().join(format!("state/agents/{}", identity.agent));
    let OldShim { watching, playing } = OldShim::start(recording, &agent_dir);
    let scenario = async {
        let server = Server::here(dir).await;
        let pid = u64::try_from(identity.leader.pid).unwrap();
        let mut world = World::new(server, identity.agent, pid, watching).await;
        play(&mut world).await;
        world
    };
    let as_recorded = async {
        let outcome = playing.await.unwrap();
        outcome.unwrap_or_else(|difference| panic!("{difference}"));
    };
    // Together: a difference is told at once, not when the scenario has waited in vain.
    let (world, ()) = tokio::join!(scenario, as_recorded);
    world.close().await;
    for stranger in [leader, shim] {
        let signalled = stranger.process().is_dead();
        assert!(!signalled, "another process was taken for the agent's");
    }
}

/// Gives a macro the names of all scenarios: first those that depend on how much a pipe takes,
/// which is for the host to say, then the others.
macro_rules! with_scenarios {
    ($macro:ident) => {
        $macro! {
            [full]
            [ends paused polite output stdin no_stdin signals stopped forced shutdown writers
             restored]
        }
    };
}

/// A test for each of these scenarios, which calls `meet` for each version that can do it.
macro_rules! tests {
    ($($name:ident)*) => {$(
        #[tokio::test]
        async fn $name() {
            let scenario = Scenario::named(stringify!($name));
            for version in scenario.since..=wire::VERSION {
                meet(version, scenario).await;
            }
        }
    )*};
}

mod a_server_works_with_older_shims_as_with_its_own {
    use super::*;

    async fn meet(version: u32, scenario: &Scenario) {
        meet_old_shim(version, scenario.name, scenario.play).await;
    }

    macro_rules! all {
        ([$($host:ident)*] [$($other:ident)*]) => { tests!($($host)* $($other)*); };
    }
    with_scenarios!(all);
}

mod a_shim_answers_older_servers_as_their_own_did {
    use super::*;

    async fn meet(version: u32, scenario: &Scenario) {
        old_server::play(version, scenario.name).await;
    }

    macro_rules! those_of_any_host {
        ([$($host:ident)*] [$($other:ident)*]) => { tests!($($other)*); };
    }
    with_scenarios!(those_of_any_host);
}

#[test]
fn every_scenario_is_played() {
    macro_rules! names {
        ([$($host:ident)*] [$($other:ident)*]) => {
            [$(stringify!($host),)* $(stringify!($other),)*]
        };
    }
    let played = BTreeSet::from(with_scenarios!(names));
    let all: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
    assert_eq!(played, all);
}

#[tokio::test]
async fn a_shim_that_cannot_tell_writers_apart_is_not_asked_to() {
    meet_old_shim(1, "ends", |world| {
        Box::pin(async {
            let id = "one".parse().unwrap();
            let write = write_at("a", StdinPosition::Writer { id, offset: 0 });
            let words = "earlier version";
            world
                .refused(&write, ErrorCode::UnsupportedCommand, words)
                .await;
            (Scenario::named("ends").play)(world).await;
        })
    })
    .await;
}

#[tokio::test]
async fn an_older_server_finds_all_that_it_expects_in_the_records_of_an_agent() {
    let test = TestServer::start_with(|config| config.runner_config.use_cgroups = false).await;
    let agent = test.client().await.spawn("exec sleep 1000").await.id;
    let dir = test
        .server
        .config()
        .state_dir()
        .join(format!("agents/{agent}"));
    for version in 1..=wire::VERSION {
        let recording = Recording::load(version, "ends", agent);
        for name in ["spec.json", "state.json"] {
            let present = std::fs::read(dir.join(name)).unwrap();
            let present = serde_json::from_slice(&present).unwrap();
            old_server::assert_has_shape_of(&recording.files[name], &present, name);
        }
    }
    test.stop().await;
}

#[test]
fn every_version_is_recorded() {
    for version in 1..=wire::VERSION {
        for scenario in SCENARIOS
            .iter()
            .filter(|scenario| scenario.since <= version)
        {
            let path = folder(version).join(format!("{}.jsonl", scenario.name));
            assert!(path.is_file(), "there is no {}", path.display());
        }
    }
}

/// Records what the server program `DESCARTES_SERVER_BIN` and its shim say, over what was recorded
/// of that version before.
#[tokio::test]
#[ignore = "makes the recordings that the other tests read"]
async fn record() {
    let binary = std::env::var_os("DESCARTES_SERVER_BIN");
    let binary = PathBuf::from(binary.expect("DESCARTES_SERVER_BIN names a server program"));
    let mut version = 1;
    for scenario in SCENARIOS {
        if scenario.since <= version {
            version = record::record(scenario, &binary).await;
            eprintln!("recorded {} of version {version}", scenario.name);
        }
    }
}
