//! What goes wrong around a server, and what it makes of it.
#![cfg(test)]

use std::os::fd::AsRawFd;
use std::time::Duration;

use descartes_core::protocol::{
    AgentId, AgentStatus, Command, EndReason, ErrorCode, Limits, PauseRequest, Reply, Request,
    SignalNumber, SignalScope, SpawnRequest, StreamSelection,
};
use descartes_testkit::{TestServer, processes_of, processes_whose, shell, shim_of, signal, soon};

#[tokio::test]
async fn an_agents_own_files_have_the_mode_that_the_servers_umask_gives() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client.spawn("umask").await;
    let own = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(own);
    let shown = client.stdout(agent.id).await;
    assert_eq!(u32::from_str_radix(shown.trim(), 8).unwrap(), own.bits());
    test.stop().await;
}

#[tokio::test]
async fn an_agent_whose_shim_stands_still_holds_up_nobody_else() {
    let test = TestServer::start_with(|config| config.request_timeout_secs = 1).await;
    let (client, other) = (test.client().await, test.client().await);
    let stuck = client.spawn("echo ready; sleep 1000").await;
    client.wait_ready(stuck.id).await;
    let shim = shim_of(&test.server.config().state_dir(), stuck.id);
    signal(shim, "STOP");
    let poke = Command::Signal {
        // SIGWINCH: ignored by who does not know it.
        signal: SignalNumber::new(28).unwrap(),
        scope: SignalScope::Tree,
    };
    let poking = client.command(stuck.id, &poke);
    let others = async {
        let agent = other.spawn("echo done").await;
        assert_eq!(other.stdout(agent.id).await, "done\n");
        assert_eq!(other.info(stuck.id).await.status, AgentStatus::Running);
    };
    let (poked, ()) = tokio::join!(poking, others);
    assert_eq!(poked.error_code, Some(ErrorCode::Timeout));
    let told = poked.error.unwrap();
    assert!(
        told.contains(&format!("process {shim}, is stopped")),
        "{told}"
    );
    // Its end does not depend on the shim's good will.
    signal(shim, "STOP");
    client.done(stuck.id, &Command::Kill).await;
    let info = client.info(stuck.id).await;
    assert_eq!(info.status, AgentStatus::Terminated);
    assert_eq!(processes_of(stuck.id), Vec::<i32>::new());
    test.stop().await;
}

/// Which of the two is faster, the agent or its shim, differs: of so many agents some are.
#[tokio::test]
async fn an_agent_that_stops_its_shim_at_once_is_started_all_the_same() {
    const AGENTS: usize = 20;
    let test = TestServer::start().await;
    let client = test.client().await;
    for _ in 0..AGENTS {
        let agent = client.spawn("kill -STOP $PPID; exec sleep 1000").await;
        client.done(agent.id, &Command::Kill).await;
        assert_eq!(client.info(agent.id).await.status, AgentStatus::Terminated);
    }
    test.stop().await;
}

#[tokio::test]
async fn a_spawn_that_nobody_waits_for_is_finished_and_found_by_its_request_id() {
    let test = TestServer::start().await;
    let request = Request::Spawn(SpawnRequest {
        request_id: "abandoned".to_owned(),
        config: shell("sleep 1000"),
        ..SpawnRequest::default()
    });
    let gone = test.client().await;
    gone.send(request.encode()).await;
    let listing = test.client().await;
    let listed = async {
        loop {
            if let Some(agent) = listing.list().await.agents.pop() {
                return agent.id;
            }
        }
    };
    let id: AgentId = soon("the agent", listed).await;
    drop(gone);
    let Reply::Spawn(again) = listing.ask(request).await else {
        panic!("no spawn response");
    };
    assert_eq!(again.agent_info.unwrap().id, id);
    test.stop().await;
}

#[tokio::test]
async fn limits_that_the_server_does_not_allow_or_cannot_enforce_are_refused() {
    let test = TestServer::start_with(|config| config.runner_config.use_cgroups = false).await;
    let client = test.client().await;
    let refused = [
        Limits {
            memory_bytes: Some(1 << 30),
            ..Limits::default()
        },
        Limits {
            pids: Some(10),
            ..Limits::default()
        },
        Limits {
            output_bytes: Some(1 << 40),
            ..Limits::default()
        },
        Limits {
            output_bytes: Some(1),
            ..Limits::default()
        },
        Limits {
            max_runtime_secs: Some(0),
            ..Limits::default()
        },
    ];
    for limits in refused {
        let mut config = shell("true");
        config.limits = Some(limits);
        let response = client.try_spawn(config).await;
        assert_eq!(
            response.error_code,
            Some(ErrorCode::InvalidConfig),
            "{limits:?}"
        );
    }
    assert!(client.list().await.agents.is_empty());
    test.stop().await;
}

#[tokio::test]
async fn limits_on_time_end_an_agent_with_their_own_reason() {
    let test = TestServer::start().await;
    let client = test.client().await;
    for (limits, reason) in [
        (
            Limits {
                max_runtime_secs: Some(1),
                ..Limits::default()
            },
            EndReason::Timeout,
        ),
        (
            Limits {
                idle_timeout_secs: Some(1),
                ..Limits::default()
            },
            EndReason::IdleTimeout,
        ),
    ] {
        let mut config = shell("sleep 1000");
        config.limits = Some(limits);
        let agent = client.try_spawn(config).await.agent_info.unwrap();
        let info = client.wait_end(agent.id).await;
        assert_eq!(
            (info.status, info.end_reason),
            (AgentStatus::Terminated, Some(reason))
        );
    }
    test.stop().await;
}

