"""Agents and peers that behave as badly as they can, while everybody else goes on."""

import os
import random
import socket
import time
from urllib.parse import urlsplit

import pytest
import zmq
from client import Client, Subscriber, config_for, new_id, pack
from conftest import ECHO
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("unharmed")

MEBIBYTE = 1024 * 1024


def tcp(endpoint):
    address = urlsplit(endpoint)
    return socket.create_connection((address.hostname, address.port), timeout=PATIENCE)


def hears_of_news(server, client):
    """Whether a new subscriber and a new client still get what they should."""
    with Subscriber(server.pub_endpoint, "status/") as subscriber:
        subscriber.settle()
        agent = client.spawn("true")["id"]
        subscriber.kept(lambda event: event["agent_id"] == agent)
    with Client(server.endpoint) as another:
        another.health()
    return True


def test_an_agent_that_never_reads_its_stdin_makes_only_itself_busy(client):
    agent = client.spawn_ready("echo ready; sleep 1000")
    taken, reply = 0, None
    for _ in range(100):
        reply = client.command(agent, "write_stdin", data=b"x" * 100_000)
        taken += reply["data"]["bytes_written"]
        if not reply["success"]:
            break
    assert reply["error_code"] == "busy"
    # Its queue, 1 MiB, and what the kernel's pipe holds.
    assert MEBIBYTE <= taken <= 3 * MEBIBYTE
    assert reply["data"]["stdin_bytes"] == taken
    reply = client.command(agent, "write_stdin", data=b"x" * 100_000)
    assert (reply["error_code"], reply["data"]["bytes_written"]) == ("busy", 0)
    assert client.info(agent)["status"] == "running"
    client.done(agent, "stop")


def test_agents_that_flood_slow_nobody_down(server, client):
    floods = [
        client.spawn("tr '\\0' x < /dev/zero", limits={"output_bytes": MEBIBYTE})["id"]
        for _ in range(3)
    ]
    before = server.rss_bytes()

    def have_grown():
        sizes = [client.info(agent)["output"]["stdout_bytes"] for agent in floods]
        return min(sizes) > 20 * MEBIBYTE

    eventually(have_grown, "20 MiB of output of each")
    slowest = 0
    for _ in range(50):
        started = time.monotonic()
        client.health()
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1
    assert server.rss_bytes() - before < 64 * MEBIBYTE
    for agent in floods:
        client.done(agent, "stop")
    for folder in (server.state_dir / "agents").iterdir():
        kept = sum(file.stat().st_size for file in (folder / "stdout").iterdir())
        assert kept <= 2 * MEBIBYTE


def test_a_subscriber_that_does_not_read_costs_the_server_little(server, client):
    context = zmq.Context()
    stalled = context.socket(zmq.SUB)
    stalled.set(zmq.RCVHWM, 1)
    stalled.set(zmq.RCVBUF, 4096)
    stalled.subscribe("")
    stalled.connect(server.pub_endpoint)
    with Subscriber(server.pub_endpoint, "status/") as subscriber:
        subscriber.settle()
        before = server.rss_bytes()
        agent = client.spawn("head -c 60000000 /dev/zero | tr '\\0' x")["id"]
        client.ended(agent)
        subscriber.kept(lambda event: event["status"] == "completed")
    assert server.rss_bytes() - before < 64 * MEBIBYTE
    context.destroy(linger=0)


def test_a_client_that_does_not_read_its_replies_harms_only_itself(server, client):
    agent = client.spawn("head -c 4000000 /dev/zero; sleep 1000")["id"]
    eventually(
        lambda: client.info(agent)["output"]["stdout_bytes"] == 4_000_000, "all of the output"
    )
    before = server.rss_bytes()
    context = zmq.Context()
    stalled = context.socket(zmq.DEALER)
    stalled.set(zmq.RCVHWM, 1)
    stalled.set(zmq.RCVBUF, 4096)
    stalled.connect(server.endpoint)
    payload = {"offset": 0, "max_bytes": 4_000_000}
    read = {"type": "control_command", "agent_id": agent, "command_type": "read_stdout"}
    for _ in range(100):
        stalled.send(pack(read | {"request_id": new_id(), "payload": payload}))
    for _ in range(100):
        client.health()
    # Its backlog, 32 MiB; what is read at once, 64 MiB; what each core encodes; and some more.
    assert server.rss_bytes() - before < (32 + 64 + 8 * os.cpu_count() + 32) * MEBIBYTE
    context.destroy(linger=0)
    eventually(lambda: server.rss_bytes() - before < 16 * MEBIBYTE, "its memory free again")


