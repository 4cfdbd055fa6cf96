//! What a shim leaves behind that dies before its agent.

use descartes_core::protocol::{AgentId, AgentStatus, Command, EndReason, PauseRequest};
use descartes_shim::tree::Process;
use descartes_testkit::{Client, shim_of, signal};

use super::common::{Means, assert_nothing_is_left, for_both_means, kill_shim, server, token};
use super::shapes::Shape;

/// What the agent did when its shim died.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Running,
    Paused,
}

async fn nothing_is_left(means: Means, shape: Shape, was: Was) {
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let token = token();
    let agent = client.spawn(&shape.script(&token, "read line")).await;
    client.wait_ready(agent.id).await;
    shape.assert_is_there(&token);
    if was == Was::Paused {
        let mode = PauseRequest::Forced;
        client.done(agent.id, &Command::Pause { mode }).await;
    }
    kill_shim(&server, agent.id);
    assert_is_lost(&client, agent.id).await;
    assert_nothing_is_left(agent.id, &token, &format!("{means:?} {shape:?} {was:?}"));
    server.stop().await;
}

async fn assert_is_lost(client: &Client, id: AgentId) {
    let info = client.wait_end(id).await;
    assert_eq!(
        (info.status, info.end_reason),
        (AgentStatus::Failed, Some(EndReason::Lost))
    );
    assert_eq!((info.exit_code, info.exit_signal), (None, None));
}

for_both_means! {
    nothing_is_left:
    of_a_deaf_agent(Shape::Deaf, Was::Running);
    of_a_paused_deaf_agent(Shape::Deaf, Was::Paused);
    of_a_family(Shape::Marked, Was::Running);
    of_a_paused_family(Shape::Marked, Was::Paused);
    of_a_chain(Shape::Chain, Was::Running);
    of_a_paused_chain(Shape::Chain, Was::Paused);
    of_a_bomb(Shape::Bomb, Was::Running);
    of_a_paused_bomb(Shape::Bomb, Was::Paused);
}

async fn nothing_is_left_of_the_nameless(means: Means, server_was: ServerWas) {
    let Some(mut server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let token = token();
    // It outlives its shim: the end of its stdin does not end it.
    let script = Shape::Nameless.script(&token, "while :; do sleep 0.1; done");
    let agent = client.spawn(&script).await;
    client.wait_ready(agent.id).await;
    Shape::Nameless.assert_is_there(&token);
    match server_was {
        ServerWas::There => kill_shim(&server, agent.id),
        ServerWas::Away => {
            server = server
                .crash_and_restart(async |dir| signal(shim_of(dir, agent.id), "KILL"))
                .await;
        }
    }
    assert_is_lost(&server.client().await, agent.id).await;
    assert_nothing_is_left(agent.id, &token, &format!("{means:?} {server_was:?}"));
    server.stop().await;
}

/// Where the server was when a shim died.
#[derive(Debug, Clone, Copy)]
enum ServerWas {
    There,
    Away,
}

for_both_means! {
    nothing_is_left_of_the_nameless:
    of_nameless_ones(ServerWas::There);
    of_nameless_ones_without_a_server(ServerWas::Away);
}

/// A cleared environment in a session of its own, with no ancestor left: only a cgroup knows whose
/// it is.
#[tokio::test]
async fn a_cgroup_also_knows_those_that_hide() {
    nothing_is_left(Means::Cgroup, Shape::Family, Was::Running).await;
    nothing_is_left(Means::Cgroup, Shape::Family, Was::Paused).await;
}

/// In the middle of `exec` a process has no environment to be known by, nor a command line. Its pid
/// and start time stay what they are.
async fn nothing_is_left_of_agents_that_do_nothing_but_exec(means: Means) {
    const AGENTS: usize = 12;
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let token = token();
    let mut agents = Vec::new();
    let name: &str = &token;
    for _ in 0..AGENTS {
        let script =
            format!("s='exec sh -c \"$0\" \"$0\" {name}'; echo ready; exec sh -c \"$s\" \"$s\"");
        let agent = client.spawn(&script).await;
        let pid = agent.pid.unwrap().cast_signed();
        agents.push((agent.id, Process::read(pid).unwrap()));
    }
    for &(agent, _) in &agents {
        client.wait_ready(agent).await;
        kill_shim(&server, agent);
    }
    for &(agent, process) in &agents {
        assert_is_lost(&client, agent).await;
        let now = Process::read(process.pid);
        let lives = now.is_some_and(|now| now.start_time == process.start_time && !now.is_dead());
        assert!(!lives, "{now:?} is left");
    }
    server.stop().await;
}

for_both_means! {
    nothing_is_left_of_agents_that_do_nothing_but_exec:
    of_agents_that_do_nothing_but_exec();
}