#[tokio::test]
async fn a_search_through_a_flood_ends() {
    use descartes_core::protocol::OutputQueryRequest;
    let test = TestServer::start_with(|config| config.runner_config.output_bytes = 1 << 20).await;
    let client = test.client().await;
    let agent = client.spawn("exec yes").await;
    client
        .stdout_until(agent.id, |output| !output.is_empty())
        .await;
    for _ in 0..5 {
        let query = OutputQueryRequest {
            request_id: "q".to_owned(),
            agent_id: agent.id,
            stream: StreamSelection::Stdout,
            filter: Some("^y$".to_owned()),
            limit: Some(1),
            offset: None,
            tail: None,
            count: None,
            from_offset: None,
        };
        let Reply::OutputQuery(found) = client.ask(query).await else {
            panic!("no output query response");
        };
        assert!(found.success, "{found:?}");
        assert!(found.total_lines.unwrap() <= 1 << 20);
    }
    client.done(agent.id, &Command::Kill).await;
    test.stop().await;
}

#[tokio::test]
async fn an_agent_inherits_no_descriptor_but_its_own_three() {
    // One that the process that starts the template has, and would hand on.
    let (stranger, _other) = std::io::pipe().unwrap();
    rustix::io::fcntl_setfd(&stranger, rustix::io::FdFlags::empty()).unwrap();
    let test = TestServer::start().await;
    let client = test.client().await;
    let path = format!("/proc/self/fd/{}", stranger.as_raw_fd());
    let pipe = std::fs::read_link(path).unwrap();
    let agent = client.spawn("ls -l /proc/$$/fd /proc/$PPID/fd").await;
    let listing = client.stdout(agent.id).await;
    assert!(
        listing.contains("control.sock") || listing.contains("socket:"),
        "{listing}"
    );
    assert!(!listing.contains(&pipe.display().to_string()), "{listing}");
    test.stop().await;
}

#[tokio::test]
async fn a_paused_agent_that_is_being_stopped_is_not_said_to_be_paused() {
    let test = TestServer::start_with(|config| config.runner_config.use_cgroups = false).await;
    let client = test.client().await;
    let agent = client
        .spawn("trap 'echo bye' TERM; echo ready; while :; do sleep 0.05; done")
        .await;
    client.wait_ready(agent.id).await;
    let mode = PauseRequest::Forced;
    client.done(agent.id, &Command::Pause { mode }).await;
    let stop = Command::Stop {
        grace: Some(Duration::from_secs(1000)),
        wait: false,
    };
    client.done(agent.id, &stop).await;
    client
        .stdout_until(agent.id, |output| output.ends_with(b"bye\n"))
        .await;
    assert_eq!(client.info(agent.id).await.status, AgentStatus::Running);
    client.done(agent.id, &Command::Kill).await;
    test.stop().await;
}

#[tokio::test]
async fn sigcont_to_a_paused_tree_is_a_resume_and_says_so() {
    for use_cgroups in [true, false] {
        let test =
            TestServer::start_with(|config| config.runner_config.use_cgroups = use_cgroups).await;
        let client = test.client().await;
        let agent = client.spawn("echo ready; read line; echo got $line").await;
        client.wait_ready(agent.id).await;
        let mode = PauseRequest::Forced;
        client.done(agent.id, &Command::Pause { mode }).await;
        let signal = SignalNumber::new(18).unwrap();
        let scope = SignalScope::Tree;
        client
            .done(agent.id, &Command::Signal { signal, scope })
            .await;
        assert_eq!(client.info(agent.id).await.status, AgentStatus::Running);
        test.stop().await;
    }
}

#[tokio::test]
async fn a_stop_reaches_an_agent_that_was_stopped_by_a_signal() {
    let test = TestServer::start().await;
    let client = test.client().await;
    let agent = client
        .spawn("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
        .await;
    client.wait_ready(agent.id).await;
    let signal = SignalNumber::new(19).unwrap();
    let scope = SignalScope::Tree;
    client
        .done(agent.id, &Command::Signal { signal, scope })
        .await;
    let stop = Command::Stop {
        grace: Some(Duration::from_secs(1000)),
        wait: true,
    };
    let ended = client.done(agent.id, &stop).await;
    assert_eq!(ended.get("exit_code").unwrap().as_i64(), Some(7));
    assert_eq!(ended.get("forced").unwrap().as_bool(), Some(false));
    test.stop().await;
}

#[tokio::test]
async fn a_template_that_does_not_answer_is_replaced_and_starts_nothing_twice() {
    let test = TestServer::start().await;
    let client = test.client().await;
    client.spawn("exit 0").await;
    let mine = format!("PPid:\t{}\n", std::process::id());
    let is_mine = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| status.contains(&mine))
    };
    let templates = processes_whose("cmdline", |it| it.starts_with(b"descartes-shim"));
    let template = templates.into_iter().find(is_mine).expect("a template");
    signal(template, "STOP");
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    let script = format!("echo once >> {}; echo ready; sleep 1000", ran.display());
    let agent = client.spawn(&script).await;
    client.wait_ready(agent.id).await;
    assert_eq!(std::fs::read_to_string(&ran).unwrap(), "once\n");
    assert!(!std::path::Path::new(&format!("/proc/{template}/exe")).exists());
    client.done(agent.id, &Command::Kill).await;
    assert_eq!(processes_of(agent.id), Vec::<i32>::new());
    test.stop().await;
}
