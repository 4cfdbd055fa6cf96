"""How a server ends."""

import contextlib
import os
import signal
import threading

import pytest
import zmq

from client import Client, config_for, new_id, pack
from daemon import is_alive, parent_of, pids
from waiting import eventually

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"
PATIENT = {"shutdown_timeout_secs": 600, "runner": {"stop_grace_secs": 600}}


def test_a_second_signal_skips_the_grace_time(launch, connect):
    server = launch(**PATIENT)
    client = connect(server)
    agent = client.spawn_ready(STUBBORN)
    server.process.terminate()
    # Requests are answered while agents end, and new agents are refused.
    eventually(
        lambda: not client.ask("health_check_request")["healthy"], "the beginning of the shutdown"
    )
    refused = client.try_spawn("true")
    assert (refused["success"], refused["error_code"]) == (False, "shutting_down")
    assert client.info(agent)["status"] == "running"
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    assert server.agent_processes() == []
    server.start()
    info = Client(server.endpoint).info(agent)
    assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")


def test_agents_are_stopped_together_and_tell_their_end(launch, connect):
    server = launch()
    client = connect(server)
    polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    agents = [client.spawn_ready(polite) for _ in range(10)]
    assert server.stop() == 0
    assert server.agent_processes() == []
    server.start()
    for agent in agents:
        info = client.info(agent)
        assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")
        assert info["exit_code"] == 0
        assert client.read_all(agent) == b"ready\nbye\n"


def steps(server, *words):
    """Asserts that the log has these words, in this order."""
    log, at = server.log(), 0
    for word in words:
        at = log.find(word, at)
        assert at >= 0, f"no {word!r} in its place:\n{log}"
        at += len(word)


def test_agents_that_do_not_stop_are_killed_together_well_before_the_time_is_over(launch, connect):
    server = launch(shutdown_timeout_secs=5, runner={"stop_grace_secs": 600})
    client = connect(server)
    agents = [client.spawn_ready(STUBBORN) for _ in range(50)]
    server.process.terminate()
    assert server.process.wait(60) == 0
    steps(
        server,
        "stopping, with all agents",
        "stopping agents agents=50 grace_ms=",
        "killing agents that have not stopped",
        "answering what is under way and closing",
        ": stopped\n",
    )
    eventually(lambda: not server.agent_processes(), "the end of all agents")
    server.start()
    for agent in agents:
        info = client.ended(agent)
        assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")
        assert info["exit_signal"] == signal.SIGKILL


def test_without_any_time_agents_are_killed_at_once(launch, connect):
    server = launch(shutdown_timeout_secs=0, runner={"stop_grace_secs": 600})
    client = connect(server)
    agent = client.spawn_ready(STUBBORN)
    server.process.terminate()
    assert server.process.wait(60) == 0
    eventually(lambda: not server.agent_processes(), "the end of the agent")
    server.start()
    info = client.ended(agent)
    assert (info["end_reason"], info["exit_signal"]) == ("server_shutdown", signal.SIGKILL)


@pytest.fixture
def stalled():
    """Has servers stall in the middle of a spawn, by a template that stands still."""
    stopped = []

    def stall(server, client, request_id, task):
        # The first agent is what makes the template.
        client.ended(client.spawn("true", stdin="null")["id"])
        folder = server.state_dir / "agents"
        pid, count = server.template(), len(os.listdir(folder))
        os.kill(pid, signal.SIGSTOP)
        stopped.append(pid)
        config = config_for(task)
        client.send("spawn_request", request_id=request_id, config=config, timeout_secs=600)
        eventually(lambda: len(os.listdir(folder)) > count, "the new agent's folder")
        return pid

    yield stall
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_a_spawn_under_way_is_finished_and_answered_and_its_agent_stopped(
    launch, connect, stalled
):
    server = launch(**PATIENT)
    client = connect(server)
    pid = stalled(server, client, new_id(), "echo ready; exec sleep 1000")
    server.process.terminate()
    eventually(lambda: "waiting for spawns under way" in server.log(), "the shutdown")
    os.kill(pid, signal.SIGCONT)
    reply = client.receive()
    assert reply["success"], reply
    assert server.process.wait(60) == 0
    assert server.agent_processes() == []
    server.start()
    info = client.info(reply["agent_info"]["id"])
    assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")


