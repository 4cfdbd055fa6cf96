//! Every way to end, for every shape of tree.

use std::time::Duration;

use descartes_core::protocol::{AgentId, Command, EndReason, PauseRequest};
use descartes_testkit::Client;

use super::common::{Means, assert_nothing_is_left, for_both_means, server, token};
use super::shapes::Shape;

/// How an agent comes to its end.
#[derive(Debug, Clone, Copy)]
enum End {
    ByItself,
    Stop,
    Kill,
    KillWhilePaused,
    StopWhilePaused,
}

async fn end(client: &Client, id: AgentId, how: End) {
    if matches!(how, End::KillWhilePaused | End::StopWhilePaused) {
        let mode = PauseRequest::Forced;
        client.done(id, &Command::Pause { mode }).await;
    }
    match how {
        End::ByItself => drop(client.done(id, &Command::CloseStdin).await),
        End::Stop | End::StopWhilePaused => {
            let grace = Some(Duration::from_millis(200));
            let data = client.done(id, &Command::Stop { grace, wait: true }).await;
            assert_eq!(data.get("forced").unwrap().as_bool(), Some(true));
        }
        End::Kill | End::KillWhilePaused => drop(client.done(id, &Command::Kill).await),
    }
}

async fn nothing_is_left(means: Means, shape: Shape, how: End, reason: EndReason) {
    let Some(server) = server(means).await else {
        return;
    };
    let client = server.client().await;
    let token = token();
    let script = shape.script(&token, "read line; exit 0");
    let agent = client.spawn(&script).await;
    client.wait_ready(agent.id).await;
    shape.assert_is_there(&token);
    end(&client, agent.id, how).await;
    let info = client.wait_end(agent.id).await;
    assert_eq!(info.end_reason, Some(reason), "{info:?}");
    assert_nothing_is_left(agent.id, &token, &format!("{means:?} {shape:?} {how:?}"));
    server.stop().await;
}

for_both_means! {
    nothing_is_left:
    a_family_that_ended_by_itself(Shape::Family, End::ByItself, EndReason::Exited);
    a_family_that_was_stopped(Shape::Family, End::Stop, EndReason::Stopped);
    a_family_that_was_killed(Shape::Family, End::Kill, EndReason::Killed);
    a_family_that_was_stopped_in_a_pause(Shape::Family, End::StopWhilePaused, EndReason::Stopped);
    a_family_that_was_killed_in_a_pause(Shape::Family, End::KillWhilePaused, EndReason::Killed);
    a_deaf_agent_that_ended_by_itself(Shape::Deaf, End::ByItself, EndReason::Exited);
    a_deaf_agent_that_was_stopped(Shape::Deaf, End::Stop, EndReason::Stopped);
    a_deaf_agent_that_was_killed(Shape::Deaf, End::Kill, EndReason::Killed);
    a_deaf_agent_that_was_stopped_in_a_pause(Shape::Deaf, End::StopWhilePaused, EndReason::Stopped);
    a_deaf_agent_that_was_killed_in_a_pause(Shape::Deaf, End::KillWhilePaused, EndReason::Killed);
    a_chain_that_ended_by_itself(Shape::Chain, End::ByItself, EndReason::Exited);
    a_chain_that_was_killed(Shape::Chain, End::Kill, EndReason::Killed);
    a_bomb_that_ended_by_itself(Shape::Bomb, End::ByItself, EndReason::Exited);
    a_bomb_that_was_stopped(Shape::Bomb, End::Stop, EndReason::Stopped);
    a_bomb_that_was_killed(Shape::Bomb, End::Kill, EndReason::Killed);
    a_bomb_that_was_stopped_in_a_pause(Shape::Bomb, End::StopWhilePaused, EndReason::Stopped);
    a_bomb_that_was_killed_in_a_pause(Shape::Bomb, End::KillWhilePaused, EndReason::Killed);
}
