"""Processes that cannot be killed: they are named, and nobody else suffers."""

import os
import signal
import time

import pytest

from stuck import await_death, stuck

# Says which child it has, and ends with code 5 when its stdin does.
WITH_CHILD = "sleep 1000 & echo child $!; echo ready; read -r line; exit 5"

# The kill's own deadline, in seconds, and with what a busy machine adds to it.
DEADLINE, PATIENCE = 10, 30


class Agent:
    """An agent with a child that can be made stuck."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.id = client.spawn(WITH_CHILD)["id"]
        output = client.read_until(self.id, b"ready\n").decode()
        self.child = int(output.split()[1])
        self.pid = client.info(self.id)["pid"]

    def left_over(self):
        return self.server.record(self.id, "exit.json")["left_over"]

    def end(self):
        info = self.client.info(self.id)
        return info["status"], info["end_reason"], info.get("exit_code"), info.get("exit_signal")


@pytest.fixture(params=[True, False], ids=["with_cgroup", "without"])
def patient(launch, connect, request):
    """A server that waits for longer than a kill takes at most, and a client of it."""
    server = launch(request_timeout_secs=60, runner={"use_cgroups": request.param})
    return server, connect(server)


def test_what_cannot_be_killed_is_named_and_the_agent_is_listed_as_ended(patient, connect):
    server, client = patient
    agents = {how: Agent(server, client) for how in ("kill", "stop", "itself", "shim", "first")}
    held = {agent.child for agent in agents.values()} | {agents["first"].pid}
    with stuck() as stick:
        stick.hold(*held)
        requests = {
            client.send_command(agents["kill"].id, "kill"): [agents["kill"].child],
            client.send_command(agents["stop"].id, "stop", grace_secs=0): [agents["stop"].child],
            client.send_command(agents["first"].id, "kill"): [
                agents["first"].pid,
                agents["first"].child,
            ],
        }
        os.kill(server.shim(agents["shim"].id), signal.SIGKILL)
        start = time.monotonic()
        others_are_served(server, connect)
        end = client.send_command(agents["itself"].id, "close_stdin")
        # All of that while no kill has been answered.
        reply = client.receive()
        assert (reply["request_id"], reply["success"]) == (end, True)
        for _ in requests:
            reply = client.receive(timeout=PATIENCE)
            assert (reply["success"], reply["error_code"]) == (False, "timeout"), reply
            for pid in requests[reply["request_id"]]:
                assert str(pid) in reply["error"]
        assert time.monotonic() - start > DEADLINE - 1
        client.ended_within(agents["shim"].id, PATIENCE)
        client.ended_within(agents["itself"].id, PATIENCE)
        assert agents["kill"].end() == ("terminated", "killed", None, 9)
        assert agents["stop"].end()[:2] == ("terminated", "stopped")
        assert agents["itself"].end() == ("failed", "exited", 5, None)
        assert agents["shim"].end() == ("failed", "lost", None, None)
        assert agents["first"].end() == ("terminated", "killed", None, None)
        for how, agent in agents.items():
            left = {agent.child} | ({agent.pid} if how == "first" else set())
            assert set(agent.left_over()) == left
            again = client.command(agent.id, "kill")
            assert again["error_code"] == "invalid_state"
            assert again["status"] == agent.end()[0]
        stick.release()
        await_death(held)
    # What could not be removed then is removed now.
    server.restart()
    assert leaves(agents.values()) == []


def test_a_server_that_is_stopped_meanwhile_is_not_held_up(patient, connect):
    server, client = patient
    agent = Agent(server, client)
    with stuck() as stick:
        stick.hold(agent.child)
        request = client.send_command(agent.id, "kill")
        await_death([agent.pid])
        assert server.stop() == 0
        # Not `timeout`, which the kill's own deadline would have led to.
        reply = client.receive()
        assert (reply["request_id"], reply["error_code"]) == (request, "shutting_down")
        server.start()
        with connect(server) as later:
            later.ended_within(agent.id, PATIENCE)
            agent.client = later
            assert agent.end() == ("terminated", "killed", None, 9)
            assert agent.left_over() == [agent.child]
        stick.release()
        await_death([agent.child])


def others_are_served(server, connect):
    """Another client spawns, feeds and ends an agent."""
    with connect(server) as other:
        other.health()
        agent = other.spawn_ready("echo ready; read -r line; echo got $line")
        other.done(agent, "write_stdin", data="hello\n")
        other.read_until(agent, b"got hello\n")
        other.ended(agent)


def leaves(agents):
    """The cgroups that there are of these agents."""
    ids = {agent.id for agent in agents}
    return [path for path, _, _ in os.walk("/sys/fs/cgroup") if os.path.basename(path) in ids]
