"""How a server ends that has not found all of its agents."""

import contextlib
import json
import os
import signal

import pytest

from client import Client
from daemon import is_alive


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
