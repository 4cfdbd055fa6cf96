//! One run of the server, from the first file to the last socket.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime};

use descartes_runner::backend::HostEnv;
use descartes_runner::{
    AgentRunner, Departure, DepartureTime, LocalProcessRunner, LocalRunnerConfig, OpenError,
    READ_LEASE,
};
use descartes_transport::{Endpoint, EventSocket, Limits, RequestSocket, ServerSecurity};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::address::{self, Told};
use super::requests::Requests;
use super::{Phase, Run, Serving, ZmqAgentServer};
use crate::config::{OnShutdown, SecurityMode, Settled, ZmqServerConfig, host_name};
use crate::error::{AgentResult, ServerError};
use crate::events::EventLog;
use crate::handlers::{Handlers, Shared};
use crate::keys::{AuthorizedClients, KeyStore};
use crate::publisher::{Parts, Publisher};

/// The sockets, and the clients that they let in.
struct Sockets {
    requests: RequestSocket,
    events: Option<EventSocket>,
    clients: Option<Arc<AuthorizedClients>>,
    /// The first client's keys, where the operator has left them here.
    client_bundle: Option<PathBuf>,
}

pub(super) async fn run(server: &ZmqAgentServer, run: &Run) -> AgentResult<()> {
    let config = &server.shared.config;
    let settled = config.settle().map_err(ServerError::Config)?;
    let (log, passing) = EventLog::new(&config.server_id);
    let log = Arc::new(log);
    // The state folder first: its lock keeps two servers from meeting anywhere else.
    let Some(runner) = open(config, &settled, run, log.clone()).await? else {
        tracing::info!("stopped before anything was found");
        return Ok(());
    };
    let _abandoned = runner.abandon_on_drop();
    if run.stop.is_asked() {
        leave(config, &runner, &departure_time(config, run).await).await;
        tracing::info!("stopped");
        return Ok(());
    }
    let sockets = match bind(config, &settled).await {
        Ok(sockets) => sockets,
        Err(error) => {
            // Agents that were found go on; nobody was there to ask for their end.
            let time = DepartureTime::starting_now(within(config));
            runner.leave(Departure::Detach, &time).await;
            return Err(error);
        }
    };
    let serving = Serving {
        runner: runner.clone(),
        endpoint: sockets.requests.local_endpoint().clone(),
        pub_endpoint: sockets
            .events
            .as_ref()
            .map(|socket| socket.local_endpoint().clone()),
        since: Instant::now(),
        since_time: SystemTime::now(),
    };
    let dropped = Arc::new(AtomicU64::new(0));
    let closing = CancellationToken::new();
    let _closed = closing.clone().drop_guard();
    let handlers = handlers(server, &serving, &log, &dropped, &closing);
    let publisher = sockets.events.map(|socket| {
        let publisher = Publisher::new(Parts {
            socket,
            log,
            passing,
            handlers: handlers.clone(),
            runner: runner.clone(),
            server_id: config.server_id.clone(),
            broadcasts_status: config.enable_status_updates,
            heartbeat_interval: Duration::from_secs(config.status_update_interval_secs),
            dropped,
            clients: sockets.clients.clone(),
        });
        tokio::spawn(publisher.run(closing.clone()))
    });
    let counters = server.shared.counters.clone();
    let requests = Requests::new(sockets.requests, handlers, sockets.clients, counters);
    tracing::info!(endpoint = %serving.endpoint, pub_endpoint = serving.pub_endpoint.as_ref().map_or_else(String::new, ToString::to_string), curve = settled.curve, server_id = %config.server_id, "serving");
    let address = address::own(config, &serving, sockets.client_bundle);
    let told = address::tell(address, settled.state_dir.clone(), closing.clone()).await;
    server.serves(serving);
    let outcome = serve(server, run, requests, &runner, closing).await;
    let end = departure_time(config, run).await.end();
    close(told, publisher, end).await;
    tracing::info!("stopped");
    outcome
}

