"""What an agent may use, and what becomes of one that uses more."""

import os
import signal
import time

import pytest

from daemon import is_alive
from waiting import eventually

U64_MAX = 2**64 - 1
SILENT = "echo ready; sleep 1000"

# More than any agent here lives that has a limit to its runtime.
PAUSED_SECS = 60
TALKS = "while :; do echo .; sleep 0.05; done"
TALKS_ON_STDERR = "while :; do echo . >&2; sleep 0.05; done"


def end_of(info):
    return info["status"], info["end_reason"]


def has_ended(server, agent):
    return (server.state_dir / "agents" / agent / "exit.json").exists()


def refused(client, **limits):
    reply = client.try_spawn("true", limits=limits)
    assert not reply["success"] and reply["error_code"] == "invalid_config", reply
    return reply["error"]


def spawn_limited(client, task, **limits):
    """An agent with limits that the kernel has to enforce; skips the test where it cannot."""
    reply = client.try_spawn(task, limits=limits)
    if not reply["success"] and "cannot enforce" in reply["error"]:
        pytest.skip(f"no agent here can have such limits: {reply['error']}")
    assert reply["success"], reply
    return reply["agent_info"]["id"]


# What is asked for


@pytest.mark.parametrize(
    "limit",
    [
        "max_runtime_secs",
        "idle_timeout_secs",
        "output_bytes",
        "memory_bytes",
        "cpu_percent",
        "pids",
    ],
)
def test_a_limit_of_nothing_is_refused_by_name(client, limit):
    assert limit in refused(client, **{limit: 0})


@pytest.mark.parametrize("limit", ["max_runtime_secs", "idle_timeout_secs"])
def test_a_time_longer_than_any_agent_lives_is_no_limit(client, limit):
    agent = client.spawn("echo ready; read -r line; exit 4", limits={limit: U64_MAX})["id"]
    client.done(agent, "pause")
    client.done(agent, "resume")
    client.done(agent, "close_stdin")
    assert client.ended(agent)["exit_code"] == 4


def test_more_output_than_the_server_keeps_is_refused(launch, connect):
    client = connect(launch(runner={"output_bytes": 1_000_000}))
    assert "1000000" in refused(client, output_bytes=1_000_001)
    assert "output_bytes" in refused(client, output_bytes=U64_MAX)
    assert "output_bytes" in refused(client, output_bytes=1)
    kept = client.spawn("seq 1 1000", limits={"output_bytes": 1_000_000})["id"]
    assert len(client.read_all(kept)) == 3893


@pytest.mark.parametrize("limit", ["memory_bytes", "cpu_percent", "pids"])
def test_what_needs_a_cgroup_is_refused_without(launch, connect, limit):
    client = connect(launch(runner={"use_cgroups": False}))
    assert "cannot enforce" in refused(client, **{limit: 1_000_000_000})


@pytest.mark.parametrize("limit", ["memory_bytes", "cpu_percent", "pids"])
def test_more_than_the_host_has_is_no_limit(client, limit):
    agent = spawn_limited(client, "echo fine", **{limit: U64_MAX})
    assert client.read_all(agent) == b"fine\n"


def test_the_log_says_which_limits_agents_can_have(server, client):
    reply = client.try_spawn("true", limits={"pids": 100})
    starts = [line for line in server.log().splitlines() if "cgroups of their own" in line]
    if not starts:
        pytest.skip("agents get no cgroups here")
    assert ("pids" in starts[0].partition("limits=")[2]) == reply["success"]


# Time


def test_output_on_either_stream_counts_against_the_idle_limit(client):
    limits = {"idle_timeout_secs": 4}
    talkers = [client.spawn(task, limits=limits)["id"] for task in (TALKS, TALKS_ON_STDERR)]
    silent = client.spawn(SILENT, limits=limits)["id"]
    assert end_of(client.ended(silent)) == ("terminated", "idle_timeout")
    assert [client.info(agent)["status"] for agent in talkers] == ["running"] * 2


def paused_within(client, secs):
    """An agent that is paused, and its pid. It may live for so many seconds, or for longer where
    that is not enough to pause it."""
    info = client.spawn(SILENT, limits={"max_runtime_secs": secs})
    paused = client.command(info["id"], "pause")
    if paused["success"]:
        return info["id"], info["pid"]
    assert paused["error_code"] == "invalid_state" and secs < PAUSED_SECS, paused
    return paused_within(client, 2 * secs)


def test_the_runtime_goes_on_in_a_pause(client):
    agent, _ = paused_within(client, 1)
    assert end_of(client.ended_within(agent, PAUSED_SECS)) == ("terminated", "timeout")


