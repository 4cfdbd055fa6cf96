"""A server that knows its clients by their keys."""

import contextlib
import stat
import time
import tomllib

import pytest
import zmq
from client import Client, Silence, Subscriber
from conftest import ECHO
from waiting import eventually

# How long it is watched that nothing comes, in seconds.
WATCH = 0.3


@pytest.fixture
def server(launch):
    return launch(security={"mode": "curve"})


@pytest.fixture
def bundle(server):
    """What the first client was given."""
    return tomllib.loads((server.state_dir / "keys/client.toml").read_text())


@pytest.fixture
def keys(bundle):
    return bundle["server_key"], bundle["public_key"], bundle["secret_key"]


@pytest.fixture
def client(server, keys, connect):
    return connect(server, keys=keys)


@pytest.fixture
def listed(server):
    return Listed(server)


def stranger_keys(bundle):
    public, secret = zmq.curve_keypair()
    return bundle["server_key"], public.decode(), secret.decode()


class Listed:
    """The server's list of clients, which is never seen half written."""

    def __init__(self, server):
        self.path = server.state_dir / "keys/authorized_clients.toml"
        self.at_first = self.path.read_text()

    def write(self, text):
        new = self.path.with_suffix(".tmp")
        new.touch(mode=0o600)
        new.write_text(text)
        new.rename(self.path)

    def add(self, keys, role="admin"):
        entry = f'\n[[client]]\nname = "added"\npublic_key = "{keys[1]}"\nrole = "{role}"\n'
        self.write(self.path.read_text() + entry)

    def restore(self):
        self.write(self.at_first)


def gets_in(server, keys):
    with Client(server.endpoint, keys=keys) as client:
        client.send("health_check_request")
        try:
            return client.receive(timeout=0.5).get("healthy", False)
        except Silence:
            return False


def test_the_first_clients_bundle_opens_both_sockets(server, bundle, keys):
    assert (bundle["endpoint"], bundle["pub_endpoint"]) == (server.endpoint, server.pub_endpoint)
    with (
        Client(bundle["endpoint"], "req", keys) as client,
        Subscriber(bundle["pub_endpoint"], "status/", keys=keys) as subscriber,
    ):
        subscriber.settle()
        client.health()
        agent = client.spawn_ready(ECHO)
        client.done(agent, "stop")
        events = subscriber.kept(lambda event: event["status"] == "terminated")
    assert {event["agent_id"] for event in events} == {agent}
    public = (server.state_dir / "keys/server.pub").read_text()
    assert public == bundle["server_key"] + "\n"


STRANGERS = {
    "no key": lambda bundle: None,
    "a key that is not listed": stranger_keys,
    "a listed key without its secret": lambda bundle: (
        bundle["server_key"],
        bundle["public_key"],
        zmq.curve_keypair()[1],
    ),
    "a listed key for another server": lambda bundle: (
        zmq.curve_keypair()[0],
        bundle["public_key"],
        bundle["secret_key"],
    ),
}


@pytest.mark.parametrize("make_keys", STRANGERS.values(), ids=STRANGERS.keys())
def test_a_stranger_gets_nowhere_while_a_client_is_served(server, bundle, keys, client, make_keys):
    strange = make_keys(bundle)
    with (
        Client(server.endpoint, keys=strange) as stranger,
        Subscriber(server.pub_endpoint, "", keys=strange) as listener,
        Subscriber(server.pub_endpoint, "status/", keys=keys) as subscriber,
    ):
        # Without a connection its socket may take nothing, and would wait.
        stranger.socket.sndtimeo = 0
        with contextlib.suppress(zmq.Again):
            stranger.send("health_check_request")
            stranger.send("spawn_request", config={"name": "x", "model_backend": "sh", "task": "true"})
        subscriber.settle()
        for _ in range(20):
            client.health()
        agent = client.spawn("true")["id"]
        subscriber.kept(lambda event: event["status"] == "completed")
        # All of this came; whatever the strangers should not get has had as long.
        assert not stranger.socket.poll(WATCH * 1000)
        assert not listener.socket.poll(0)
        assert [info["id"] for info in client.list()["agents"]] == [agent]


def test_a_key_that_is_listed_later_gets_in_without_a_restart(server, listed, bundle, client):
    newcomer = stranger_keys(bundle)
    assert not gets_in(server, newcomer)
    listed.add(newcomer)
    eventually(lambda: gets_in(server, newcomer), "the newcomer's first reply")
    with Subscriber(server.pub_endpoint, "status/", keys=newcomer) as subscriber:
        subscriber.settle()
        client.spawn("true")
        subscriber.kept(lambda event: event["status"] == "completed")


