"""Subscribers that do not read, that are killed, and crowds of them that come and go."""

import contextlib
import subprocess
import sys
import time

import pytest
from client import Subscriber, has_no_holes, sequence_of
from daemon import BACKENDS
from waiting import eventually

TALKATIVE = BACKENDS["sh"] | {"parser": "jsonl"}

EVENTS = 1_000_000
TALKERS = 4

# The events that are kept to be asked for again, and the queues of the sockets.
GROWTH_MAX = 100 << 20

CROWD = 1000
ROUNDS = 20

# A thousand connections, the memory of twenty thousand, and an event among a million, on a busy machine.
LONG = 90

# A line that changes the agent's status, for each that it reads.
CHANGES = """while read -r x; do echo '{"type":"thinking"}'; read -r x; echo '{"type":"running"}'; done"""


# Listens, and says so with the first message.
LISTEN = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe(sys.argv[2])
socket.connect(sys.argv[1])
socket.recv_multipart()
print("x", end="", flush=True)
while True:
    socket.recv_multipart()
"""


def talk(lines):
    """Changes its status with each of so many lines, once it has read one."""
    said = r'{"type":"thinking"}\n{"type":"running"}'
    return f"""read -r x; yes "$(printf '{said}')" | head -n {lines}; read -r x"""


@pytest.fixture
def deaf():
    """Connects subscribers that never read."""
    with contextlib.ExitStack() as sockets:

        def connect(server, topic):
            subscriber = sockets.enter_context(Subscriber(server.pub_endpoint, topic))
            return subscriber.settle()

        yield connect


def test_a_million_events_cost_no_memory_for_who_never_reads_and_nobody_else_misses_any(
    launch, connect, deaf
):
    server = launch(**{"backends.talkative": TALKATIVE})
    client = connect(server)
    quiet = client.spawn(CHANGES, model_backend="talkative")["id"]
    talkers = [
        client.spawn(talk(EVENTS // TALKERS), model_backend="talkative")["id"]
        for _ in range(TALKERS)
    ]
    deaf(server, "status/")
    before = server.rss_bytes()
    events = []
    with Subscriber(server.pub_endpoint, f"status/{quiet}") as subscriber:
        subscriber.settle()
        for talker in talkers:
            client.done(talker, "write_stdin", data="go\n")
        while client.list()["sequence"] <= EVENTS:
            client.done(quiet, "write_stdin", data="next\n")
            events += subscriber.kept(lambda event: event["agent_id"] == quiet, LONG)
    assert has_no_holes(sequence_of(events, "agent_sequence"))
    assert len(events) > TALKERS, "the agents had their say at once"
    assert server.peak_rss_bytes() - before < GROWTH_MAX
    for talker in talkers:
        client.done(talker, "write_stdin", data="end\n")
        assert client.ended(talker)["status"] == "completed"


def test_a_thousand_subscribers_come_and_go_twenty_times_and_leave_nothing(server, client):
    client.health()
    before = descriptors(server)
    at_rest, of_one_crowd = server.rss_bytes(), None
    for number in range(ROUNDS):
        crowd = [
            Subscriber(server.pub_endpoint, f"status/{number}-{place}") for place in range(CROWD)
        ]
        eventually(lambda: descriptors(server) >= before + CROWD, "all connections", LONG)
        crowd[-1].settle()
        of_one_crowd = of_one_crowd or server.rss_bytes() - at_rest
        for subscriber in crowd:
            subscriber.socket.close()
        eventually(lambda: descriptors(server) <= before, "the end of all connections", LONG)
    # Connections are let go of for good some seconds after their end, and then their memory.
    eventually(
        lambda: server.rss_bytes() < at_rest + of_one_crowd / 2,
        lambda: f"{at_rest} bytes of memory; one crowd takes {of_one_crowd}, and there are {server.rss_bytes()}",
        2 * LONG,
    )


def test_output_is_read_for_a_subscriber_and_no_longer_than_it_lives(server, client):
    # More than a pipe holds, again and again.
    agent = client.spawn("echo ready; while :; do head -c 100000 /dev/zero; sleep 0.01; done")["id"]
    client.read_until(agent, b"ready\n")
    assert not reads(server), "output that nobody wants is read"
    listener = subprocess.Popen(
        [sys.executable, "-c", LISTEN, server.pub_endpoint, f"log/{agent}/stdout"],
        stdout=subprocess.PIPE,
    )
    try:
        assert listener.stdout.read(1) == b"x"
        eventually(lambda: reads(server), "the output that somebody listens to")
    finally:
        listener.kill()
        listener.wait()
    eventually(lambda: not reads(server), "the end of reading")


def reads(server):
    """Whether the server reads what an agent writes: ten megabytes a second."""

    def read():
        return int(server.proc("io").read_text().split()[1])

    before = read()
    time.sleep(0.5)
    return read() - before > 1_000_000


def descriptors(server):
    return len(list(server.proc("fd").iterdir()))