def test_the_idle_clock_stands_still_in_a_pause_also_over_a_crash(server, client):
    limits = {"idle_timeout_secs": 2}
    agent = client.spawn_ready(SILENT, limits=limits)
    client.done(agent, "pause")
    paused = time.monotonic()
    server.restart()
    # Twice as long as the limit, by the clock of an agent that is not paused.
    for _ in range(2):
        client.ended(client.spawn(SILENT, limits=limits)["id"])
    assert time.monotonic() - paused > 2 * limits["idle_timeout_secs"]
    assert client.info(agent)["status"] == "paused"
    client.done(agent, "resume")
    assert end_of(client.ended(agent)) == ("terminated", "idle_timeout")


def test_limits_hold_while_no_server_runs(server, client):
    # Longer where that is not enough to kill the server before.
    for secs in (1, 4, 16):
        expected = {
            client.spawn(TALKS, limits={"max_runtime_secs": secs})["id"]: "timeout",
            client.spawn(SILENT, limits={"idle_timeout_secs": secs})["id"]: "idle_timeout",
        }
        server.kill()
        if not any(has_ended(server, agent) for agent in expected):
            break
        server.start()
    eventually(lambda: all(has_ended(server, agent) for agent in expected), "both ends", 30)
    server.start()
    for agent, reason in expected.items():
        assert end_of(client.info(agent)) == ("terminated", reason)


def test_a_limit_cuts_a_stop_short_that_would_take_longer(client):
    deaf = "trap '' TERM; echo ready; while :; do sleep 1; done"
    # Longer where that is not enough to begin the stop before.
    for secs in (1, 4, 16):
        agent = client.spawn(deaf, limits={"max_runtime_secs": secs})["id"]
        client.done(agent, "read_stdout", offset=0, wait_ms=5000)
        client.command(agent, "stop", grace_secs=3600, wait=False)
        info = client.ended_within(agent, secs + PAUSED_SECS)
        if info["end_reason"] == "stopped":
            break
    assert end_of(info) == ("terminated", "stopped")
    assert info["exit_signal"] == signal.SIGKILL


def test_an_agent_that_no_server_comes_back_for_is_stopped(launch, connect):
    server = launch(runner={"orphan_timeout_secs": 1})
    client = connect(server)
    says_bye = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 1; done"
    agent = client.spawn_ready(says_bye)
    # While a server is there the clock does not run.
    client.ended(client.spawn(SILENT, limits={"idle_timeout_secs": 2})["id"])
    assert client.info(agent)["status"] == "running"
    server.kill()
    eventually(lambda: has_ended(server, agent), "the end of the orphan")
    server.start()
    assert end_of(client.info(agent)) == ("terminated", "orphaned")
    assert client.read_all(agent) == b"ready\nbye\n"


def test_a_limit_that_is_reached_in_a_pause_without_a_server_ends_the_agent(server, client):
    agent, pid = paused_within(client, 2)
    server.kill()
    eventually(lambda: has_ended(server, agent), "the end of the paused agent", PAUSED_SECS)
    assert not is_alive(pid)
    server.start()
    assert end_of(client.info(agent)) == ("terminated", "timeout")


# What the kernel has to enforce


def test_an_agent_that_reaches_its_memory_limit_goes_as_a_whole(server, client):
    eater = "x=x; while :; do x=$x$x; done"
    task = f"setsid sleep 1000 & sh -c '{eater}'; echo survived; sleep 1000"
    agent = spawn_limited(client, task, memory_bytes=64 * 1024 * 1024)
    info = client.ended(agent)
    assert end_of(info) == ("failed", "memory_limit")
    assert info["exit_signal"] == signal.SIGKILL
    assert client.read_all(agent) == b""
    assert server.agent_processes() == []


def test_a_limit_of_processes_refuses_the_next_one_and_ends_nobody(client):
    task = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; echo unlimited; exit 0"
    agent = spawn_limited(client, task, pids=4)
    info = client.ended(agent)
    assert info["end_reason"] == "exited" and info["exit_code"] != 0
    assert b"unlimited" not in client.read_all(agent)
    free = spawn_limited(client, task, pids=40)
    assert client.read_all(free) == b"unlimited\n"


def test_a_cpu_limit_slows_an_agent_down(server, client):
    agent = spawn_limited(client, "echo ready; while :; do :; done", cpu_percent=10)
    client.read_until(agent, b"ready\n")
    cgroup = server.record(agent, "state.json")["cgroup"]

    def was_throttled():
        with open(os.path.join(cgroup, "cpu.stat")) as stat:
            numbers = dict(line.split() for line in stat)
        return int(numbers["nr_throttled"]) > 3

    eventually(was_throttled, "the kernel's brake")
    client.done(agent, "kill")
