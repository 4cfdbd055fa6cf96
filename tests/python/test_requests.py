"""Every type of request, in every form in which a client may send it."""

import uuid

import pytest
from client import SHAPES, Client, config_for, new_id, pack, receive_frames, unpack
from conftest import ECHO

# Each request's fields in positional order, each with whether it may be left out.
FIELDS = {
    "spawn_request": "request_id config timeout_secs? metadata?",
    "control_command": "request_id agent_id command_type payload?",
    "list_agents_request": "request_id filter_status? limit? after? include_finished?",
    "health_check_request": "request_id",
    "stats_request": "request_id",
    "custom_action_request": "request_id agent_id action params? timeout_secs?",
    "batch_control_command": "request_id agent_ids command_type payload? fail_fast",
    "output_query_request": "request_id agent_id stream filter? limit? offset?",
    "events_request": "request_id epoch after_sequence limit? agent_id? wait_ms?",
}

CONFIG_1_0_0 = "name model_backend task context system_prompt environment model tool_level agents"

# What a reply has always.
REPLIES = {
    "spawn_request": ("spawn_response", "success"),
    "control_command": ("command_response", "agent_id success"),
    "list_agents_request": ("list_agents_response", "success agents has_more epoch sequence"),
    "health_check_request": ("health_check_response", "healthy protocol_version"),
    "stats_request": ("stats_response", "stats"),
    "custom_action_request": ("command_response", "agent_id success"),
    "batch_control_command": ("batch_control_response", "success results successful failed"),
    "output_query_request": ("output_query_response", "agent_id success lines has_more"),
    "events_request": ("events_response", "epoch events next_sequence gap"),
}


@pytest.fixture
def agent(client):
    return client.spawn_ready(ECHO)


def fields_for(type, agent):
    """A request's required fields; batch's `fail_fast` is always written."""
    return {
        "spawn_request": {"config": config_for("true")},
        "control_command": {"agent_id": agent, "command_type": "get_status"},
        "list_agents_request": {},
        "health_check_request": {},
        "stats_request": {},
        "custom_action_request": {"agent_id": agent, "action": "ping"},
        "batch_control_command": {
            "agent_ids": [agent],
            "command_type": "get_status",
            "fail_fast": False,
        },
        "output_query_request": {"agent_id": agent, "stream": "stdout"},
        "events_request": {"epoch": "", "after_sequence": 0},
    }[type]


def positional(type, fields):
    names = [name.rstrip("?") for name in FIELDS[type].split()]
    return [type, *(fields.get(name) for name in names)]


def assert_answers(reply, type, request_id):
    reply_type, required = REPLIES[type]
    assert reply["type"] == reply_type, reply
    assert reply["request_id"] == request_id
    assert [name for name in required.split() if name not in reply] == []
    assert reply.get("success", True), reply


@pytest.mark.parametrize("shape", SHAPES)
def test_every_request_is_answered_in_the_shape_that_it_came_in(server, connect, agent, shape):
    client = connect(server, shape)
    for type in FIELDS:
        request_id = client.send(type, **fields_for(type, agent))
        assert_answers(client.receive(), type, request_id)


def test_one_dealer_may_change_its_shape_from_request_to_request(client):
    for envelope in ([b""], [], [b""]):
        body = pack({"type": "health_check_request", "request_id": "h"})
        client.socket.send_multipart([*envelope, body])
        *rest, reply = receive_frames(client.socket, 5)
        assert rest == envelope
        assert unpack(reply)["request_id"] == "h"


def test_keys_may_come_in_any_order_and_unknown_ones_are_passed_over(client, agent):
    for type in FIELDS:
        request_id = new_id()
        fields = {"request_id": request_id} | fields_for(type, agent)
        unknown = {"x_nested": {"a": [1, {"b": None}], 7: b"\xff"}, "x_text": "?", "x_float": 0.5}
        message = unknown | dict(reversed(fields.items())) | {"x_last": True, "type": type}
        assert_answers(client.ask_bytes(pack(message)), type, request_id)