def test_a_message_above_16_mib_closes_its_connection_and_no_other(server, client, connect):
    sinner = connect(server)
    sinner.health()
    monitor = sinner.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    sinner.send_bytes(b"\xc1" * 17 * MEBIBYTE)
    assert monitor.poll(PATIENCE * 1000), "the connection was not closed"
    sinner.socket.disable_monitor()
    monitor.close()
    client.health()
    # libzmq connects again by itself; the lost message got no reply.
    sinner.health()


def test_parts_without_end_close_the_connection_too(server, client, connect):
    sinner = connect(server)
    sinner.health()
    monitor = sinner.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    sinner.socket.send_multipart([b""] + [b""] * 400_000)
    assert monitor.poll(PATIENCE * 1000), "the connection was not closed"
    sinner.socket.disable_monitor()
    monitor.close()
    sinner.health()


def test_a_spawn_whose_client_vanishes_still_happens(server, client):
    context = zmq.Context()
    vanishing = context.socket(zmq.DEALER)
    vanishing.connect(server.endpoint)
    request_id, config = new_id(), config_for(ECHO, name="orphan")
    vanishing.send(pack({"type": "spawn_request", "request_id": request_id, "config": config}))
    vanishing.close(linger=5000)
    context.term()

    def find():
        return [info for info in client.list()["agents"] if info["name"] == "orphan"]

    found = eventually(find, "the agent in the list")
    # The client comes back and asks again.
    reply = client.ask("spawn_request", request_id=request_id, config=config)
    assert reply["agent_info"]["id"] == found[0]["id"]
    assert len(find()) == 1


def test_clients_that_vanish_during_a_long_poll_leave_nothing_behind(server, client):
    agent = client.spawn_ready(ECHO)
    for _ in range(50):
        with Client(server.endpoint) as vanishing:
            vanishing.health()
            vanishing.send_command(agent, "read_stdout", offset=6, wait_ms=60_000)
    client.done(agent, "write_stdin", data="hello\n")
    assert client.read_until(agent, b"got hello\n", offset=6) == b"got hello\n"


GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48

GARBAGE = [
    random.Random(5555).randbytes(65_536),
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\xaa" * 512,
    GREETING[:20],
    GREETING + random.Random(5556).randbytes(65_536),
    # A frame of almost 2^63 bytes, and a command of 2^40.
    GREETING + b"\x02\x7f" + b"\xff" * 7,
    GREETING + b"\x06\0\0\1\0\0\0\0\0" + b"\x05READY",
]


@pytest.mark.parametrize("socket_name", ["endpoint", "pub_endpoint"])
def test_garbage_on_the_wire_harms_no_client(server, client, socket_name):
    for garbage in GARBAGE * 10:
        with tcp(getattr(server, socket_name)) as connection:
            try:
                connection.sendall(garbage)
            except OSError:
                # The server has had enough, as it may.
                pass
        client.health()
    assert hears_of_news(server, client)


def test_a_server_full_of_silent_connections_lets_clients_in(server, client):
    silent = [tcp(server.endpoint) for _ in range(2000)]
    silent += [tcp(server.pub_endpoint) for _ in range(500)]
    try:
        client.health()
        assert hears_of_news(server, client)
    finally:
        for connection in silent:
            connection.close()


def test_clients_that_come_and_go_leave_no_descriptor_open(server, client):
    def descriptors():
        return len(list(server.proc("fd").iterdir()))

    client.health()
    before = descriptors()
    for _ in range(200):
        with Client(server.endpoint, "req") as passing:
            passing.health()
    eventually(lambda: descriptors() <= before + 2, "all connections closed")
