"""What subscribers hear, and how they get what they missed."""

import time

import pytest
from client import FINAL, Client, Subscriber, has_no_holes, sequence_of
from conftest import ECHO
from daemon import SERVER_ID


@pytest.fixture
def subscribe(server):
    """Makes subscribers whose subscriptions count already."""
    subscribers = []

    def make(*topics):
        subscribers.append(Subscriber(server.pub_endpoint, *topics))
        return subscribers[-1].settle()

    yield make
    for subscriber in subscribers:
        subscriber.socket.close()


def is_last_of(agent):
    return lambda event: event["agent_id"] == agent and event["status"] in FINAL


def events_after(client, epoch, sequence, **fields):
    return client.ask("events_request", epoch=epoch, after_sequence=sequence, **fields)


def test_an_agents_life_is_told_without_holes(client, subscribe):
    subscriber = subscribe("status/")
    agent = client.spawn_ready(ECHO)
    client.done(agent, "pause")
    client.done(agent, "resume")
    client.done(agent, "write_stdin", data="", close=True)
    events = subscriber.kept(is_last_of(agent))
    assert {event["type"] for event in events} == {"status_update"}
    assert {event["agent_id"] for event in events} == {agent}
    statuses = [event["status"] for event in events]
    assert statuses[-4:] == ["running", "paused", "running", "completed"]
    assert [event["update_type"] for event in events[-4:]] == ["status_changed"] * 3 + ["completed"]
    assert sequence_of(events, "agent_sequence") == list(range(1, len(events) + 1))
    assert sequence_of(events) == list(range(1, len(events) + 1))
    assert len({event["epoch"] for event in events}) == 1
    assert {event["server_id"] for event in events} == {SERVER_ID}
    assert set(events[0]["timestamp"]) == {"secs_since_epoch", "nanos_since_epoch"}
    assert client.info(agent)["agent_sequence"] == events[-1]["agent_sequence"]


# Task, command, and how the end is told: update_type, status, exit_code, exit_signal, end_reason.
ENDS = [
    ("exit 0", None, "completed", "completed", (0, None, "exited")),
    ("exit 3", None, "completed", "failed", (3, None, "exited")),
    ("sleep 1000", "stop", "terminated", "terminated", (None, 15, "stopped")),
    ("sleep 1000", "kill", "terminated", "terminated", (None, 9, "killed")),
]


def test_the_last_event_says_how_an_agent_ended(client, subscribe):
    subscriber = subscribe("status/")
    for task, command, update_type, status, end in ENDS:
        agent = client.spawn(task)["id"]
        if command:
            client.done(agent, command)
        last = subscriber.kept(is_last_of(agent))[-1]
        assert (last["update_type"], last["status"]) == (update_type, status)
        data = last["data"]
        assert (data["exit_code"], data["exit_signal"], data["end_reason"]) == end


def test_one_agents_topic_brings_that_agents_events_alone(client, subscribe):
    first = client.spawn(ECHO)["id"]
    second = client.spawn(ECHO)["id"]
    subscriber = subscribe(f"status/{second}")
    client.done(first, "kill")
    client.done(second, "kill")
    topic, event = subscriber.receive()
    while event["update_type"] != "terminated":
        topic, event = subscriber.receive()
    assert topic == f"status/{second}" and event["agent_id"] == second
    assert event["agent_sequence"] == client.info(second)["agent_sequence"]


def test_heartbeats_tell_of_the_servers_health(client, server):
    client.spawn(ECHO)
    with Subscriber(server.pub_endpoint, f"server/{SERVER_ID}") as subscriber:
        topic, body = subscriber.receive()
    assert topic == f"server/{SERVER_ID}"
    assert (body["type"], body["request_id"]) == ("health_check_response", "")
    assert body["healthy"] and body["active_agents"] == 1


def test_live_output_is_whole_and_at_its_offsets(client, subscribe):
    agent = client.spawn_ready("echo ready; read x; seq 1 30000; printf '\\377'")
    subscriber = subscribe(f"log/{agent}/stdout", f"log/{agent}/stderr")
    client.done(agent, "write_stdin", data="go\n")
    expected = b"ready\n" + "".join(f"{i}\n" for i in range(1, 30_001)).encode() + b"\xff"
    received = 6
    while received < len(expected):
        topic, piece = subscriber.receive()
        if piece["offset"] + len(piece["data"]) <= len(b"ready\n"):
            continue
        assert topic == f"log/{agent}/stdout"
        assert (piece["type"], piece["stream_type"]) == ("log_stream", "stdout")
        assert piece["agent_id"] == agent
        end = piece["offset"] + len(piece["data"])
        assert piece["offset"] <= received < end
        assert piece["data"] == expected[piece["offset"] : end]
        received = end
    assert client.read_all(agent) == expected


