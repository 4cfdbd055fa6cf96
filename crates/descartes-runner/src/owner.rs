//! The task that owns one running agent: it alone speaks with the shim and changes the state.
//!
//! Commands go to the shim in the order in which they were queued, without waiting for earlier
//! ones; the shim answers each when its effect is there. So a read, a kill or a second stop never
//! waits for a stop that is under way.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use descartes_shim::record::Exit;
use descartes_shim::wire::{
    self, Command, Hello, Message, Outcome, Paused, Refusal, Request, Sizes,
};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::Instant;

use crate::agent::{Agent, AgentState, COMMANDS_MAX, Endings, Order, Orders, in_words};
use crate::awake::{self, Awake};
use crate::descriptors::{Descriptor, Descriptors};
use crate::link::Link;
use crate::observer::Observer;
use crate::summary::{self, Summary};
use crate::watcher::{LastWord, Watcher};
use search::{Contact, Shim, look_for_shim};

mod search;
pub(crate) use search::lost;

/// Bytes that a shim may leave unread before no more commands are taken for it.
const UNSENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Least time between two `output_available` of one agent.
const OUTPUT_INTERVAL: Duration = Duration::from_secs(1);

/// Pause between two looks at a shim that is about to go, or to come.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The longest such pause, where a fault persists.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(5);

/// Shims that are visited at once by owners without a descriptor of their own.
static VISITS: Semaphore = Semaphore::const_new(8);

/// The connection to a shim, and the right to have one.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    /// `None` for an agent that was found while all were taken.
    pub(crate) descriptor: Option<Descriptor>,
    pub(crate) descriptors: Descriptors,
}

/// The owner of one agent.
#[derive(Debug)]
pub(crate) struct Owner {
    agent: Arc<Agent>,
    link: Link,
    descriptor: Option<Descriptor>,
    descriptors: Descriptors,
    orders: Orders,
    endings: watch::Receiver<Endings>,
    observer: Arc<dyn Observer>,
    waiting: HashMap<u64, Order>,
    /// Who waits for the end, until it is in the state.
    end_waiters: Vec<oneshot::Sender<Outcome>>,
    next_request: u64,
    attention: watch::Receiver<usize>,
    /// What this connection's shim was told last of that.
    told_attention: Option<bool>,
    watcher: Option<Watcher>,
    /// When output may be announced next, and whether there is any to announce.
    output_due: Instant,
    output_pending: bool,
    /// When to see whether the shim of an agent that is to end stands still.
    look_due: Option<Instant>,
    awake: Awake,
}

/// What the owner's loop wakes up for.
#[derive(Debug)]
enum Event {
    Order(Order),
    /// An order is queued that shall end the agent.
    ToEnd,
    Message(Message),
    LinkBroke(io::Error),
    Attention,
    OutputDue,
    LookDue,
}

/// How an owner's agent ended.
#[derive(Debug)]
enum End {
    Recorded(Exit),
    /// The server goes and leaves the agent to itself.
    Detached,
}

impl Owner {
    pub(crate) fn new(
        agent: Arc<Agent>,
        connection: Connection,
        orders: Orders,
        observer: Arc<dyn Observer>,
        watcher: Option<Watcher>,
    ) -> Self {
        Self {
            attention: agent.attention(),
            told_attention: None,
            agent,
            link: connection.link,
            descriptor: connection.descriptor,
            descriptors: connection.descriptors,
            endings: orders.endings.subscribe(),
            orders,
            observer,
            waiting: HashMap::new(),
            end_waiters: Vec::new(),
            next_request: 1,
            watcher,
            output_due: Instant::now(),
            output_pending: false,
            look_due: None,
            awake: Awake::default(),
        }
    }

    /// Owns the agent until it has ended.
    pub(crate) async fn run(mut self) {
        self.attention.mark_changed();
        let end = loop {
            let event = self.next_event().await;
            if let Some(end) = self.handle(event).await {
                break end;
            }
        };
        match end {
            End::Recorded(exit) => self.finish(exit).await,
            End::Detached => {}
        }
    }