def test_a_key_taken_off_the_list_gets_nothing_more(server, listed, bundle, client, connect):
    passing = stranger_keys(bundle)
    listed.add(passing)
    eventually(lambda: gets_in(server, passing), "the first reply")
    connected = connect(server, keys=passing)
    connected.health()
    listed.restore()
    eventually(lambda: not gets_in(server, passing), "the closed door")
    connected.send("health_check_request")
    try:
        assert connected.receive(timeout=WATCH)["error_code"] == "permission_denied"
    except Silence:
        pass
    client.health()


def test_a_subscriber_taken_off_the_list_hears_nothing_more(server, listed, bundle, client):
    passing = stranger_keys(bundle)
    listed.add(passing)
    eventually(lambda: gets_in(server, passing), "the first reply")
    with Subscriber(server.pub_endpoint, "", keys=passing) as listener:
        listener.settle()
        listed.restore()
        eventually(lambda: not gets_in(server, passing), "the closed door")

        def hears_nothing():
            agent = client.spawn("echo secret")["id"]
            client.ended(agent)
            try:
                while agent not in listener.receive(timeout=WATCH)[0]:
                    pass
            except Silence:
                return True
            return False

        eventually(hears_nothing, "silence", timeout=5)


def test_an_observer_may_look_and_not_touch(server, listed, bundle, client, connect):
    observer_keys = stranger_keys(bundle)
    listed.add(observer_keys, role="observe")
    eventually(lambda: gets_in(server, observer_keys), "the observer's first reply")
    observer = connect(server, keys=observer_keys)
    agent = client.spawn_ready(ECHO)
    assert [info["id"] for info in observer.list()["agents"]] == [agent]
    assert observer.info(agent)["status"] == "running"
    assert observer.done(agent, "read_stdout", offset=0)["data"] == b"ready\n"
    long_ago = {"secs_since_epoch": 0, "nanos_since_epoch": 0}
    assert observer.done(agent, "read_stdout", since=long_ago)["data"] == b"ready\n"
    for reply in (
        observer.try_spawn("true"),
        observer.command(agent, "write_stdin", data="x\n"),
        observer.command(agent, "read_stdout"),
        observer.command(agent, "signal", signal="KILL"),
        observer.command(agent, "stop"),
        observer.ask("batch_control_command", agent_ids=[agent], command_type="kill")["results"][0],
    ):
        assert (reply["success"], reply["error_code"]) == (False, "permission_denied")
    assert client.info(agent)["status"] == "running"
    assert len(client.list()["agents"]) == 1


def test_clients_with_keys_do_not_share_request_ids(server, listed, bundle, client, connect):
    other_keys = stranger_keys(bundle)
    listed.add(other_keys)
    eventually(lambda: gets_in(server, other_keys), "the other client's first reply")
    other = connect(server, keys=other_keys)
    mine = client.try_spawn("true", request_id="number 1")
    theirs = other.try_spawn("false", request_id="number 1")
    assert mine["success"] and theirs["success"]
    assert mine["agent_info"]["id"] != theirs["agent_info"]["id"]


def test_a_broken_list_keeps_the_clients_that_there_were(server, listed, bundle, keys, client):
    listed.write(listed.at_first + "\n[[client]\nname = ")
    # Longer than a change may go unnoticed.
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        client.health()
        assert gets_in(server, keys)
    listed.restore()
    newcomer = stranger_keys(bundle)
    listed.add(newcomer)
    eventually(lambda: gets_in(server, newcomer), "the first reply from the mended list")


def test_nobody_else_can_read_keys_or_agents(server, client):
    agent = client.spawn_ready("echo ready; echo oops >&2", environment={"TOKEN": "s3cret"})
    client.ended(agent)
    for path in [server.state_dir, *server.state_dir.rglob("*")]:
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            assert stat.S_IMODE(mode) == 0o700, path
        else:
            assert stat.S_IMODE(mode) & 0o077 == 0, path
            assert not mode & 0o100 or stat.S_ISSOCK(mode), path
    keys = server.state_dir / "keys"
    names = {"server.key", "server.pub", "authorized_clients.toml", "client.toml"}
    assert names <= {path.name for path in keys.iterdir()}
    for path in keys.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    secret = (keys / "server.key").read_text().strip()
    assert secret not in server.log() and "s3cret" not in server.log()


def test_keys_outlive_a_restart(server, keys, client):
    agent = client.spawn_ready(ECHO)
    server.restart()
    assert client.info(agent)["status"] == "running"
    assert gets_in(server, keys)


def test_a_server_whose_key_others_can_read_does_not_start(server):
    server.stop()
    key = server.state_dir / "keys/server.key"
    key.chmod(0o644)
    with pytest.raises(AssertionError, match="server.key"):
        server.start()
    key.chmod(0o600)
    server.start()
