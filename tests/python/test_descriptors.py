"""A server that runs out of descriptors, by its agents and by its clients."""

import contextlib
import socket

from client import config_for, new_id
from daemon import is_alive
from waiting import eventually

AGENTS = 2000

# Requests on their way at once.
WINDOW = 100


def test_two_thousand_agents_cannot_take_the_last_descriptor(launch, connect):
    server = launch(open_files=2400, max_agents=AGENTS, retain_finished=AGENTS)
    client = connect(server)
    config = config_for("exec sleep 1000")
    replies = all_replies(
        client,
        (("spawn_request", {"request_id": new_id(), "config": config}) for _ in range(AGENTS)),
    )
    started = {r["agent_info"]["id"]: r["agent_info"]["pid"] for r in replies if r["success"]}
    refused = [reply for reply in replies if not reply["success"]]
    # A quarter of the descriptors is not for agents.
    assert len(started) == 1800
    for reply in refused:
        assert reply["error_code"] == "max_agents_reached"
        assert "open files" in reply["error"]
    assert set(running(client)) == set(started)

    # The next server has room for 750 of them, and knows them all.
    server.open_files = 1000
    server.restart()
    client = connect(server)
    assert running(client) == started
    assert all(is_alive(pid) for pid in started.values())
    client.health()
    kill_all(client, started)
    listed = all_agents(client)
    assert {info["end_reason"] for info in listed.values()} == {"killed"}
    assert len(listed) == len(started)
    # All that were taken are free again.
    agent = client.spawn_ready("echo ready; exec sleep 1000")
    client.done(agent, "kill")


def test_agents_that_there_is_no_descriptor_for_are_not_without_a_server(launch, connect):
    server = launch(open_files=400, max_agents=200, runner={"orphan_timeout_secs": 15})
    client = connect(server)
    clock = client.spawn("exec sleep 1000", limits={"max_runtime_secs": 30})["id"]
    config = config_for("exec sleep 1000")
    requests = (("spawn_request", {"request_id": new_id(), "config": config}) for _ in range(100))
    agents = {reply["agent_info"]["id"] for reply in all_replies(client, requests)}
    # The next server has room for 75 of them.
    server.open_files = 100
    server.restart()
    client = connect(server)
    assert client.try_spawn("true")["error_code"] == "max_agents_reached"
    client.ended_within(clock, 120)
    assert set(running(client)) == agents


def test_clients_that_take_every_descriptor_harm_no_agent(launch, connect):
    server = launch(open_files=256)
    client = connect(server)
    counting = client.spawn("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")["id"]
    host, port = server.endpoint.removeprefix("tcp://").split(":")
    with contextlib.ExitStack() as sockets:

        def has_taken_all():
            # A server that has no time for a connection drops it, so how many it takes shows only then;
            # and those that it has no descriptor for are not waited for.
            for _ in range(100):
                connection = sockets.enter_context(socket.socket())
                connection.setblocking(False)
                connection.connect_ex((host, int(port)))
            return len(list(server.proc("fd").iterdir())) >= 255

        eventually(has_taken_all, "the last descriptor")
        client.health()
        reply = client.try_spawn("exit 0")
        assert reply["success"] or reply["error_code"] == "spawn_failed", reply
        client.done(counting, "pause")
        client.done(counting, "resume")
    agent = eventually(lambda: client.try_spawn("exit 0").get("agent_info"), "a spawn that works")
    assert client.ended(agent["id"])["exit_code"] == 0
    client.done(counting, "stop")
    lines = client.read_all(counting).decode().splitlines()
    assert lines == [str(i) for i in range(1, len(lines) + 1)]


def all_replies(client, requests):
    """Sends all requests, a window of them at a time."""
    replies = []
    sent = 0
    for type, fields in requests:
        if sent - len(replies) == WINDOW:
            replies.append(client.receive())
        client.send(type, **fields)
        sent += 1
    while len(replies) < sent:
        replies.append(client.receive())
    return replies


def kill_all(client, agents):
    """Kills agents. Those that the server is not connected to have to wait for others to go, and
    may have to be asked again."""
    left = set(agents)

    def fewer():
        kills = (
            ("control_command", {"agent_id": id, "command_type": "kill"}) for id in sorted(left)
        )
        replies = all_replies(client, kills)
        left.difference_update(reply["agent_id"] for reply in replies if reply["success"])
        return not left

    eventually(fewer, "the end of all agents", timeout=120)


def all_agents(client, **filter):
    agents, after = {}, None
    while True:
        page = client.list(after=after, **filter)
        agents |= {info["id"]: info for info in page["agents"]}
        if not page["has_more"]:
            return agents
        after = page["agents"][-1]["id"]


def running(client):
    return {id: info["pid"] for id, info in all_agents(client, include_finished=False).items()}
