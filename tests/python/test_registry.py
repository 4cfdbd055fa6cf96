"""What the server knows of its agents and of itself: lists, counters, admission, batches."""

import uuid

import pytest
from client import config_for, new_id
from conftest import ECHO
from daemon import SERVER_ID

NOBODY = str(uuid.uuid4())


def ids(reply):
    return [info["id"] for info in reply["agents"]]


def test_a_list_is_ordered_by_age_and_comes_in_pages(client):
    agents = [client.spawn(ECHO, name=f"agent {i}")["id"] for i in range(5)]
    assert ids(client.list()) == agents
    assert client.list()["has_more"] is False
    page = client.list(limit=2)
    assert (ids(page), page["has_more"]) == (agents[:2], True)
    page = client.list(limit=2, after=agents[1])
    assert (ids(page), page["has_more"]) == (agents[2:4], True)
    page = client.list(limit=2, after=agents[3])
    assert (ids(page), page["has_more"]) == (agents[4:], False)
    page = client.list(limit=5)
    assert (ids(page), page["has_more"]) == (agents, False)


def test_a_list_can_be_confined_to_a_status_or_to_the_living(client):
    done, failed = client.spawn("true")["id"], client.spawn("false")["id"]
    running, paused = client.spawn(ECHO)["id"], client.spawn(ECHO)["id"]
    client.ended(done), client.ended(failed)
    client.done(paused, "pause")
    assert ids(client.list()) == [done, failed, running, paused]
    assert ids(client.list(include_finished=False)) == [running, paused]
    assert ids(client.list(include_finished=True)) == [done, failed, running, paused]
    for status, agents in {
        "running": [running],
        "paused": [paused],
        "completed": [done],
        "failed": [failed],
        "terminated": [],
    }.items():
        assert ids(client.list(filter_status=status)) == agents


def test_health_names_the_version_and_counts_the_living(client):
    agent = client.spawn(ECHO)["id"]
    client.ended(client.spawn("true")["id"])
    health = client.health()
    assert health["protocol_version"] == "1.0.0"
    assert health["active_agents"] == 1
    assert health["uptime_secs"] >= 0
    client.done(agent, "stop")
    assert client.health()["active_agents"] == 0


def test_the_counters_count(client):
    before = client.ask("stats_request")["stats"]
    agent = client.spawn(ECHO)["id"]
    client.try_spawn("true", model_backend="nothing")
    client.info(agent)
    client.list()
    client.health()
    after = client.ask("stats_request")["stats"]
    grown = {key: after[key] - before[key] for key in before if isinstance(before[key], int)}
    assert grown["spawn_requests"] == 2
    assert grown["successful_spawns"] == grown["failed_spawns"] == 1
    assert grown["control_commands"] == grown["list_requests"] == grown["health_checks"] == 1
    assert grown["errors"] == grown["active_agents"] == 1
    assert after["uptime_secs"] >= 0
    assert after["started_at"] == before["started_at"] != 0


def test_the_same_request_starts_one_agent(server, client):
    request_id, task = new_id(), "echo ran >> runs"
    first = client.try_spawn(task, request_id=request_id)
    again = client.try_spawn(task, request_id=request_id)
    assert again["success"] and again["agent_info"]["id"] == first["agent_info"]["id"]
    client.ended(first["agent_info"]["id"])
    after_end = client.try_spawn(task, request_id=request_id)
    assert after_end["agent_info"]["id"] == first["agent_info"]["id"]
    assert after_end["agent_info"]["status"] == "completed"
    assert len(client.list()["agents"]) == 1
    assert (server.folder / "runs").read_text() == "ran\n"


def test_the_same_request_sent_twice_at_once_starts_one_agent(client):
    request_id = new_id()
    for _ in range(10):
        client.send("spawn_request", request_id=request_id, config=config_for(ECHO))
    replies = [client.receive() for _ in range(10)]
    assert {reply["request_id"] for reply in replies} == {request_id}
    assert len({reply["agent_info"]["id"] for reply in replies}) == 1
    assert len(client.list()["agents"]) == 1


def test_a_request_id_is_not_taken_for_another_spawn(client):
    request_id = new_id()
    client.try_spawn("true", request_id=request_id)
    reply = client.try_spawn("false", request_id=request_id)
    assert not reply["success"] and reply["error_code"] == "request_conflict"
    assert len(client.list()["agents"]) == 1


