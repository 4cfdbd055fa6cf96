"""Requests that are wrong: each gets one reply with its code, and harms nobody."""

import random
import uuid

import msgpack
import pytest
from client import config_for, pack, receive_frames, unpack
from conftest import ECHO

pytestmark = pytest.mark.usefixtures("unharmed")

MEBIBYTE = 1024 * 1024
NOBODY = str(uuid.uuid4())


def nested(depth, end=b"\xc0"):
    """Arrays of one element, one in the other."""
    return b"\x91" * depth + end


def health_with(extra):
    """A health check whose last key has a value given in MessagePack."""
    fields = {"type": "health_check_request", "request_id": "bad"}
    return b"\x83" + b"".join(map(pack, sum(fields.items(), ()))) + pack("extra") + extra


def is_refused(reply, code):
    assert reply["error_code"] == code, reply
    assert reply["error"], "an error is a sentence for a person"
    assert not reply.get("success", False)
    return True


UNREADABLE = {
    "nothing": b"",
    "a byte that MessagePack never uses": b"\xc1",
    "text": b"GET / HTTP/1.1\r\n\r\n",
    "JSON": b'{"type": "health_check_request", "request_id": "bad"}',
    "a map that ends too early": pack({"type": "health_check_request", "request_id": "x"})[:-1],
    "an array that promises four billion elements": b"\xdd\xff\xff\xff\xff",
    "a map that promises four billion entries": b"\xdf\xff\xff\xff\xff",
    "a string that promises four gigabytes": b"\x81\xa4type\xdb\xff\xff\xff\xff",
    "nil": b"\xc0",
    "a number": pack(42),
    "a string": pack("health_check_request"),
    "an empty map": pack({}),
    "an empty array": pack([]),
    "a map without a type": pack({"request_id": "bad"}),
    "a type that is a number": pack({"type": 1, "request_id": "bad"}),
    "text that is not UTF-8": b"\x82\xa4type\xa3\xff\xfe\xfd\xaarequest_id\xa1x",
    "10,000 levels of arrays": nested(10_000),
    "10,000 levels of maps": b"\x81\xa1a" * 10_000 + b"\xc0",
    "10,000 levels in an unknown key": health_with(nested(10_000)),
    "ten million levels": nested(10_000_000),
    "40 levels in an unknown key": health_with(nested(40)),
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_cannot_be_read_is_malformed(client, body):
    reply = client.ask_bytes(body)
    assert reply["type"] == "error_response"
    assert is_refused(reply, "malformed_message")
    client.health()


def request(type, **fields):
    return {"type": type, "request_id": "bad"} | fields


def command(command_type, **payload):
    return request("control_command", agent_id=NOBODY, command_type=command_type, payload=payload)


def query(**fields):
    return request("output_query_request", agent_id=NOBODY, stream="stdout") | fields


WRONG_FIELDS = {
    "a missing config": request("spawn_request"),
    "a config that is a number": request("spawn_request", config=5),
    "a task that is a number": request("spawn_request", config=config_for(5)),
    "a config without a backend": request(
        "spawn_request", config={"name": "n", "task": "t", "environment": {}}
    ),
    "an environment that is a list": request(
        "spawn_request", config=config_for("true", environment=["A=B"])
    ),
    "an environment value that is a number": request(
        "spawn_request", config=config_for("true", environment={"A": 1})
    ),
    "labels with bytes": request("spawn_request", config=config_for("true", labels={"a": b"\xff"})),
    "an unknown stdin": request("spawn_request", config=config_for("true", stdin="tty")),
    "a limit below zero": request(
        "spawn_request", config=config_for("true", limits={"max_runtime_secs": -1})
    ),
    "a time limit that is text": request(
        "spawn_request", config=config_for("true"), timeout_secs="10"
    ),
    "an agent id that is none": command("stop") | {"agent_id": "not-an-id"},
    "an agent id of 15 bytes": command("stop") | {"agent_id": b"\x00" * 15},
    "a missing agent id": request("control_command", command_type="stop"),
    "a missing command": request("control_command", agent_id=NOBODY),
    "an unknown status": request("list_agents_request", filter_status="sleepy"),
    "a limit that is text": request("list_agents_request", limit="ten"),
    "a sequence below zero": request("events_request", epoch="", after_sequence=-1),
    "a missing epoch": request("events_request", after_sequence=0),
    "an unknown stream": query(stream="stdlog"),
    "a missing stream": request("output_query_request", agent_id=NOBODY),
    "a batch of one id": request("batch_control_command", agent_ids=NOBODY, command_type="stop"),
    "an action that is a list": request("custom_action_request", agent_id=NOBODY, action=[]),
}


@pytest.mark.parametrize("message", WRONG_FIELDS.values(), ids=WRONG_FIELDS.keys())
def test_a_missing_or_wrong_field_is_malformed(client, message):
    reply = client.ask_bytes(pack(message))
    assert is_refused(reply, "malformed_message")
    assert reply["request_id"] == "bad"


@pytest.mark.parametrize("request_id", [None, 7, ["x"], b"\xff"])
def test_a_request_id_that_is_no_text_is_malformed(client, request_id):
    reply = client.ask_bytes(pack({"type": "health_check_request", "request_id": request_id}))
    assert is_refused(reply, "malformed_message")
    assert reply["request_id"] is None


@pytest.mark.parametrize("type", ["dance_request", "", "health_check_response", "status_update"])
def test_an_unknown_type_is_unsupported(client, type):
    reply = client.ask_bytes(pack({"type": type, "request_id": "bad"}))
    assert is_refused(reply, "unsupported_message")
    assert (reply["type"], reply["request_id"]) == ("error_response", "bad")


WRONG_COMMANDS = {
    "an unknown command": ("dance", {}, "unsupported_command"),
    "an empty command": ("", {}, "unsupported_command"),
    "an unknown signal": ("signal", {"signal": "SIGDANCE"}, "unsupported_command"),
    "signal 0": ("signal", {"signal": 0}, "unsupported_command"),
    "signal 999": ("signal", {"signal": 999}, "unsupported_command"),
    "signal -9": ("signal", {"signal": -9}, "unsupported_command"),
    "no signal": ("signal", {}, "malformed_message"),
    "a signal that is a list": ("signal", {"signal": []}, "malformed_message"),
    "an unknown scope": ("signal", {"signal": "USR1", "scope": "world"}, "malformed_message"),
    "an unknown pause": ("pause", {"mode": "gently"}, "malformed_message"),
    "a grace time below zero": ("stop", {"grace_secs": -1}, "malformed_message"),
    "a grace time that is text": ("stop", {"grace_secs": "1"}, "malformed_message"),
    "no data": ("write_stdin", {}, "malformed_message"),
    "data that is a number": ("write_stdin", {"data": 1}, "malformed_message"),
    "data that is not base64": (
        "write_stdin",
        {"data": "!!!", "encoding": "base64"},
        "malformed_message",
    ),
    "an unknown encoding": ("write_stdin", {"data": "x", "encoding": "rot13"}, "malformed_message"),
    "an offset below zero": ("read_stdout", {"offset": -1}, "malformed_message"),
    "an offset that is text": ("read_stdout", {"offset": "0"}, "malformed_message"),
    "a wait below zero": ("read_stdout", {"wait_ms": -1}, "malformed_message"),
    "no action": ("custom_action", {}, "malformed_message"),
    "an unknown action": ("custom_action", {"action": "dance"}, "unsupported_command"),
    "lines that are text": ("query_output", {"max_lines": "all"}, "malformed_message"),
}


@pytest.mark.parametrize(
    ("command_type", "payload", "code"), WRONG_COMMANDS.values(), ids=WRONG_COMMANDS.keys()
)
def test_a_wrong_command_is_refused_and_changes_nothing(client, command_type, payload, code):
    agent = client.spawn_ready(ECHO)
    reply = client.command(agent, command_type, **payload)
    assert is_refused(reply, code)
    assert client.info(agent)["status"] == "running"


def mutated(body, others, chance):
    """A request with a byte changed, added or lost, or with the end of another one."""
    at = chance.randrange(len(body))
    return chance.choice(
        [
            body[:at] + chance.randbytes(1) + body[at + 1 :],
            body[:at] + chance.randbytes(3) + body[at:],
            body[:at] + body[at + chance.randrange(1, 5) :],
            body[:at],
            body[:at] + (other := chance.choice(others))[chance.randrange(len(other)) :],
        ]
    )


def test_thousands_of_mutated_requests_get_one_reply_each(client):
    chance = random.Random(1)
    agent = client.spawn_ready(ECHO)
    bodies = [
        pack(request("control_command", agent_id=agent, command_type=type, payload=payload))
        for type, payload, _ in WRONG_COMMANDS.values()
    ]
    bodies += [pack(message) for message in WRONG_FIELDS.values() if "config" not in message]
    for _ in range(50):
        for _ in range(100):
            client.send_bytes(mutated(chance.choice(bodies), bodies, chance))
        replies = [client.receive() for _ in range(100)]
        assert all(reply["type"].endswith("_response") for reply in replies)
    client.health()


def test_a_payload_that_is_no_map_is_malformed(client):
    agent = client.spawn_ready(ECHO)
    for payload in ([], "x", 1):
        reply = client.ask("control_command", agent_id=agent, command_type="stop", payload=payload)
        assert is_refused(reply, "malformed_message")
    assert client.info(agent)["status"] == "running"


@pytest.mark.parametrize("pattern", ["(", "[a-", "*", "a{2,1}", "(?P<n>", r"\w" * 2049])
def test_a_regular_expression_that_does_not_compile_is_malformed(client, pattern):
    agent = client.spawn("echo a")["id"]
    reply = client.ask("output_query_request", agent_id=agent, stream="both", filter=pattern)
    assert is_refused(reply, "malformed_message")


def test_a_body_above_10_mib_is_too_large_and_one_of_10_mib_is_not(client):
    body = health_with(b"\xc0")[:-1]
    room = 10 * MEBIBYTE - len(body) - 5
    whole = body + msgpack.packb(b"x" * room)
    assert len(whole) == 10 * MEBIBYTE
    assert client.ask_bytes(whole)["healthy"]
    for size in (room + 1, 11 * MEBIBYTE):
        assert is_refused(client.ask_bytes(body + msgpack.packb(b"x" * size)), "message_too_large")
    assert is_refused(client.ask_bytes(b"\xc1" * 11 * MEBIBYTE), "message_too_large")


HEALTH = pack({"type": "health_check_request", "request_id": "frames"})

# What a DEALER can send beside the two right shapes.
STRANGE_FRAMES = {
    "an empty frame alone": [b""],
    "two empty frames": [b"", b""],
    "a frame too many": [b"", HEALTH, b"more"],
    "two bodies": [HEALTH, HEALTH],
    "no empty frame first": [b"not empty", HEALTH],
    "a thousand frames": [b"", *[b"x"] * 1000],
}


@pytest.mark.parametrize("frames", STRANGE_FRAMES.values(), ids=STRANGE_FRAMES.keys())
def test_strange_frames_get_one_reply(client, frames):
    client.socket.send_multipart(frames)
    reply = unpack(receive_frames(client.socket, 5)[-1])
    assert is_refused(reply, "malformed_message")
    # The next reply is the next request's, so there was no second one.
    client.health()


def test_a_state_that_does_not_fit_is_refused(client):
    agent = client.spawn_ready(ECHO)
    assert is_refused(client.command(agent, "resume"), "invalid_state")
    client.done(agent, "stop")
    for command_type, payload in {
        "pause": {},
        "resume": {},
        "write_stdin": {"data": "x"},
        "signal": {"signal": "USR1"},
    }.items():
        assert is_refused(client.command(agent, command_type, **payload), "invalid_state")


WRONG_SPAWNS = {
    "an unknown backend": ("unknown_backend", {"model_backend": "nothing"}),
    "a backend's name with a path": ("unknown_backend", {"model_backend": "/bin/sh"}),
    "a missing program": ("backend_unavailable", {"model_backend": "missing"}),
    "an empty name": ("invalid_config", {"name": ""}),
    "a long name": ("invalid_config", {"name": "n" * 10_000}),
    "a missing working directory": ("invalid_config", {"working_dir": "/no/such/place"}),
    "a working directory that is a file": ("invalid_config", {"working_dir": "/etc/passwd"}),
    "LD_PRELOAD": ("invalid_config", {"environment": {"LD_PRELOAD": "/tmp/x.so"}}),
    "LD_LIBRARY_PATH": ("invalid_config", {"environment": {"LD_LIBRARY_PATH": "/tmp"}}),
    "PATH": ("invalid_config", {"environment": {"PATH": "/tmp"}}),
    "BASH_ENV": ("invalid_config", {"environment": {"BASH_ENV": "/tmp/x"}}),
    "NODE_OPTIONS": ("invalid_config", {"environment": {"NODE_OPTIONS": "-r x"}}),
    "DESCARTES_AGENT_ID": ("invalid_config", {"environment": {"DESCARTES_AGENT_ID": NOBODY}}),
    "DESCARTES_X": ("invalid_config", {"environment": {"DESCARTES_X": "1"}}),
    "a variable's name with =": ("invalid_config", {"environment": {"A=B": "1"}}),
    "an empty variable's name": ("invalid_config", {"environment": {"": "1"}}),
    "a NUL in a variable": ("invalid_config", {"environment": {"A": "1\x00"}}),
    "a variable that the backend does not allow": (
        "invalid_config",
        {"model_backend": "restricted", "environment": {"OTHER": "1"}},
    ),
    "arguments that the backend does not allow": ("invalid_config", {"args": ["-x"]}),
    "a NUL in the task": ("invalid_config", {"task": "true\x00"}),
    "a task of 200 KiB as an argument": ("invalid_config", {"task": "#" * 200 * 1024}),
    "a task above 1 MiB": ("invalid_config", {"task": "#" * (MEBIBYTE + 1)}),
    "a context above 1 MiB": ("invalid_config", {"context": "#" * (MEBIBYTE + 1)}),
}


@pytest.mark.parametrize(("code", "config"), WRONG_SPAWNS.values(), ids=WRONG_SPAWNS.keys())
def test_a_wrong_spawn_starts_nothing(client, code, config):
    before = client.list()["agents"]
    reply = client.ask("spawn_request", config=config_for("true") | config)
    assert reply["type"] == "spawn_response" and reply.get("agent_info") is None
    assert is_refused(reply, code)
    assert client.list()["agents"] == before


def test_a_variable_that_the_backend_allows_reaches_the_agent(client):
    info = client.spawn(
        "echo $ALLOWED_X", model_backend="restricted", environment={"ALLOWED_X": "yes"}
    )
    assert client.read_all(info["id"]) == b"yes\n"
