"""The same server on Unix sockets."""

import stat
from pathlib import Path

import pytest
from client import SHAPES, Subscriber
from conftest import ECHO


@pytest.fixture
def server(launch):
    return launch(transport="ipc")


def paths(server):
    return [Path(server.endpoint[6:]), Path(server.pub_endpoint[6:])]


@pytest.mark.parametrize("shape", SHAPES)
def test_requests_and_events_go_over_unix_sockets(server, connect, shape):
    client = connect(server, shape)
    with Subscriber(server.pub_endpoint, "status/") as subscriber:
        subscriber.settle()
        agent = client.spawn_ready(ECHO)
        client.done(agent, "write_stdin", data="hello\n", close=True)
        subscriber.kept(lambda event: event["status"] == "completed")
    assert client.read_all(agent) == b"ready\ngot hello\n"


def test_only_the_servers_user_can_connect(server):
    for path in paths(server):
        mode = path.stat().st_mode
        assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) & 0o077 == 0


def test_a_crashed_servers_sockets_are_taken_over(server, client):
    agent = client.spawn_ready(ECHO)
    server.restart()
    assert client.info(agent)["status"] == "running"


def test_a_second_server_does_not_take_over_a_living_ones_sockets(server, launch, client):
    with pytest.raises(AssertionError, match="did not start"):
        launch(endpoint=server.endpoint, pub_endpoint=server.pub_endpoint)
    client.health()
