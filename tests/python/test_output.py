"""Reading what agents print: by cursor, by offset, by line."""

import time

import pytest
from client import Client
from conftest import ECHO
from waiting import eventually

MEBIBYTE = 1024 * 1024

# 12 lines of 1 MiB each, more than one reply can carry.
LONG_LINES = """
for c in a b c d e f g h i j k l; do head -c 1048575 /dev/zero | tr '\\0' $c; echo; done
"""


def line_numbers(count):
    return "".join(f"line {i}\n" for i in range(1, count + 1))


COUNT = 'i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "line $i"; done'


def test_reads_without_an_offset_share_a_cursor_and_reads_with_one_do_not(server, client):
    agent = client.spawn_ready(ECHO)
    with Client(server.endpoint) as other:
        assert client.done(agent, "read_stdout")["data"] == b"ready\n"
        assert other.done(agent, "read_stdout")["data"] == b""
        assert other.done(agent, "read_stdout", offset=0)["data"] == b"ready\n"
        other.done(agent, "write_stdin", data="x\n")
        client.read_until(agent, b"got x\n")
        chunk = client.done(agent, "read_stdout", max_bytes=4)
        assert (chunk["data"], chunk["offset"], chunk["next_offset"]) == (b"got ", 6, 10)
        chunk = other.done(agent, "read_stdout")
        assert (chunk["data"], chunk["offset"], chunk["next_offset"]) == (b"x\n", 10, 12)
        assert (chunk["bytes"], chunk["eof"], chunk["first_offset"]) == (2, False, 0)


def test_the_two_streams_are_separate(client):
    agent = client.spawn("echo one; echo two >&2; echo three; echo four >&2")["id"]
    assert client.read_all(agent) == b"one\nthree\n"
    assert client.read_all(agent, "stderr") == b"two\nfour\n"


def test_output_read_piece_by_piece_is_whole(client):
    agent = client.spawn(COUNT % 20_000)["id"]
    output, offset = b"", 0
    while True:
        chunk = client.done(agent, "read_stdout", offset=offset, max_bytes=9_973, wait_ms=2000)
        assert chunk["offset"] == offset and chunk["bytes"] == len(chunk["data"]) <= 9_973
        assert chunk["next_offset"] == offset + chunk["bytes"]
        output, offset = output + chunk["data"], chunk["next_offset"]
        if chunk["eof"]:
            break
    assert output.decode() == line_numbers(20_000)


def test_the_end_is_told_only_when_all_has_been_read(client):
    agent = client.spawn_ready("echo ready; read x; echo last")
    assert not client.done(agent, "read_stdout", offset=6)["eof"]
    client.done(agent, "write_stdin", data="go on\n")
    client.ended(agent)
    assert not client.done(agent, "read_stdout", offset=0, max_bytes=6)["eof"]
    chunk = client.done(agent, "read_stdout", offset=6, wait_ms=5000)
    assert (chunk["data"], chunk["eof"]) == (b"last\n", True)
    # There is nothing to wait for, so this must not.
    started = time.monotonic()
    chunk = client.done(agent, "read_stdout", offset=11, wait_ms=5000)
    assert (chunk["data"], chunk["eof"]) == (b"", True)
    assert time.monotonic() - started < 2


def test_a_long_poll_without_news_comes_back_empty(client):
    agent = client.spawn_ready(ECHO)
    started = time.monotonic()
    chunk = client.done(agent, "read_stdout", offset=6, wait_ms=300)
    assert 0.25 < time.monotonic() - started < 3
    assert (chunk["data"], chunk["offset"], chunk["next_offset"]) == (b"", 6, 6)
    assert not chunk["eof"]


def test_a_long_poll_lasts_at_most_half_of_the_request_timeout(launch, connect):
    client = connect(launch(request_timeout_secs=2))
    agent = client.spawn_ready(ECHO)
    started = time.monotonic()
    assert client.done(agent, "read_stdout", offset=6, wait_ms=60_000)["data"] == b""
    assert 0.9 < time.monotonic() - started < 2


