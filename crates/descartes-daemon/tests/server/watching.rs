//! Watching loses nothing: all events and all bytes come once and in order, however often the connection is cut and the
//! server is killed.
//!
//! Nothing here goes by time. Agents write until the test is done with them, a connection is cut once it has brought
//! something, and the server is killed once everybody has heard of the last time. All that chance decides comes from one
//! seed, which is printed; `DESCARTES_WATCHING_SEED` repeats it.

mod follower;
mod line;
mod plan;
mod verdict;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::path::PathBuf;

use descartes_client::protocol::{AgentId, PauseRequest, Stream};
use descartes_client::{ZmqAgentRunner as _, ZmqClient, ZmqRunnerConfig};
use descartes_testkit::{LossyProxy, shell, soon};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

use crate::harness::{Place, Server};
use follower::{Follower, read};
use line::Line;
use plan::{Plan, Step};
use verdict::Known;

const WRITERS: usize = 50;
const CUTS: usize = 100;
const KILLS: usize = 3;

/// A server, the lines to it, and all who take part.
struct Run {
    plan: Plan,
    place: Place,
    server: Server,
    address: watch::Sender<std::net::SocketAddr>,
    /// For those who follow events.
    events: Line,
    /// For those who read output: some of its replies are lost as well.
    output: Line,
    /// Does what a plan says, on a line that is never cut.
    doer: ZmqClient,
    /// What the others go through; it ends with this.
    _behind: (Line, LossyProxy),
    writers: Vec<AgentId>,
    /// Agents that end by themselves, and with which code.
    visitors: Vec<(AgentId, i32)>,
    known: Known,
    kills: usize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_cuts_and_three_killed_servers_cost_no_watcher_an_event_or_a_byte() {
    let seed = seed();
    println!("DESCARTES_WATCHING_SEED={seed}");
    let mut run = Run::begin(Plan::draw(seed, WRITERS, CUTS, KILLS)).await;
    run.start_writers().await;
    let watcher = client(&run.events.endpoint);
    let all = Follower::begin(&watcher, None).await;
    let one = Follower::begin(&watcher, Some(run.writers[0])).await;
    let reader = client(&run.output.endpoint);
    let mut readers = JoinSet::new();
    for (writer, agent) in run.writers.iter().copied().enumerate() {
        let reading = read(reader.clone(), agent, Stream::Stdout);
        readers.spawn(async move { (writer, reading.await) });
    }

    for step in std::mem::take(&mut run.plan.steps) {
        run.take(&step, [&all, &one]).await;
    }
    for writer in std::mem::take(&mut run.plan.lasting) {
        run.end(writer);
    }

    let outputs = soon("all output", readers.join_all()).await;
    for (writer, stdout) in outputs {
        let stderr = read(reader.clone(), run.writers[writer], Stream::Stderr);
        let stderr = soon("an agent's stderr", stderr).await;
        let (all_stdout, all_stderr) = run.plan.writers[writer].written(run.lines_of(writer));
        assert_eq!(text(stdout), all_stdout, "writer {writer}");
        assert_eq!(text(stderr), all_stderr, "writer {writer}");
    }
    run.check_events(&all, &one).await;
    run.server.signal(Signal::TERM);
    assert!(run.server.end().0.success());
}

impl Run {
    async fn begin(plan: Plan) -> Self {
        let place = Place::new();
        let (server, serves_at) = block_in_place(|| place.serve_on_tcp());
        let (address, at) = watch::channel(serves_at);
        let quiet = Line::to(at.clone()).await;
        let is_lost = plan.losses();
        let losing = LossyProxy::start(&quiet.endpoint, move |number, _| is_lost(number)).await;
        let before_losing = losing.endpoint.trim_start_matches("tcp://").parse();
        let before_losing = before_losing.expect("it is an address");
        Self {
            doer: client(&quiet.endpoint),
            events: Line::to(at).await,
            output: Line::to(watch::channel(before_losing).1).await,
            plan,
            place,
            server,
            address,
            _behind: (quiet, losing),
            writers: Vec::new(),
            visitors: Vec::new(),
            known: Known::new(),
            kills: 0,
        }
    }

    async fn start_writers(&mut self) {
        for (number, writer) in self.plan.writers.iter().enumerate() {
            std::fs::write(self.gate(number), "").expect("a gate");
            let script = writer.script(&self.gate(number), &self.count(number));
            self.writers.push(self.spawn(&script).await);
        }
    }

    async fn spawn(&self, script: &str) -> AgentId {
        let spawn = self.doer.spawn_remote(shell(script), None);
        soon("an agent", spawn).await.expect("it starts").id
    }