def test_the_positional_form_means_the_same_as_the_map(client, agent):
    for type in FIELDS:
        request_id = new_id()
        fields = {"request_id": request_id} | fields_for(type, agent)
        message = positional(type, fields)
        assert_answers(client.ask_bytes(pack(message)), type, request_id)


def test_a_client_of_1_0_0_is_understood(client, agent):
    values = config_for("echo $A", environment={"A": "from 1.0.0"})
    config = [values.get(name) for name in CONFIG_1_0_0.split()]
    request_id = new_id()
    spawn = ["spawn_request", request_id, config, None, None]
    reply = client.ask_bytes(pack(spawn))
    assert_answers(reply, "spawn_request", request_id)
    assert client.read_all(reply["agent_info"]["id"]) == b"from 1.0.0\n"

    id_bytes = uuid.UUID(agent).bytes
    for short in (
        ["control_command", new_id(), id_bytes, "get_status", None],
        ["list_agents_request", new_id(), None, None],
        ["list_agents_request", new_id(), "running", 5],
    ):
        assert_answers(client.ask_bytes(pack(short)), short[0], short[1])


def test_an_optional_field_that_is_nil_reads_as_absent(client, agent):
    for type, names in FIELDS.items():
        absent = {name[:-1]: None for name in names.split() if name.endswith("?")}
        request_id = client.send(type, **fields_for(type, agent), **absent)
        assert_answers(client.receive(), type, request_id)
    optional = "context system_prompt model tool_level agents working_dir args stdin"
    config = dict.fromkeys([*optional.split(), "resume_session", "labels", "limits"])
    assert client.try_spawn("true", **config)["success"]


@pytest.mark.parametrize("form", [str, lambda id: id.bytes, lambda id: str(id).upper()])
def test_an_id_may_be_text_or_16_bytes_and_is_written_with_hyphens(client, agent, form):
    id = form(uuid.UUID(agent))
    assert client.command(id, "get_status")["agent_id"] == agent
    assert client.ask("custom_action_request", agent_id=id, action="ping")["agent_id"] == agent
    query = client.ask("output_query_request", agent_id=id, stream="stdout")
    assert query["agent_id"] == agent and query["lines"] == ["ready"]
    batch = client.ask("batch_control_command", agent_ids=[id], command_type="get_status")
    assert [result["agent_id"] for result in batch["results"]] == [agent]
    assert client.list(after=id)["agents"] == []
    assert [info["id"] for info in client.list()["agents"]] == [agent]


def test_a_long_poll_delays_no_other_request_of_the_same_client(client, agent):
    poll = client.send_command(agent, "read_stdout", offset=len("ready\n"), wait_ms=5000)
    client.health()
    assert client.info(agent)["status"] == "running"
    write = client.send_command(agent, "write_stdin", data="hello\n")
    replies = {reply["request_id"]: reply for reply in (client.receive(), client.receive())}
    assert replies[write]["success"]
    assert replies[poll]["data"]["data"] == b"got hello\n"


def test_each_of_many_requests_at_once_gets_exactly_one_reply(client, agent):
    sent = []
    for _ in range(150):
        sent.append(client.send("health_check_request"))
        sent.append(client.send_command(agent, "get_status"))
        sent.append(client.send("list_agents_request"))
    received = [client.receive()["request_id"] for _ in sent]
    assert sorted(received) == sorted(sent)


def test_a_thousand_waiting_requests_of_one_client_are_all_kept(server, client, agent):
    sent = [
        client.send_command(agent, "read_stdout", offset=len("ready\n"), wait_ms=5000)
        for _ in range(1000)
    ]
    with Client(server.endpoint) as other:
        other.done(agent, "write_stdin", data="all of you\n")
    replies = [client.receive() for _ in sent]
    assert sorted(reply["request_id"] for reply in replies) == sorted(sent)
    assert {reply["data"]["data"] for reply in replies} == {b"got all of you\n"}