def test_a_spawn_is_remembered_across_a_crash(server, client):
    request_id = new_id()
    agent = client.try_spawn(ECHO, request_id=request_id)["agent_info"]["id"]
    server.restart()
    assert client.try_spawn(ECHO, request_id=request_id)["agent_info"]["id"] == agent
    assert client.try_spawn("true", request_id=request_id)["error_code"] == "request_conflict"


def test_a_refused_spawn_is_not_remembered(server, client):
    request_id, folder = new_id(), server.folder / "later"
    refused = client.try_spawn("true", request_id=request_id, working_dir=str(folder))
    assert refused["error_code"] == "invalid_config"
    folder.mkdir()
    assert client.try_spawn("true", request_id=request_id, working_dir=str(folder))["success"]


def test_no_more_agents_run_than_the_server_may_have(launch, connect):
    client = connect(launch(max_agents=2))
    agents = [client.spawn(ECHO)["id"] for _ in range(2)]
    reply = client.try_spawn(ECHO)
    assert not reply["success"] and reply.get("agent_info") is None
    assert reply["error_code"] == "max_agents_reached"
    assert reply["error"].startswith("Maximum agent limit reached")
    assert reply["server_id"] == SERVER_ID
    client.done(agents[0], "stop")
    assert client.try_spawn(ECHO)["success"]


def test_spawns_at_once_do_not_exceed_the_limit_either(launch, connect):
    client = connect(launch(max_agents=5))
    for _ in range(30):
        client.send("spawn_request", config=config_for(ECHO))
    replies = [client.receive() for _ in range(30)]
    assert sum(reply["success"] for reply in replies) == 5
    codes = {reply["error_code"] for reply in replies if not reply["success"]}
    assert codes == {"max_agents_reached"}
    assert client.health()["active_agents"] == 5


def test_no_command_works_on_an_agent_that_there_is_not(client):
    fields = {"agent_id": NOBODY}
    for reply in (
        client.command(NOBODY, "stop"),
        client.command(NOBODY, "read_stdout", offset=0, wait_ms=1000),
        client.ask("custom_action_request", action="ping", **fields),
        client.ask("output_query_request", stream="both", **fields),
    ):
        assert not reply["success"]
        assert reply["error_code"] == "agent_not_found"
        assert reply["error"].startswith("Agent not found")
        assert reply["agent_id"] == NOBODY


def batch(client, agents, command_type, **fields):
    return client.ask(
        "batch_control_command", agent_ids=agents, command_type=command_type, **fields
    )


def test_a_batch_gives_many_agents_one_command(server, client):
    agents = [client.spawn(ECHO)["id"] for _ in range(4)]
    reply = batch(client, agents, "stop", payload={"grace_secs": 2})
    assert reply["success"] and (reply["successful"], reply["failed"]) == (4, 0)
    assert [result["agent_id"] for result in reply["results"]] == agents
    assert {result["status"] for result in reply["results"]} == {"terminated"}
    assert server.agent_processes() == []


def test_a_batch_goes_on_after_a_failure_unless_told_to_fail_fast(client):
    first, last = client.spawn(ECHO)["id"], client.spawn(ECHO)["id"]
    reply = batch(client, [first, NOBODY, last], "pause")
    assert not reply["success"] and (reply["successful"], reply["failed"]) == (2, 1)
    assert [result["success"] for result in reply["results"]] == [True, False, True]
    assert reply["results"][1]["error_code"] == "agent_not_found"
    assert client.info(last)["status"] == "paused"

    reply = batch(client, [first, NOBODY, last], "resume", fail_fast=True)
    assert not reply["success"]
    assert client.info(first)["status"] == "running"
    assert client.info(last)["status"] == "paused"


def by_command(client, agent, action, params):
    return client.command(agent, "custom_action", action=action, params=params)


def by_request(client, agent, action, params):
    return client.ask("custom_action_request", agent_id=agent, action=action, params=params)


@pytest.mark.parametrize("act", [by_command, by_request])
def test_custom_actions_answer(client, act):
    agent = client.spawn(ECHO)["id"]
    reply = act(client, agent, "ping", None)
    assert reply["type"] == "command_response"
    assert reply["data"] == {"action": "ping", "result": "pong"}
    params = {"n": [1, -2.5, None, True], "bytes": b"\xff", "text": "ü"}
    assert act(client, agent, "echo", params)["data"] == {"action": "echo", "result": params}
    reply = act(client, agent, "dance", None)
    assert not reply["success"] and reply["error_code"] == "unsupported_command"
