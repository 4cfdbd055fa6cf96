"""Line queries that ask for little of much, or too much of anything."""

import random

import pytest
from client import Client
from test_output import MEBIBYTE

# No DFA that fits into memory goes through a line of these two letters.
HOSTILE = r"\ba[ab]{3000}c"


def write_line(path, length):
    """A long line of `a` and `b`, of which the first character is not ASCII."""
    dice = random.Random(length)
    path.write_text("é" + "".join(dice.choices("ab", k=length)) + "\n")


@pytest.mark.parametrize("ends", ["", "\\n"])
def test_the_last_lines_of_much_output_are_found_after_a_very_long_one(client, ends):
    # 40 MiB in a line whose pieces are counted from its beginning.
    length = 40 * MEBIBYTE + 5
    task = f"seq 1 9; head -c {length} /dev/zero | tr '\\0' x; printf '{ends}'"
    agent = client.spawn(task)["id"]
    client.ended(agent)
    data = client.done(agent, "query_output", tail=True, max_lines=2)
    assert data["stdout"] == ["x" * MEBIBYTE, "x" * 5]
    assert data["has_more"]
    reply = client.ask("output_query_request", agent_id=agent, stream="stdout", limit=9)
    assert reply["lines"] == [str(number) for number in range(1, 10)]
    assert (reply["total_lines"], reply["has_more"]) == (50, True)


def test_the_tail_of_much_output_is_its_end(client):
    agent = client.spawn("seq 1 2000000")["id"]
    client.ended(agent)
    data = client.done(agent, "query_output", tail=True, max_lines=3)
    assert data == {
        "stdout": ["1999998", "1999999", "2000000"],
        "stderr": [],
        "has_more": True,
    }
    query = {"agent_id": agent, "stream": "stdout", "limit": 1}
    reply = client.ask("output_query_request", **query)
    assert (reply["lines"], reply["total_lines"]) == (["1"], 2_000_000)


@pytest.mark.parametrize("tail", [False, True])
def test_a_query_that_counts_nothing_looks_no_further_than_its_lines(client, tail):
    agent = client.spawn("seq 1 2000000")["id"]
    client.ended(agent)
    query = {"agent_id": agent, "stream": "stdout", "tail": tail, "count": False}
    reply = client.ask("output_query_request", **query, filter="7$", limit=2)
    assert reply["lines"] == (["1999987", "1999997"] if tail else ["7", "17"])
    assert ("total_lines" in reply, reply["has_more"]) == (False, True)
    # All of it had to be looked at.
    reply = client.ask("output_query_request", **query, filter="^100000$", limit=2)
    assert reply["lines"] == ["100000"]
    assert (reply["total_lines"], reply["has_more"]) == (1, False)


def test_a_hostile_expression_is_refused_and_holds_nobody_up(server, client, tmp_path, unharmed):
    write_line(tmp_path / "line", MEBIBYTE - 2)
    agent = client.spawn(f"cat {tmp_path}/line")["id"]
    client.ended(agent)
    query = {"agent_id": agent, "stream": "stdout", "filter": HOSTILE}
    asked = {client.send("output_query_request", **query) for _ in range(8)}
    with Client(server.endpoint) as other:
        other.health()
        for hostile in [r"\w{1000}", "(", "a" * 5000]:
            reply = other.ask("output_query_request", **query | {"filter": hostile})
            assert reply["error_code"] == "malformed_message", reply
        other.health()
    while asked:
        reply = client.receive()
        asked.remove(reply["request_id"])
        assert reply["error_code"] == "malformed_message", reply
        assert "too large for a line" in reply["error"]


def test_an_expression_that_a_short_line_is_no_trouble_for_is_answered(client, tmp_path):
    write_line(tmp_path / "line", 3200)
    agent = client.spawn(f"cat {tmp_path}/line; echo été")["id"]
    client.ended(agent)
    query = {"agent_id": agent, "stream": "stdout"}
    reply = client.ask("output_query_request", **query, filter=HOSTILE)
    assert (reply["lines"], reply["total_lines"]) == ([], 0)
    reply = client.ask("output_query_request", **query, filter=r"^\bété\b$")
    assert (reply["lines"], reply["total_lines"]) == (["été"], 1)