def test_output_that_is_no_text_arrives_unchanged(client):
    agent = client.spawn("printf '\\377\\376\\000\\200 no text\\n'")["id"]
    assert client.read_all(agent) == b"\xff\xfe\x00\x80 no text\n"
    lines = client.ask("output_query_request", agent_id=agent, stream="stdout")["lines"]
    assert len(lines) == 1 and lines[0].endswith(" no text")
    assert client.done(agent, "query_output")["stdout"] == lines


def test_a_reply_that_would_be_too_large_is_cut_and_can_be_continued(client):
    agent = client.spawn(LONG_LINES)["id"]
    client.ended(agent)
    chunk = client.done(agent, "read_stdout", offset=0, max_bytes=64 * MEBIBYTE)
    assert MEBIBYTE <= chunk["bytes"] < 10 * MEBIBYTE
    assert not chunk["eof"]
    output = client.read_all(agent)
    assert output == b"".join(bytes([c]) * (MEBIBYTE - 1) + b"\n" for c in b"abcdefghijkl")

    lines = []
    while True:
        reply = client.ask(
            "output_query_request", agent_id=agent, stream="stdout", offset=len(lines)
        )
        assert reply["success"] and reply["lines"]
        lines += reply["lines"]
        if not reply["has_more"]:
            break
    assert [(line[0], len(line)) for line in lines] == [(c, MEBIBYTE - 1) for c in "abcdefghijkl"]


def test_query_output_gives_the_first_lines_or_the_last(client):
    agent = client.spawn("echo oops >&2; " + COUNT % 10)["id"]
    client.ended(agent)
    lines = line_numbers(10).splitlines()
    assert client.done(agent, "query_output", stdout=True)["stdout"] == lines
    data = client.done(agent, "query_output", stdout=True, stderr=True, max_lines=3)
    assert (data["stdout"], data["stderr"]) == (lines[:3], ["oops"])
    data = client.done(agent, "query_output", stdout=True, max_lines=3, tail=True)
    assert data["stdout"] == lines[-3:]
    data = client.done(agent, "query_output", stdout=False, stderr=True)
    assert (data.get("stdout") or [], data["stderr"]) == ([], ["oops"])


@pytest.mark.parametrize(
    ("query", "numbers", "has_more"),
    [
        ({}, range(1, 31), False),
        ({"filter": "7$"}, [7, 17, 27], False),
        ({"filter": "7$", "limit": 2}, [7, 17], True),
        ({"filter": "7$", "limit": 2, "offset": 2}, [27], False),
        ({"filter": "^line [12]$"}, [1, 2], False),
        ({"limit": 3, "offset": 3}, [4, 5, 6], True),
        ({"filter": "nothing"}, [], False),
        ({"tail": True, "limit": 2}, [29, 30], True),
        ({"tail": True, "limit": 2, "offset": 1}, [28, 29], True),
        ({"tail": True, "filter": "^line 1"}, [1, *range(10, 20)], False),
        ({"tail": True, "filter": "^line 1", "limit": 2, "offset": 9}, [1, 10], False),
        ({"tail": None, "limit": 1}, [1], True),
    ],
)
def test_output_query_counts_matching_lines(client, query, numbers, has_more):
    agent = client.spawn(COUNT % 30)["id"]
    client.ended(agent)
    reply = client.ask("output_query_request", agent_id=agent, stream="stdout", **query)
    assert reply["success"]
    assert reply["lines"] == [f"line {i}" for i in numbers]
    assert reply["has_more"] == has_more


def test_output_query_searches_one_stream_or_both(client):
    agent = client.spawn("echo out; echo err >&2")["id"]
    client.ended(agent)
    expected = {"stdout": ["out"], "stderr": ["err"], "both": ["err", "out"]}
    for stream, lines in expected.items():
        reply = client.ask("output_query_request", agent_id=agent, stream=stream)
        assert sorted(reply["lines"]) == lines
        assert reply["total_lines"] == len(lines)


