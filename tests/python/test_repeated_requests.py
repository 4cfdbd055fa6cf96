"""A request that is sent again starts no second agent, whatever happened between."""

import json
import os
import random
import signal
import time

from client import Client, config_for, new_id
from waiting import eventually

DAY = 24 * 60 * 60


def runs(server):
    """What each agent that ran has left, in order."""
    file = server.folder / "runs"
    return sorted(file.read_text().split()) if file.exists() else []


def test_one_request_on_many_connections_at_once_starts_one_agent(server, connect):
    clients = [connect(server) for _ in range(10)]
    for client in clients:
        client.health()
    requests = {new_id(): config_for(f"echo {i} >> runs; exec sleep 1000") for i in range(10)}
    for _ in range(3):
        for client in clients:
            for id, config in requests.items():
                client.send("spawn_request", request_id=id, config=config)
    led_to = {}
    for client in clients:
        for _ in range(3 * len(requests)):
            reply = client.receive(timeout=60)
            assert reply["success"], reply
            led_to.setdefault(reply["request_id"], set()).add(reply["agent_info"]["id"])
    assert {len(agents) for agents in led_to.values()} == {1}
    assert len(clients[0].list()["agents"]) == len(requests)
    eventually(lambda: len(runs(server)) >= len(requests), "every agent's line")
    assert runs(server) == [str(i) for i in range(10)]


def test_a_spawn_that_was_given_up_never_runs_and_one_that_is_sent_again_runs_once(
    server, connect
):
    client = connect(server)
    client.ended(client.spawn("true")["id"])
    id, task = new_id(), "echo once >> runs"
    os.kill(server.template(), signal.SIGSTOP)
    reply = client.try_spawn(task, request_id=id, timeout_secs=1)
    assert reply["error_code"] == "timeout", reply
    # The server replaces a template that does not answer.
    config = config_for(task)
    client.send("spawn_request", request_id=id, config=config, timeout_secs=60)
    reply = client.receive(60)
    assert reply["success"], reply
    client.ended(reply["agent_info"]["id"])
    assert runs(server) == ["once"]
    assert len(client.list()["agents"]) == 2


def test_a_server_that_is_killed_at_any_moment_starts_every_agent_once(server):
    dice, expected = random.Random(5557), []
    for turn in range(20):
        requests = {}
        for i in range(5):
            requests[new_id()] = config_for(f"echo {turn}.{i} >> runs", stdin="null")
            expected.append(f"{turn}.{i}")
        with Client(server.endpoint) as client:
            client.health()
            for id, config in requests.items():
                client.send("spawn_request", request_id=id, config=config)
            # Before the first of them is begun, after the last one was answered, or between.
            time.sleep(dice.uniform(0, 0.03))
            server.restart()
        with Client(server.endpoint) as client:
            led_to = {}
            for _ in range(2):
                for id, config in requests.items():
                    reply = client.ask("spawn_request", request_id=id, config=config)
                    assert reply["success"], reply
                    agent = reply["agent_info"]["id"]
                    assert led_to.setdefault(id, agent) == agent
            for agent in led_to.values():
                client.ended(agent)
    with Client(server.endpoint) as client:
        assert len(client.list()["agents"]) == len(expected)
    assert runs(server) == sorted(expected)


def test_the_agent_of_an_old_request_is_found_for_as_long_as_it_is_kept(server, client):
    request_id, task = new_id(), "echo ran >> runs"
    agent = client.try_spawn(task, request_id=request_id)["agent_info"]["id"]
    client.ended(agent)
    server.kill()
    # Three days go by.
    folder = server.state_dir / "agents" / agent
    spec = server.record(agent, "spec.json")
    spec["owner"]["spawned_at"] -= 3 * DAY
    (folder / "spec.json").write_text(json.dumps(spec))
    end = server.record(agent, "exit.json")
    end["finished_at"]["secs"] -= 3 * DAY
    (folder / "exit.json").write_text(json.dumps(end))
    server.start()
    again = client.try_spawn(task, request_id=request_id)
    assert again["agent_info"]["id"] == agent
    assert client.try_spawn("true", request_id=request_id)["error_code"] == "request_conflict"
    assert runs(server) == ["ran"]