    async fn next_event(&mut self) -> Event {
        let takes_orders = self.takes_orders();
        let look_due = self.look_due.unwrap_or_else(Instant::now);
        tokio::select! {
            message = self.link.next() => match message {
                Ok(message) => Event::Message(message),
                Err(error) => Event::LinkBroke(error),
            },
            Some(order) = self.orders.ordinary.recv(), if takes_orders => {
                self.count_out(&order);
                Event::Order(order)
            }
            Some(order) = self.orders.kills.recv() => Event::Order(order),
            Ok(()) = self.endings.changed(), if !takes_orders => Event::ToEnd,
            Ok(()) = self.attention.changed() => Event::Attention,
            () = tokio::time::sleep_until(self.output_due), if self.output_pending => Event::OutputDue,
            () = tokio::time::sleep_until(look_due), if self.look_due.is_some() => Event::LookDue,
        }
    }

    /// The first order that shall end the agent, and what was queued before it, waits for nothing.
    fn takes_orders(&mut self) -> bool {
        let queued = *self.endings.borrow_and_update();
        if self.waiting.len() < COMMANDS_MAX && self.link.unsent() < UNSENT_BYTES_MAX {
            return true;
        }
        let is_under_way = |of_kind: fn(&Order) -> bool| self.waiting.values().any(of_kind);
        (queued.kills > 0 && !is_under_way(Order::kills))
            || (queued.stops > 0 && !is_under_way(Order::ends))
    }

    fn count_out(&self, order: &Order) {
        if order.ends() {
            self.orders.endings.send_modify(|endings| {
                if let Some(count) = endings.of(order) {
                    *count -= 1;
                }
            });
        }
    }