def test_a_flood_keeps_its_tail_and_says_where_it_begins(client):
    # 4 MB without a newline, of which the last 64 KiB and little more are kept.
    total = 4_000_000
    agent = client.spawn(
        f"seq 1 1000000 | tr -d '\\n' | head -c {total}", limits={"output_bytes": 65_536}
    )["id"]
    everything = "".join(map(str, range(1, 1_000_001))).encode()[:total]
    client.ended(agent)
    chunk = client.done(agent, "read_stdout", offset=0)
    first = chunk["first_offset"]
    assert chunk["offset"] == first > 0
    kept = client.read_all(agent, offset=first)
    assert first + len(kept) == total
    assert kept == everything[first:]
    assert 32_768 <= len(kept) <= 65_536
    assert client.info(agent)["output"]["stdout_bytes"] == total


def test_reading_along_with_a_flood_gives_true_bytes_at_true_offsets(client):
    # The reader is slower than the agent; what it gets must still fit.
    agent = client.spawn("seq 1 400000", limits={"output_bytes": 65_536})["id"]
    everything = "".join(f"{i}\n" for i in range(1, 400_001)).encode()
    offset = 0
    while True:
        chunk = client.done(agent, "read_stdout", offset=offset, max_bytes=4096, wait_ms=2000)
        assert chunk["offset"] >= offset
        assert chunk["data"] == everything[chunk["offset"] : chunk["next_offset"]]
        offset = chunk["next_offset"]
        if chunk["eof"]:
            break
    assert offset == len(everything)


def test_times_say_when_output_arrived_and_lead_back_to_it(client):
    began = time.time()
    agent = client.spawn_ready("echo ready; exec cat")
    for word in ("one", "two"):
        # Only output that comes later than this has a time of its own.
        rest = time.time() + 0.02
        eventually(lambda: time.time() > rest, "the clock")
        client.done(agent, "write_stdin", data=f"{word}\n")
        client.read_until(agent, f"{word}\n".encode())
    client.done(agent, "close_stdin")
    client.ended(agent)
    times = client.done(agent, "read_stdout", offset=0, times=True)["times"]
    assert [entry["offset"] for entry in times] == [0, 6, 10]
    seconds = [seconds_of(entry["time"]) for entry in times]
    assert began - 0.01 < seconds[0] < seconds[1] < seconds[2] <= time.time()
    for entry, output in zip(times, [b"ready\none\ntwo\n", b"one\ntwo\n", b"two\n"]):
        chunk = client.done(agent, "read_stdout", since=entry["time"])
        assert (chunk["offset"], chunk["data"]) == (entry["offset"], output)
        assert "times" not in chunk
    within = client.done(agent, "read_stdout", offset=8, times=True, max_bytes=3)
    assert within["times"] == [times[1] | {"offset": 8}, times[2]]
    future = {"secs_since_epoch": 2**40, "nanos_since_epoch": 0}
    chunk = client.done(agent, "read_stdout", since=future, offset=2)
    assert (chunk["offset"], chunk["data"], chunk["eof"]) == (14, b"", True)
    # The cursor has stayed where it was.
    assert client.done(agent, "read_stdout", max_bytes=5)["data"] == b"ready"
    wrong = client.command(agent, "read_stdout", since=5)
    assert wrong["error_code"] == "malformed_message"


def seconds_of(moment):
    return moment["secs_since_epoch"] + moment["nanos_since_epoch"] / 1e9


def test_stream_logs_says_where_live_output_is(server, client):
    agent = client.spawn_ready(ECHO)
    data = client.done(agent, "stream_logs")
    assert data["pub_endpoint"] == server.pub_endpoint
    assert data["topics"] == [f"log/{agent}/stdout", f"log/{agent}/stderr"]
    client.done(agent, "stop")
    assert client.done(agent, "stream_logs")["offsets"] == {"stdout": 6, "stderr": 0}
