"""How a server ends that has not found all of its agents."""

import contextlib
import json
import os
import signal

import pytest

from client import Client
from daemon import is_alive
from waiting import eventually


@pytest.fixture
def unheard():
    """Has a server crash and leave an agent whose shim stands still, with no record of its processes;
    returns what lets the shim go on. The server cannot take such an agent on."""
    stopped = []

    def leave(server, agent):
        folder = server.state_dir / "agents" / agent
        shim = json.loads((folder / "state.json").read_text())["shim_pid"]
        server.kill()
        os.kill(shim, signal.SIGSTOP)
        stopped.append(shim)
        (folder / "state.json").unlink()
        return lambda: os.kill(shim, signal.SIGCONT)

    yield leave
    for pid in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def agent_in(client):
    agent = client.spawn_ready("echo ready; exec sleep 1000")
    return agent, client.info(agent)["pid"]


def test_agents_that_were_not_taken_on_are_named_and_not_said_to_have_ended(
    launch, connect, unheard
):
    server = launch()
    agent, pid = agent_in(connect(server))
    let_go = unheard(server, agent)
    server.begin()
    server.await_ready(60)
    before = len(server.log())
    assert server.stop() == 0
    said = server.log()[before:]
    assert "all agents have ended" not in said
    named = [line for line in said.splitlines() if "were not taken on" in line]
    assert len(named) == 1 and agent in named[0], said
    assert is_alive(pid)
    let_go()
    server.start()
    with Client(server.endpoint) as client:
        client.done(agent, "kill")


@pytest.mark.parametrize("on_shutdown", ["stop", "detach"])
def test_a_start_that_waits_for_a_shim_is_given_up_for_a_signal(
    launch, connect, unheard, on_shutdown
):
    server = launch(shutdown_timeout_secs=1, on_shutdown=on_shutdown)
    client = connect(server)
    agent, pid = agent_in(client)
    other, other_pid = agent_in(client)
    let_go = unheard(server, agent)
    before = len(server.log())
    server.begin()
    # By then it hears signals.
    eventually(lambda: "cgroups" in server.log()[before:], "the beginning of the start", 60)
    server.process.terminate()
    assert server.process.wait(60) == 0
    said = server.log()[before:]
    assert "serving" not in said
    assert "all agents have ended" not in said
    assert is_alive(pid)
    if on_shutdown == "detach":
        # It may have been told before it had looked for any agent.
        assert is_alive(other_pid)
    else:
        assert agent in said
    let_go()
    server.start()
    with Client(server.endpoint) as client:
        client.done(agent, "kill")
        if on_shutdown == "detach":
            client.done(other, "kill")
        elif not any(other in line for line in said.splitlines() if "were not taken on" in line):
            info = client.ended(other)
            assert info["end_reason"] == "server_shutdown"
