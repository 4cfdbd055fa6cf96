//! Taking over agents whose shims live.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use descartes_protocol::AgentId;
use descartes_shim::record::State;
use descartes_shim::wire::{self, Command, Hello, Message, Outcome, Request, Sizes};
use tokio::time::Instant;

use super::Step;
use crate::agent::{self, Agent, AgentHandle, AgentState, Since};
use crate::descriptors::Descriptor;
use crate::link::Link;
use crate::runner::LocalProcessRunner;
use crate::store::Notes;

/// An agent whose shim lives, as far as its folder tells.
pub(super) struct Alive {
    pub(super) notes: Notes,
    pub(super) state: Option<State>,
    pub(super) stdin_bytes_max: u64,
    pub(super) stream: io::Result<UnixStream>,
    pub(super) descriptor: Option<Descriptor>,
}

impl LocalProcessRunner {
    /// Takes on an agent whose shim lives.
    pub(super) async fn adopt_alive(&self, id: AgentId, alive: Alive, deadline: Instant) -> Step {
        let mut link = Link::broken();
        let mut hello = None;
        let mut why = "its shim has not said how it is".to_owned();
        match alive.stream.and_then(Link::new) {
            Ok(connected) => {
                link = connected;
                hello = greeting(&mut link, deadline).await;
            }
            Err(error) => why = format!("its shim cannot be reached: {error}"),
        }
        let state = hello.as_ref().map(|hello| &hello.state);
        // Without a greeting the record has to do, but only when there is no more time: the shim
        // may just be ending.
        let late = Instant::now() >= deadline || alive.descriptor.is_none();
        let Some(state) = state.or(alive.state.as_ref().filter(|_| late)).cloned() else {
            let spawn = Some(alive.notes.spawn);
            return Step::Undecided { spawn, why };
        };
        if let (None, Some(hello)) = (&alive.state, &hello) {
            restore(&mut link, hello);
        }
        let sizes = hello
            .as_ref()
            .map_or_else(Sizes::default, |hello| hello.sizes);
        let (commands, orders) = agent::queues(&self.inner.stopping);
        let mut agent_state = AgentState::running(commands, (&state).into(), sizes);
        agent_state.set_place(self.inner.admission.readmit());
        agent_state.set_paused(hello.and_then(|hello| hello.paused));
        let spawn = alive.notes.spawn.clone();
        let agent = Arc::new(Agent::new(
            id,
            &self.inner.config.server_id,
            self.inner.store.agent_dir(id),
            alive.notes,
            alive.stdin_bytes_max,
            (Since::Adoption, agent_state),
        ));
        self.register(&AgentHandle {
            agent: Arc::clone(&agent),
        });
        self.own(agent, (link, alive.descriptor), orders);
        self.inner.spawns.started(&spawn, id);
        Step::Decided
    }

    /// Has the shim of an agent put the records back that cannot be read.
    pub(super) async fn have_restored(
        &self,
        id: AgentId,
        stream: io::Result<UnixStream>,
        deadline: Instant,
    ) -> Step {
        let undecided = |why: &str| Step::Undecided {
            spawn: None,
            why: format!("its records are damaged, and {why}"),
        };
        let Ok(mut link) = stream.and_then(Link::new) else {
            return undecided("its shim cannot be reached");
        };
        let Some(hello) = greeting(&mut link, deadline).await else {
            return undecided("its shim does not answer");
        };
        if !restore(&mut link, &hello) {
            return undecided("its shim is of a version that cannot put them back");
        }
        let answered = async {
            loop {
                if let Message::Reply { outcome, .. } = link.next().await? {
                    return io::Result::Ok(outcome);
                }
            }
        };
        match tokio::time::timeout_at(deadline, answered).await {
            Ok(Ok(Outcome::Done)) => {
                tracing::warn!(agent = %id, "an agent's shim put damaged records back");
                undecided("its shim has put them back")
            }
            _ => undecided("its shim failed to put them back"),
        }
    }
}

/// The shim's first message; `None` where it does not come in time, or the shim has gone.
async fn greeting(link: &mut Link, deadline: Instant) -> Option<Hello> {
    match tokio::time::timeout_at(deadline, link.next()).await {
        Ok(Ok(Message::Hello(hello))) => Some(hello),
        _ => None,
    }
}

/// Asks the shim to put its records back; false where it does not know how.
fn restore(link: &mut Link, hello: &Hello) -> bool {
    let able = hello.version >= wire::RESTORE_SINCE;
    if able {
        let command = Command::Restore;
        // The owner's numbers begin with 1.
        link.send(&Request { id: 0, command }, &[]);
    }
    able
}