    async fn take(&mut self, step: &Step, followers: [&Follower; 2]) {
        let code = step.visitor_code;
        let visitor = self.spawn(&format!("exit {code}")).await;
        self.visitors.push((visitor, code));
        if step.has_pause {
            self.pause_and_resume().await;
        }
        self.events.carries().await;
        self.output.carries().await;
        if step.is_kill {
            for follower in followers {
                follower.has_seen_gaps(self.kills).await;
            }
            self.kill(&step.ends).await;
        } else {
            for writer in &step.ends {
                self.end(*writer);
            }
        }
        tokio::join!(self.events.cut(step.trouble), self.output.cut(step.trouble));
    }

    /// Makes events for who follows one agent. A pause that takes too long is given up by the server.
    async fn pause_and_resume(&self) {
        let agent = self.writers[0];
        let pause = self.doer.pause(agent, PauseRequest::Auto);
        let paused = soon("a pause", pause).await;
        let resumed = soon("its end", self.doer.resume(agent)).await;
        assert!(paused.is_err() || resumed.is_ok(), "{resumed:?}");
    }

    /// Kills the server, lets writers end without one, and starts it again.
    async fn kill(&mut self, ends: &[usize]) {
        self.look_at_events().await;
        self.server.kill();
        self.kills += 1;
        for writer in ends {
            self.end(*writer);
            let record = self
                .place
                .agent_file(&self.writers[*writer].to_string(), "exit.json");
            soon("an end without a server", exists(&record)).await;
        }
        let (server, serves_at) = block_in_place(|| self.place.serve_on_tcp());
        self.server = server;
        self.address.send_replace(serves_at);
    }

    /// Keeps all that this run of the server has told so far.
    async fn look_at_events(&mut self) {
        let events = soon("all events", self.doer.recent_events(None)).await;
        let events = events.expect("all events");
        let epoch = events
            .first()
            .expect("something has happened")
            .epoch
            .clone();
        self.known.insert(epoch, events);
    }

    /// Everything was told to both, up to the end of an agent after all others.
    async fn check_events(&mut self, all: &Follower, one: &Follower) {
        let agents = self.writers.iter().zip(&self.plan.writers);
        let mut ends: Vec<_> = agents
            .map(|(agent, writer)| (*agent, writer.exit_code))
            .collect();
        let last = self.spawn("exit 7").await;
        ends.extend(std::mem::take(&mut self.visitors));
        ends.push((last, 7));
        all.has_seen("all ends", |items| {
            let is_told = |agent| items.iter().any(|item| verdict::tells_end(item, agent));
            ends.iter().all(|(agent, _)| is_told(*agent))
        })
        .await;
        one.has_seen("the end of the agent that it follows", |items| {
            items
                .iter()
                .any(|item| verdict::tells_end(item, self.writers[0]))
        })
        .await;
        self.look_at_events().await;
        let (all, one) = (all.items(), one.items());
        assert_eq!((verdict::gaps(&all), verdict::gaps(&one)), (KILLS, KILLS));
        verdict::check_all(&all, &self.known);
        verdict::check_one(&one, self.writers[0]);
        verdict::check_end(&one, ends[0].0, ends[0].1);
        for (agent, code) in ends {
            verdict::check_end(&all, agent, code);
        }
    }

    /// Lets a writer come to its end.
    fn end(&self, writer: usize) {
        std::fs::remove_file(self.gate(writer)).expect("its gate is there");
    }

    /// How many lines a writer says that it has written.
    fn lines_of(&self, writer: usize) -> u64 {
        let count = std::fs::read_to_string(self.count(writer)).expect("it has ended");
        count.trim().parse().expect("a number")
    }

    fn gate(&self, writer: usize) -> PathBuf {
        self.place.path().join(format!("gate-{writer}"))
    }

    fn count(&self, writer: usize) -> PathBuf {
        self.place.path().join(format!("count-{writer}"))
    }
}

/// A client that never gives up.
fn client(endpoint: &str) -> ZmqClient {
    ZmqClient::new(ZmqRunnerConfig {
        endpoint: endpoint.to_owned(),
        request_timeout_secs: 1,
        max_request_attempts: u32::MAX,
        max_reconnect_attempts: u32::MAX,
        reconnect_delay_secs: 0,
        ..ZmqRunnerConfig::default()
    })
}

async fn exists(path: &std::path::Path) {
    while !path.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("writers write text")
}

/// What chance is drawn from.
fn seed() -> u64 {
    match std::env::var("DESCARTES_WATCHING_SEED") {
        Ok(seed) => seed.parse().expect("DESCARTES_WATCHING_SEED is a number"),
        Err(_) => RandomState::new().hash_one("a seed") % (1 << 32),
    }
}