    async fn handle(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Order(order) => self.forward(order),
            // Orders are taken again.
            Event::ToEnd => {}
            Event::Message(message) => return self.hear(message),
            Event::LinkBroke(error) => return self.relink(error).await,
            Event::Attention => self.tell_attention(),
            Event::OutputDue => self.announce_output(),
            Event::LookDue => self.keep_awake(),
        }
        None
    }

    fn forward(&mut self, order: Order) {
        let ends = order.ends();
        let id = self.request(order.command.clone(), &order.data);
        self.waiting.insert(id, order);
        if ends {
            self.keep_awake();
        }
    }

    /// A shim that stands still must not keep its agent from its end.
    fn keep_awake(&mut self) {
        let shim = self.agent.state().stopped_shim();
        self.awake.wake(self.agent.id, shim, "the agent has ended");
        let is_ending = !self.end_waiters.is_empty() || self.waiting.values().any(Order::ends);
        self.look_due = is_ending.then(|| Instant::now() + awake::INTERVAL);
    }

    fn request(&mut self, command: Command, data: &[u8]) -> u64 {
        let id = self.next_request;
        self.next_request += 1;
        self.link.send(&Request { id, command }, data);
        id
    }

    fn tell_attention(&mut self) {
        let wanted = *self.attention.borrow_and_update() > 0;
        if self.told_attention != Some(wanted) && self.link.unsent() < UNSENT_BYTES_MAX {
            self.told_attention = Some(wanted);
            self.request(Command::Watch(wanted), &[]);
        }
    }

    fn hear(&mut self, message: Message) -> Option<End> {
        match message {
            Message::Hello(hello) => self.greet(&hello),
            Message::Reply { id, outcome } => self.settle(id, outcome),
            Message::Output(sizes) => self.output_grew(sizes),
            Message::Paused(paused) => self.set_paused(paused),
            Message::Ended(exit) => return Some(End::Recorded(exit)),
            // Only a shim that never started says so, and the spawn has read that.
            Message::Failed(_) => {}
        }
        None
    }

    fn greet(&mut self, hello: &Hello) {
        if hello.version > wire::VERSION {
            tracing::warn!(agent = %self.agent.id, version = hello.version, "the agent's shim is newer than this server, which may not understand all it says");
        }
        self.output_grew(hello.sizes);
        self.set_paused(hello.paused);
    }

    fn set_paused(&mut self, paused: Option<Paused>) {
        let mut state = self.agent.state();
        if state.set_paused(paused) {
            self.observer.update(state.change(self.agent.id, None));
        }
    }

    fn settle(&mut self, id: u64, outcome: Outcome) {
        let Some(order) = self.waiting.remove(&id) else {
            return;
        };
        if matches!(outcome, Outcome::Ended(_)) {
            self.end_waiters.push(order.reply);
        } else {
            // Who asked may have gone.
            let _ = order.reply.send(outcome);
        }
    }

    fn output_grew(&mut self, sizes: Sizes) {
        let progress = {
            let mut state = self.agent.state();
            if state.set_sizes(sizes) {
                self.tell_loss(&mut state);
            }
            state.progress()
        };
        let grew = self.agent.progress.send_if_modified(|before| {
            let grew = *before != progress;
            *before = progress;
            grew
        });
        if grew {
            self.output_pending = true;
            if Instant::now() >= self.output_due {
                self.announce_output();
            }
        }
    }

    /// Once: how much is lost stands in the agent's output sizes.
    fn tell_loss(&self, state: &mut AgentState) {
        let message = "output is being lost: its files cannot be written, as when the disk is full, or were deleted";
        tracing::warn!(agent = %self.agent.id, "{message}");
        self.observer
            .update(state.error(self.agent.id, message.to_owned()));
    }

    fn announce_output(&mut self) {
        self.output_pending = false;
        self.output_due = Instant::now() + OUTPUT_INTERVAL;
        let state = self.agent.state();
        self.observer.update(state.output_available(self.agent.id));
    }

    /// The connection broke: the shim let it go, or is gone itself.
    async fn relink(&mut self, error: io::Error) -> Option<End> {
        tracing::debug!(agent = %self.agent.id, %error, "the connection to the shim broke");
        // Whether the shim still did what was on the way cannot be known.
        self.waiting.clear();
        let mut pause = RETRY_INTERVAL;
        loop {
            let agent = Arc::clone(&self.agent);
            let may_connect = self.descriptor.is_some();
            let looked = if may_connect {
                look_for_shim(agent, Contact::Lasting).await
            } else {
                // The semaphore is never closed.
                let _turn = VISITS.acquire().await;
                look_for_shim(agent, Contact::Brief).await
            };
            match looked {
                Ok(Ok(Shim::Connected(stream))) => match Link::new(stream) {
                    Ok(link) => {
                        self.link = link;
                        self.told_attention = None;
                        self.attention.mark_changed();
                        return None;
                    }
                    Err(error) => self.complain(&error),
                },
                Ok(Ok(Shim::Gone(exit))) => return Some(End::Recorded(exit)),
                Ok(Ok(Shim::Between)) => {}
                Ok(Err(error)) => self.complain(&error),
                // The runtime is shutting down.
                Err(_) => return Some(End::Detached),
            }
            if may_connect {
                tokio::time::sleep(pause).await;
            } else {
                // Looked at all the same now and then: it may end meanwhile.
                let free = tokio::time::timeout(RETRY_INTERVAL_MAX, self.descriptors.wait());
                self.descriptor = free.await.ok();
            }
            pause = (pause * 2).min(RETRY_INTERVAL_MAX);
        }
    }

    fn complain(&self, error: &io::Error) {
        tracing::warn!(agent = %self.agent.id, %error, "failed to reach the agent's shim; trying again");
    }

    /// Puts the end into the state, frees the agent's place, and tells everybody.
    async fn finish(mut self, exit: Exit) {
        let mut last_word = LastWord::Said;
        if let Some(watcher) = self.watcher.take() {
            last_word = watcher.finish(exit.stdout.bytes).await;
        }
        let interrupted = exit.exit_code == Some(0) && last_word == LastWord::Missing;
        if !exit.left_over.is_empty() {
            tracing::error!(agent = %self.agent.id, pids = ?exit.left_over, "processes of an agent could not be killed");
        }
        let summary = {
            let mut state = self.agent.state();
            if state.set_sizes(Sizes::of(&exit)) {
                self.tell_loss(&mut state);
            }
            state.finish(exit.clone(), interrupted);
            tracing::info!(agent = %self.agent.id, status = %state.status(), how = in_words(&exit), "an agent ended");
            self.observer
                .update(state.change(self.agent.id, Some(in_words(&exit))));
            Summary::of(&state)
        };
        // The next start may be able to read it.
        if last_word != LastWord::Unreadable {
            summary::write(&self.agent, summary).await;
        }
        self.agent
            .progress
            .send_replace(self.agent.state().progress());
        for waiter in self.end_waiters {
            let _ = waiter.send(Outcome::Ended(exit.clone()));
        }
        let mut unheard: VecDeque<Order> = self.waiting.into_values().collect();
        for mut orders in [self.orders.ordinary, self.orders.kills] {
            orders.close();
            while let Ok(order) = orders.try_recv() {
                unheard.push_back(order);
            }
        }
        for order in unheard {
            let _ = order.reply.send(Outcome::Refused(Refusal::Ending));
        }
    }
}