def test_stderr_has_a_topic_of_its_own(client, subscribe):
    agent = client.spawn_ready("echo ready; read x; echo out; echo err >&2; read x")
    subscriber = subscribe(f"log/{agent}/stderr")
    client.done(agent, "write_stdin", data="go\n")
    topic, piece = subscriber.receive()
    assert topic == f"log/{agent}/stderr"
    assert (piece["stream_type"], piece["data"], piece["offset"]) == ("stderr", b"err\n", 0)


def test_missed_events_can_be_asked_for(client, subscribe):
    subscriber = subscribe("status/")
    first = client.spawn("exit 3")["id"]
    second = client.spawn_ready(ECHO)
    client.ended(first)
    client.done(second, "stop")
    heard = subscriber.kept(is_last_of(second))
    epoch = heard[0]["epoch"]
    reply = events_after(client, epoch, 0)
    assert reply["events"] == heard
    assert (reply["epoch"], reply["gap"]) == (epoch, False)
    assert reply["next_sequence"] == heard[-1]["sequence"]

    assert events_after(client, epoch, 2)["events"] == heard[2:]
    own = events_after(client, epoch, 0, agent_id=second)["events"]
    assert own == [event for event in heard if event["agent_id"] == second]
    nothing = events_after(client, epoch, heard[-1]["sequence"])
    assert (nothing["events"], nothing["gap"]) == ([], False)


def test_events_come_in_pages(client):
    for _ in range(5):
        client.ended(client.spawn("true")["id"])
    epoch = client.list()["epoch"]
    everything = events_after(client, epoch, 0)["events"]
    pages, sequence = [], 0
    while len(pages) < len(everything):
        reply = events_after(client, epoch, sequence, limit=3)
        assert 1 <= len(reply["events"]) <= 3
        pages += reply["events"]
        sequence = reply["next_sequence"]
    assert pages == everything
    assert has_no_holes(sequence_of(pages))


def test_a_list_says_which_events_it_includes(client):
    agent = client.spawn_ready(ECHO)
    known = client.list()
    assert events_after(client, known["epoch"], known["sequence"])["events"] == []
    client.done(agent, "pause")
    later = events_after(client, known["epoch"], known["sequence"])["events"]
    assert [event["status"] for event in later] == ["paused"]
    assert client.list()["sequence"] == known["sequence"] + 1


def test_an_agent_is_followed_with_held_requests_alone(server, client):
    known = client.list()
    agent = client.spawn_ready(ECHO)
    epoch, sequence = known["epoch"], known["sequence"]
    bystander = client.spawn_ready(ECHO)
    wanted = {"epoch": epoch, "agent_id": agent, "wait_ms": 60_000}
    followed = []

    def follow(statuses):
        nonlocal sequence
        while not followed or followed[-1]["status"] not in statuses:
            reply = client.ask("events_request", after_sequence=sequence, **wanted)
            followed.extend(reply["events"])
            sequence = reply["next_sequence"]

    with Client(server.endpoint) as other:
        follow({"running"})
        other.done(agent, "pause")
        follow({"paused"})
        other.done(bystander, "kill")
        other.done(agent, "kill")
        follow(FINAL)
    assert followed == events_after(client, epoch, 0, agent_id=agent)["events"]
    assert sequence == client.list()["sequence"]


def test_a_wait_is_over_after_its_time(client):
    client.spawn_ready(ECHO)
    known = client.list()
    began = time.monotonic()
    reply = events_after(client, known["epoch"], known["sequence"], wait_ms=300)
    assert time.monotonic() - began >= 0.3
    assert (reply["events"], reply["gap"]) == ([], False)
    assert reply["next_sequence"] == known["sequence"]


def test_another_epoch_is_a_gap(server, client):
    agent = client.spawn_ready(ECHO)
    old = client.list()["epoch"]
    assert events_after(client, "no such epoch", 0)["gap"]
    server.restart()
    reply = events_after(client, old, 0)
    assert reply["gap"] and reply["epoch"] != old
    assert client.list()["epoch"] == reply["epoch"]
    assert client.info(agent)["status"] == "running"


def test_a_subscriber_hears_of_the_server_that_comes_after(server, client, subscribe):
    subscriber = subscribe("status/")
    agent = client.spawn_ready(ECHO)
    before = subscriber.kept(lambda event: event["status"] == "running")
    server.restart()
    subscriber.settle()
    client.done(agent, "pause")
    after = subscriber.kept(lambda event: event["status"] == "paused")
    assert after[-1]["epoch"] != before[-1]["epoch"]
    assert has_no_holes(sequence_of(after))
    assert after[-1]["agent_id"] == agent