/// Takes back what lets clients find the server, and sends the last events, by `end`.
async fn close(told: Told, publisher: Option<JoinHandle<()>>, end: tokio::time::Instant) {
    if tokio::time::timeout_at(end, told.take_back())
        .await
        .is_err()
    {
        tracing::warn!("the state folder hangs: clients may look for this server in vain");
    }
    if let Some(mut publisher) = publisher {
        // A publisher that panicked has nothing left to send.
        if tokio::time::timeout_at(end, &mut publisher).await.is_err() {
            tracing::warn!("subscribers are left that do not take their events");
            publisher.abort();
            // It holds the socket.
            let _ = publisher.await;
        }
    }
}

/// Takes the state folder and the agents in it; as many of them as it can until a stop that is asked
/// for meanwhile has no more time for that. `None` where it came to none.
async fn open(
    config: &ZmqServerConfig,
    settled: &Settled,
    run: &Run,
    log: Arc<EventLog>,
) -> AgentResult<Option<LocalProcessRunner>> {
    let given_up = async {
        let time = departure_time(config, run).await;
        // Only who is found can be stopped.
        if config.on_shutdown == OnShutdown::Stop {
            time.wait_out_start().await;
        }
    };
    let config = runner_config(config, settled);
    match LocalProcessRunner::open_until(config, log, given_up).await {
        Ok(runner) => Ok(Some(runner)),
        Err(OpenError::GivenUp) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn handlers(
    server: &ZmqAgentServer,
    serving: &Serving,
    log: &Arc<EventLog>,
    dropped: &Arc<AtomicU64>,
    answering_ends: &CancellationToken,
) -> Handlers {
    let config = &server.shared.config;
    let advertised_pub = serving.pub_endpoint.as_ref();
    Handlers::new(Shared {
        server_id: config.server_id.clone(),
        runner: serving.runner.clone(),
        events: log.clone(),
        counters: server.shared.counters.clone(),
        request_timeout: config.request_timeout(),
        started: serving.since,
        started_at: serving.since_time,
        advertised_pub: advertised_pub.map(|endpoint| advertised(config, endpoint)),
        dropped_events: dropped.clone(),
        searches: Shared::searches(),
        answering_ends: answering_ends.clone(),
    })
}

/// Answers requests until the server is to stop and its agents are dealt with: also while they
/// end, so that one can watch them do it. Then `closing` is cancelled.
async fn serve(
    server: &ZmqAgentServer,
    run: &Run,
    requests: Requests<Handlers>,
    runner: &LocalProcessRunner,
    closing: CancellationToken,
) -> AgentResult<()> {
    let config = &server.shared.config;
    let answering = requests.run(closing.clone());
    let overtime = async {
        let time = departure_time(config, run).await;
        tokio::time::sleep_until(time.end()).await;
    };
    let answering = async {
        let answered = tokio::select! {
            answered = answering => answered,
            () = overtime => {
                tracing::warn!("clients are left that do not take their replies");
                Ok(())
            }
        };
        // A socket that failed ends the server; a stop has asked already.
        run.stop.ask();
        answered
    };
    let ending = async {
        let time = departure_time(config, run).await;
        server.shared.phase.send_replace(Phase::Stopping);
        leave(config, runner, &time).await;
        tracing::info!("answering what is under way and closing");
        closing.cancel();
    };
    let (answered, ()) = tokio::join!(answering, ending);
    answered
}

async fn leave(config: &ZmqServerConfig, runner: &LocalProcessRunner, time: &DepartureTime) {
    let (agents, within_secs) = (runner.active_count(), time.within.as_secs());
    let departure = match config.on_shutdown {
        OnShutdown::Detach => {
            tracing::info!(agents, within_secs, "stopping; agents go on");
            Departure::Detach
        }
        OnShutdown::Stop => {
            tracing::info!(agents, within_secs, "stopping, with all agents");
            Departure::Stop
        }
    };
    for agent in runner.leave(departure, time).await {
        let pid = agent.info().pid;
        tracing::info!(agent = %agent.id(), status = %agent.status(), pid, "an agent goes on without a server");
    }
}

/// Waits until the server is to stop, and says how long that may take.
async fn departure_time(config: &ZmqServerConfig, run: &Run) -> DepartureTime {
    DepartureTime {
        since: run.stop.asked().await,
        within: within(config),
        hurry: run.hurry.clone(),
    }
}

fn within(config: &ZmqServerConfig) -> Duration {
    Duration::from_secs(config.shutdown_timeout_secs)
}

fn runner_config(config: &ZmqServerConfig, settled: &Settled) -> LocalRunnerConfig {
    LocalRunnerConfig {
        server_id: config.server_id.clone(),
        state_dir: settled.state_dir.clone(),
        max_agents: config.max_agents,
        process: config.runner_config.clone(),
        backends: config.backends.clone(),
        host_env: HostEnv::from_process(),
        retain_finished: config.retain_finished,
        retain_for: Duration::from_secs(config.retain_secs),
        retain_bytes: config.retain_bytes,
        retain_read_for: READ_LEASE,
    }
}

async fn bind(config: &ZmqServerConfig, settled: &Settled) -> AgentResult<Sockets> {
    let limits = Limits::default();
    let (security, keys, clients) = security(config, settled)?;
    let requests = RequestSocket::bind(&settled.endpoint, security.clone(), &limits).await?;
    let events = match &settled.pub_endpoint {
        Some(endpoint) => Some(EventSocket::bind(endpoint, security, &limits).await?),
        None => None,
    };
    let mut client_bundle = None;
    if let Some(keys) = keys {
        let endpoint = advertised(config, requests.local_endpoint()).to_string();
        let pub_endpoint = events
            .as_ref()
            .map(|socket| advertised(config, socket.local_endpoint()).to_string());
        client_bundle = keys.advertise(
            &settled.keys_dir,
            &endpoint,
            &pub_endpoint.unwrap_or_default(),
        )?;
        if let Some(path) = &client_bundle {
            tracing::info!(path = %path.display(), "a client that has this file can connect");
        }
    }
    Ok(Sockets {
        requests,
        events,
        clients,
        client_bundle,
    })
}

type Security = (
    ServerSecurity,
    Option<KeyStore>,
    Option<Arc<AuthorizedClients>>,
);

fn security(config: &ZmqServerConfig, settled: &Settled) -> AgentResult<Security> {
    if !settled.curve {
        let open = [Some(&settled.endpoint), settled.pub_endpoint.as_ref()]
            .into_iter()
            .flatten()
            .find(|endpoint| !endpoint.is_local_only());
        if let (SecurityMode::None, Some(endpoint)) = (config.security.mode, open) {
            tracing::warn!(%endpoint, "security.mode is \"none\" on an address that other hosts can reach: everybody who reaches it can run the configured backends as this user");
        }
        return Ok((ServerSecurity::Null, None, None));
    }
    let keys = KeyStore::open(&settled.keys_dir, &settled.authorized_clients)?;
    let clients = Arc::new(AuthorizedClients::load(&settled.authorized_clients)?);
    let listed = clients.clone();
    let security = ServerSecurity::Curve {
        keypair: keys.keypair().clone(),
        allow: Arc::new(move |key| listed.role(key).is_some()),
    };
    Ok((security, Some(keys), Some(clients)))
}

/// An endpoint as clients on other hosts reach it.
fn advertised(config: &ZmqServerConfig, endpoint: &Endpoint) -> Endpoint {
    let host = match &config.advertise_host {
        Some(host) => host.clone(),
        None if endpoint.is_wildcard() => host_name(),
        None => return endpoint.clone(),
    };
    endpoint.with_host(&host).unwrap_or_else(|error| {
        tracing::warn!(%error, host, "advertise_host cannot stand in an endpoint");
        endpoint.clone()
    })
}
