"""Line queries that ask for little of much, or too much of anything."""

import random

import pytest
from client import Client
from test_output import MEBIBYTE
from waiting import eventually

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


# Goes on counting, 20,000 numbers for each line of input.
COUNTER = "n=0; while read -r _; do seq $((n + 1)) $((n + 20000)); n=$((n + 20000)); done"


def test_queries_that_go_on_find_every_line_once_while_the_oldest_are_dropped(launch, connect):
    client = connect(launch(runner={"output_bytes": 256 * 1024}))
    agent = client.spawn(COUNTER, stdin="pipe")["id"]
    counted = offset = 0

    def count_on(steps):
        nonlocal counted
        counted += 20_000 * steps
        client.done(agent, "write_stdin", data="go\n" * steps)
        written = sum(len(f"{number}\n") for number in range(1, counted + 1))
        eventually(lambda: client.info(agent)["output"]["stdout_bytes"] == written, "the numbers")

    def page():
        nonlocal offset
        query = {"agent_id": agent, "stream": "stdout", "count": False, "limit": 3000}
        reply = client.ask("output_query_request", **query, from_offset=offset)
        offset = reply["next_offset"]
        # What is kept may begin with half a line, be it only its newline.
        numbers = [int(line or 0) for line in reply["lines"]]
        return numbers, reply["lost_bytes"], reply["has_more"]

    def pages():
        found, lost, has_more = page()
        while has_more:
            more, gone, has_more = page()
            assert gone == 0
            found += more
        return found, lost

    count_on(1)
    assert pages() == (list(range(1, counted + 1)), 0)
    assert pages() == ([], 0)
    for _ in range(2):
        count_on(6)
        first, lost, has_more = page()
        assert (lost > 0, has_more) == (True, True)
        assert first[1:] == list(range(first[1], first[1] + len(first) - 1))
    count_on(6)
    found, lost = pages()
    assert lost > 0
    assert found[1:] == list(range(found[1], counted + 1))


def test_from_offset_is_where_a_query_begins_in_one_stream(client):
    agent = client.spawn("echo one; echo two")["id"]
    client.ended(agent)
    query = {"agent_id": agent, "stream": "stdout"}

    def found(**fields):
        reply = client.ask("output_query_request", **query | fields)
        return reply["lines"], reply["next_offset"], reply["lost_bytes"], reply["has_more"]

    assert found(from_offset=4) == (["two"], 8, 0, False)
    assert found(from_offset=4, tail=True) == (["one"], 0, 0, False)
    assert found(from_offset=2**64 - 1, tail=True, count=False, limit=1) == (["two"], 4, 0, True)
    assert "next_offset" not in client.ask("output_query_request", **query)
    refused = client.ask("output_query_request", **query | {"stream": "both"}, from_offset=0)
    assert refused["error_code"] == "malformed_message"


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
