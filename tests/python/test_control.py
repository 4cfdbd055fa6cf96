"""Pause, resume and signals."""

import itertools
import random
import signal
from pathlib import Path

import pytest
from client import FINAL
from conftest import ECHO
from daemon import is_alive, state
from waiting import eventually

# Each process says so when USR1 comes; the sleeps that it kills are replaced.
TWO_PROCESSES = """
sh -c 'trap "echo child" USR1; echo armed; while :; do sleep 0.02; done' &
trap 'echo leader' USR1
while :; do sleep 0.02; done
"""


@pytest.fixture
def agent(client):
    return client.spawn_ready(ECHO)


def assert_is_frozen(client, agent):
    client.done(agent, "write_stdin", data="still there\n")
    quiet = client.done(agent, "read_stdout", offset=len("ready\n"), wait_ms=200)
    assert quiet["data"] == b""


@pytest.mark.parametrize("payload", [{}, {"mode": "auto"}, {"mode": "forced"}, {"force": True}])
def test_a_paused_agent_does_nothing_until_it_is_resumed(client, agent, payload):
    reply = client.command(agent, "pause", **payload)
    assert reply["success"], reply
    assert reply["status"] == "paused" and reply["data"]["mode"] == "forced"
    info = client.info(agent)
    assert (info["status"], info["pause_mode"]) == ("paused", "forced")
    assert info["paused_at"] is not None
    assert_is_frozen(client, agent)

    assert client.command(agent, "resume")["status"] == "running"
    client.read_until(agent, b"got still there\n")
    info = client.info(agent)
    assert info["status"] == "running"
    assert info.get("pause_mode") is None and info.get("paused_at") is None


def test_a_pause_freezes_the_whole_tree(client):
    agent = client.spawn_ready(
        "setsid sh -c 'while :; do echo tick; sleep 0.02; done' & echo ready; wait"
    )
    client.read_until(agent, b"tick\n")
    client.done(agent, "pause")
    # What was in the pipe may still come; after that, nothing.
    size = client.done(agent, "read_stdout", wait_ms=0, offset=0)["next_offset"]
    settled = client.done(agent, "read_stdout", wait_ms=200, offset=size)["next_offset"]
    assert client.done(agent, "read_stdout", wait_ms=200, offset=settled)["data"] == b""
    client.done(agent, "resume")
    assert client.done(agent, "read_stdout", wait_ms=2000, offset=settled)["data"] != b""


def test_a_pause_freezes_what_has_left_the_cgroup_of_its_agent(server, client):
    # A shell that starts others in a loop waits for one that is stopped before it has begun.
    escapes = "read -r cgroup; echo $$ >$cgroup/cgroup.procs && echo $$; exec sleep 1000"
    agent = client.spawn_ready(f"echo ready; sh -c '{escapes}'")
    leaf = server.record(agent, "state.json").get("cgroup")
    if leaf is None:
        pytest.skip("agents get no cgroups here")
    client.done(agent, "write_stdin", data=f"{Path(leaf).parent}\n")
    escaped = int(client.read_until(agent, b"\n", offset=len("ready\n")))
    client.done(agent, "pause")
    assert state(escaped) == b"T"
    client.done(agent, "resume")
    eventually(lambda: state(escaped) != b"T", "the process that goes on")
    client.done(agent, "kill")
    assert not is_alive(escaped)


@pytest.mark.parametrize("scope", ["tree", "leader"])
def test_a_continue_signal_in_a_pause_is_a_resume_and_told(client, agent, scope):
    client.done(agent, "pause")
    client.done(agent, "signal", signal="CONT", scope=scope)
    assert client.info(agent)["status"] == "running"
    client.done(agent, "write_stdin", data="on\n")
    client.read_until(agent, b"got on\n")


def test_a_cooperative_pause_is_not_claimed_where_the_backend_has_none(client, agent):
    assert not client.command(agent, "pause", mode="cooperative")["success"]
    assert client.info(agent)["status"] == "running"


@pytest.mark.parametrize("command", ["stop", "kill"])
def test_a_paused_agent_can_be_ended(server, client, agent, command):
    client.done(agent, "pause")
    data = client.done(agent, command)
    assert data["exit_signal"] == (15 if command == "stop" else 9)
    assert server.agent_processes() == []


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", int(signal.SIGUSR1)])
def test_a_signal_may_be_a_name_or_a_number(client, name):
    task = "trap 'echo caught; exit 0' USR1; echo ready; while :; do sleep 0.02; done"
    agent = client.spawn_ready(task)
    assert client.done(agent, "signal", signal=name)["signal"] in ("USR1", "SIGUSR1")
    assert client.read_all(agent) == b"ready\ncaught\n"
    assert client.ended(agent)["status"] == "completed"


def test_a_signal_goes_to_the_tree_or_to_its_leader_alone(client):
    agent = client.spawn(TWO_PROCESSES)["id"]
    client.read_until(agent, b"armed\n")
    client.done(agent, "signal", signal="USR1", scope="leader")
    assert client.read_until(agent, b"leader\n") == b"armed\nleader\n"
    client.done(agent, "signal", signal="USR1", scope="tree")
    client.read_until(agent, b"child\n", offset=len(b"armed\nleader\n"))
    client.read_until(agent, b"leader\n", offset=len(b"armed\nleader\n"))
    lines = client.done(agent, "query_output")["stdout"]
    assert sorted(lines) == ["armed", "child", "leader", "leader"]


def test_an_agent_ended_by_a_clients_signal_did_not_end_by_a_stop(client, agent):
    client.done(agent, "signal", signal="KILL")
    info = client.ended(agent)
    assert (info["status"], info["end_reason"], info["exit_signal"]) == ("failed", "exited", 9)


def test_clients_at_cross_purposes_each_get_their_replies(server, connect, agent):
    chance = random.Random(7)
    clients = [connect(server) for _ in range(4)]
    sent = [set() for _ in clients]
    commands = ["pause", "resume", "get_status", "read_stdout", "query_output"] * 8
    for _ in range(400):
        who = chance.randrange(len(clients))
        command_type = chance.choice([*commands, "stop"])
        sent[who].add(clients[who].send_command(agent, command_type))
    for client, ids in zip(clients, sent):
        replies = [client.receive() for _ in ids]
        assert {reply["request_id"] for reply in replies} == ids
        assert {reply.get("error_code") for reply in replies} <= {None, "invalid_state"}
    epoch = clients[0].list()["epoch"]
    told = clients[0].ask("events_request", epoch=epoch, after_sequence=0)["events"]
    assert [event["status"] in FINAL for event in told] == [False] * (len(told) - 1) + [True]
    changes = [event["status"] for event in told]
    assert all(before != after for before, after in itertools.pairwise(changes))
    assert server.agent_processes() == []


def test_commands_for_one_agent_take_effect_in_the_order_sent(client, agent):
    sent = [client.send_command(agent, "write_stdin", data=f"{i}\n") for i in range(100)]
    replies = [client.receive() for _ in sent]
    assert all(reply["success"] for reply in replies)
    output = client.read_until(agent, b"got 99\n")
    assert output.split(b"\n")[1:-1] == [b"got %d" % i for i in range(100)]
