"""What clients write to an agent."""

import base64
import hashlib

import pytest

CAT = "echo ready; exec cat"


@pytest.fixture
def cat(client):
    return client.spawn_ready(CAT)


def test_text_bytes_and_base64_arrive_unchanged(client, cat):
    raw = bytes(range(256))
    written = [
        client.done(cat, "write_stdin", data="grüße\n"),
        client.done(cat, "write_stdin", data="text\n", encoding="utf8"),
        client.done(cat, "write_stdin", data=raw),
        client.done(cat, "write_stdin", data=base64.b64encode(raw).decode(), encoding="base64"),
    ]
    client.done(cat, "close_stdin")
    expected = "grüße\ntext\n".encode() + raw + raw
    assert client.read_all(cat) == b"ready\n" + expected
    assert [data["bytes_written"] for data in written] == [8, 5, 256, 256]
    assert [data["stdin_bytes"] for data in written] == [8, 13, 269, 525]


@pytest.mark.parametrize("way", ["close_stdin", "close"])
def test_an_agent_sees_the_end_of_its_stdin(client, cat, way):
    if way == "close":
        client.done(cat, "write_stdin", data="last", close=True)
    else:
        client.done(cat, "write_stdin", data="last")
        client.done(cat, "close_stdin")
    assert client.read_all(cat) == b"ready\nlast"
    assert client.ended(cat)["status"] == "completed"


def test_a_write_with_an_offset_can_be_sent_again(client, cat):
    client.done(cat, "write_stdin", data="abc", offset=0)
    assert client.done(cat, "write_stdin", data="abc", offset=0)["stdin_bytes"] == 3
    assert client.done(cat, "write_stdin", data="bcdef", offset=1)["stdin_bytes"] == 6
    client.done(cat, "write_stdin", data="ghi", offset=6, close=True)
    assert client.read_all(cat) == b"ready\nabcdefghi"


def test_several_writers_can_each_send_again(client):
    # The agent outlives the end of its stdin, so that a write after it finds somebody.
    agent = client.spawn_ready("echo ready; cat; sleep 1000")

    def command(writer, sent, data, **more):
        position = {"id": writer, "offset": sent}
        return client.command(agent, "write_stdin", data=data, writer=position, **more)

    def write(*args, **more):
        reply = command(*args, **more)
        assert reply["success"], reply
        return reply["data"]["bytes_written"], reply["data"]["stdin_bytes"]

    assert write("one", 0, "a") == (1, 1)
    assert write("two", 0, "b") == (1, 2)
    assert write("one", 0, "a") == (1, 2)
    assert write("one", 0, "ac") == (2, 3)
    gap = command("two", 2, "e")
    assert gap["error_code"] == "invalid_state" and "the 1 bytes" in gap["error"]
    both = command("two", 1, "x", offset=3)
    assert both["error_code"] == "malformed_message"
    assert write("two", 1, "d", close=True) == (1, 4)
    assert client.read_until(agent, b"abcd") == b"ready\nabcd"
    assert write("two", 1, "d", close=True) == (1, 4)
    assert command("two", 2, "e")["error_code"] == "invalid_state"


def test_closed_stdin_takes_nothing_more(client):
    # The agent lives on, so it is its stdin that refuses.
    agent = client.spawn_ready("echo ready; cat; echo end; sleep 1000")
    client.done(agent, "close_stdin")
    client.read_until(agent, b"end\n")
    assert client.command(agent, "write_stdin", data="x")["error_code"] == "invalid_state"
    assert client.info(agent)["status"] == "running"


@pytest.mark.parametrize("config", [{"stdin": "null"}, {"model_backend": "restricted"}])
def test_an_agent_without_a_pipe_reads_nothing_and_takes_nothing(client, config):
    agent = client.spawn("cat; echo end; sleep 1000", **config)["id"]
    assert client.read_until(agent, b"end\n") == b"end\n"
    assert client.command(agent, "write_stdin", data="x")["error_code"] == "invalid_state"


def test_a_backend_may_hand_the_task_over_by_stdin(launch, connect):
    server = launch(**{"backends.stdin": {"command": "cat", "stdin": "task"}})
    task = "long " * 100_000
    info = connect(server).spawn(task, model_backend="stdin")
    assert connect(server).read_all(info["id"]) == task.encode()


def test_a_full_stdin_is_busy_and_goes_on_where_it_stopped(launch, connect):
    client = connect(launch(runner={"stdin_bytes": 65_536}))
    agent = client.spawn_ready("echo ready; exec sha256sum")
    client.done(agent, "pause")
    data = bytes(range(256)) * 4096
    full = client.command(agent, "write_stdin", data=data, offset=0)
    assert full["error_code"] == "busy" and not full["success"]
    sent = full["data"]["bytes_written"]
    assert 65_536 <= sent < len(data)
    assert full["data"]["stdin_bytes"] == sent
    client.health()

    client.done(agent, "resume")
    while sent < len(data):
        reply = client.command(agent, "write_stdin", data=data[sent:], offset=sent)
        assert reply["success"] or reply["error_code"] == "busy", reply
        sent += reply["data"]["bytes_written"]
    client.done(agent, "close_stdin")
    output = client.read_all(agent)
    assert output.split()[1].decode() == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("end", ["exec <&-; echo closed; sleep 1000", "exit 3"])
def test_an_agent_that_ends_its_stdin_with_input_waiting_is_not_lost(client, end):
    agent = client.spawn_ready(f"echo ready; trap '{end}' USR1; while :; do sleep 0.02; done")
    while client.command(agent, "write_stdin", data=b"x" * 300_000)["success"]:
        pass
    client.done(agent, "signal", signal="USR1", scope="leader")
    if end == "exit 3":
        info = client.ended(agent)
        assert (info["end_reason"], info["exit_code"]) == ("exited", 3)
    else:
        client.read_until(agent, b"closed\n")
        assert client.command(agent, "write_stdin", data=b"x")["error_code"] == "invalid_state"
        assert client.done(agent, "stop")["end_reason"] == "stopped"
