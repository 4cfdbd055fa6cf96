"""Something else in the place of a running agent's files: the agent is found all the same."""

import shutil

import pytest

from client import config_for, new_id
from daemon import is_alive
from waiting import eventually

TASK = "echo ready; while read -r line; do echo got $line; done"


class Agent:
    """A running agent, and the request that it was spawned for."""

    def __init__(self, server, client):
        self.server, self.client, self.request = server, client, new_id()
        info = self.spawn()
        self.id, self.pid = info["id"], info["pid"]
        client.read_until(self.id, b"ready\n")
        self.folder = server.state_dir / "agents" / self.id

    def spawn(self):
        config = config_for(TASK)
        reply = self.client.ask("spawn_request", request_id=self.request, config=config)
        assert reply["success"], reply
        return reply["agent_info"]

    def is_found(self):
        agents = self.client.list()["agents"]
        return [(info["id"], info["pid"]) for info in agents] == [(self.id, self.pid)]

    def obeys(self):
        assert is_alive(self.pid)
        size = self.client.info(self.id)["output"]["stdout_bytes"]
        self.client.done(self.id, "write_stdin", data="word\n")
        self.client.read_until(self.id, b"got word\n", offset=size)
        return True


@pytest.fixture
def agent(launch, connect):
    server = launch(runner={"health_check_interval_secs": 1})
    return Agent(server, connect(server))


@pytest.mark.parametrize("name", ["lock", "spec.json", "state.json", "control.sock", "exit.json"])
def test_a_folder_in_the_place_of_a_file_costs_no_agent(agent, name):
    file = agent.folder / name
    for _ in range(2):
        file.unlink(missing_ok=True)
        (file / "something").mkdir(parents=True)
        agent.server.restart()
        eventually(agent.is_found, "the agent")
        assert agent.spawn()["id"] == agent.id
        assert agent.obeys()
        if name != "exit.json":
            eventually(lambda: not file.is_dir(), "what its shim puts back")
    agent.client.done(agent.id, "close_stdin")
    assert agent.client.ended(agent.id)["exit_code"] == 0
    agent.server.restart()
    info = agent.client.info(agent.id)
    assert (info["end_reason"], info["exit_code"]) == ("exited", 0)


def test_a_file_in_the_place_of_its_socket_costs_no_agent(agent):
    socket = agent.folder / "control.sock"
    socket.unlink()
    socket.write_text("something else")
    agent.server.kill()
    eventually(lambda: socket.is_socket(), "the socket that its shim makes anew")
    agent.server.start()
    assert agent.is_found() and agent.obeys()


def test_a_record_that_cannot_be_read_starts_no_second_agent(agent):
    record = agent.folder / "exit.json"
    record.symlink_to(record)
    agent.server.restart()
    config = config_for(TASK)
    # It waits no longer than it was told to.
    reply = agent.client.ask(
        "spawn_request", request_id=agent.request, config=config, timeout_secs=1
    )
    assert reply["error_code"] == "timeout", reply
    request = agent.client.send(
        "spawn_request", request_id=agent.request, config=config, timeout_secs=60
    )
    record.unlink()
    reply = agent.client.receive(60)
    assert (reply["request_id"], reply["success"]) == (request, True)
    assert (reply["agent_info"]["id"], reply["agent_info"]["pid"]) == (agent.id, agent.pid)
    assert agent.is_found()


@pytest.mark.parametrize("what", ["a file", "a link", "a link to nothing"])
def test_something_in_the_place_of_its_folder_costs_no_agent(agent, tmp_path, what):
    shutil.rmtree(agent.folder)
    if what == "a file":
        agent.folder.write_text("something else")
    else:
        agent.folder.symlink_to(tmp_path if what == "a link" else agent.folder.with_name("none"))
    eventually((agent.folder / "lock").is_file, "the folder that its shim makes anew")
    agent.server.restart()
    eventually(agent.is_found, "the agent")
    assert agent.obeys()
    assert agent.spawn()["id"] == agent.id
    assert list(tmp_path.iterdir()) == []


def test_a_huge_record_is_not_read(agent):
    client, server = agent.client, agent.server
    ended = client.spawn("exit 3")["id"]
    client.ended(ended)
    server.kill()
    with open(server.state_dir / "agents" / ended / "exit.json", "r+b") as record:
        record.truncate(2**32)
    server.start()
    assert client.info(ended)["end_reason"] == "lost"
    assert server.peak_rss_bytes() < 2**29


def test_a_state_folder_whose_lock_was_removed_is_taken_by_no_other_server(agent, launch):
    lock = agent.server.state_dir / "lock"
    lock.unlink()
    eventually(lock.exists, "the lock that the server makes anew")
    with pytest.raises(AssertionError, match="did not start"):
        launch(state_dir=str(agent.server.state_dir))
    assert agent.obeys()