@pytest.mark.parametrize("on_shutdown", ["stop", "detach"])
@pytest.mark.parametrize("because", ["its time is over", "a second signal came"])
def test_a_spawn_that_does_not_end_is_undone_and_refused(
    launch, connect, stalled, on_shutdown, because
):
    in_time = because == "its time is over"
    server = launch(shutdown_timeout_secs=4 if in_time else 600, on_shutdown=on_shutdown)
    client = connect(server)
    request_id, task = new_id(), "echo ran >> runs"
    pid = stalled(server, client, request_id, task)
    server.process.terminate()
    eventually(lambda: "waiting for spawns under way" in server.log(), "the shutdown")
    if not in_time:
        server.process.send_signal(signal.SIGTERM)
    reply = client.receive()
    assert (reply["success"], reply["error_code"]) == (False, "shutting_down")
    assert server.process.wait(60) == 0
    steps(server, "waiting for spawns under way", "undoing spawns under way", ": stopped\n")
    assert not is_alive(pid)
    server.start()
    assert len(client.list()["agents"]) == 1
    assert not (server.folder / "runs").exists()
    # It was refused, so it may be sent again, and leads to an agent then.
    again = client.try_spawn(task, request_id=request_id, timeout_secs=600)
    client.ended(again["agent_info"]["id"])
    assert (server.folder / "runs").read_text() == "ran\n"


def test_a_server_that_detaches_answers_what_is_under_way(launch, connect, stalled):
    server = launch(on_shutdown="detach", shutdown_timeout_secs=600, request_timeout_secs=1200)
    client, waiting = connect(server), connect(server)
    agent = client.spawn_ready("echo ready; exec sleep 1000")
    pid = stalled(server, client, new_id(), "echo ready; exec sleep 1000")
    listed = waiting.list()
    after = {"epoch": listed["epoch"], "after_sequence": listed["sequence"]}
    held = {
        waiting.send_command(agent, "read_stdout", offset=6, wait_ms=600_000),
        waiting.send("events_request", agent_id=agent, wait_ms=600_000, **after),
    }
    waiting.health()
    server.process.terminate()
    eventually(lambda: "waiting for spawns under way" in server.log(), "the shutdown")
    # Whoever waits goes on waiting for as long as the server is there.
    assert not waiting.ask("health_check_request")["healthy"]
    os.kill(pid, signal.SIGCONT)
    spawned = client.receive()
    assert spawned["success"], spawned
    for _ in range(2):
        reply = waiting.receive()
        held.remove(reply["request_id"])
        assert reply.get("success", True), reply
    assert server.process.wait(60) == 0
    server.start()
    agents = [agent, spawned["agent_info"]["id"]]
    running = client.list(include_finished=False)["agents"]
    assert [info["id"] for info in running] == agents
    for agent in agents:
        client.done(agent, "kill")


def test_a_shim_that_stands_still_holds_up_nobody(launch, connect):
    server = launch()
    client = connect(server)
    agent = client.spawn_ready(STUBBORN)
    other = client.spawn_ready("echo ready; exec sleep 1000")
    pid = client.info(agent)["pid"]
    shim = server.shim(agent)
    over, pidfd = threading.Event(), os.pidfd_open(shim)

    def hold():
        with contextlib.suppress(ProcessLookupError):
            while not over.wait(0.001):
                signal.pidfd_send_signal(pidfd, signal.SIGSTOP)

    holding = threading.Thread(target=hold)
    holding.start()
    try:
        server.process.terminate()
        assert server.process.wait(60) == 0
    finally:
        over.set()
        holding.join()
    # What it was told last waits for it.
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGCONT)
    os.close(pidfd)
    eventually(lambda: not is_alive(pid), "the end of the agent", timeout=30)
    eventually(lambda: not is_alive(shim), "the end of the shim", timeout=30)
    server.start()
    for agent in (agent, other):
        info = client.ended(agent)
        assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")


def test_a_client_that_reads_nothing_holds_up_nobody(launch, connect):
    server = launch(shutdown_timeout_secs=600)
    client = connect(server)
    agent = client.spawn("head -c 4000000 /dev/zero; echo >&2; exec sleep 1000")["id"]
    client.read_until(agent, b"\n", "stderr")
    with zmq.Context() as context, context.socket(zmq.DEALER) as deaf:
        deaf.linger = 0
        deaf.rcvhwm = 1
        deaf.rcvbuf = 4096
        deaf.connect(server.endpoint)
        command = {
            "type": "control_command",
            "agent_id": agent,
            "command_type": "read_stdout",
            "payload": {"offset": 0, "max_bytes": 4_000_000},
        }
        for _ in range(20):
            deaf.send(pack(command | {"request_id": new_id()}))
        eventually(
            lambda: client.ask("stats_request")["stats"]["undelivered_replies"], "a full client"
        )
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert server.agent_processes() == []
    server.start()
