"""A disk that stands still while an agent ends: who waits for it, and who does not."""

from concurrent.futures import ThreadPoolExecutor

import disks
import pytest
from client import config_for
from conftest import ECHO
from daemon import is_alive, state, threads
from waiting import eventually

DISK_BYTES = 32 * 1024 * 1024


@pytest.fixture
def freezing_disk(state_dir):
    """A disk that can stand still in its place."""
    with disks.ext4(state_dir, DISK_BYTES) as disk:
        yield disk


@pytest.fixture
def freezing_agents(state_dir):
    """A disk that can stand still where the agents' folders are, and nothing else."""
    (state_dir / "agents").mkdir()
    with disks.ext4(state_dir / "agents", DISK_BYTES) as disk:
        yield disk


def test_an_end_on_a_disk_that_stands_still_is_told_when_it_is_recorded(
    freezing_disk, launch, connect
):
    server = launch(state_dir=str(freezing_disk.path), request_timeout_secs=2)
    client = connect(server)
    bystander = client.spawn_ready(ECHO)
    agent, record = ends_while_frozen(server, client, freezing_disk)
    assert_all_is_answered(client, bystander)
    # Nothing can be written for it now; nobody else waits for that.
    spawner = connect(server)
    spawner.send("spawn_request", config=config_for("true"))
    assert client.command(agent, "stop", grace_secs=0)["error_code"] == "timeout"
    assert client.info(agent)["status"] == "running" and not record.exists()
    assert_all_is_answered(client, bystander)
    assert spawner.receive()["success"] is False
    freezing_disk.thaw()
    assert_ended_and_recorded(client, agent, record)
    assert_writes_again(client, bystander)
    client.ended(client.spawn("true")["id"])


def test_a_server_that_is_killed_while_an_end_waits_for_the_disk_finds_that_end(
    freezing_disk, launch, connect
):
    server = launch(state_dir=str(freezing_disk.path))
    client = connect(server)
    bystander = client.spawn_ready(ECHO)
    agent, record = ends_while_frozen(server, client, freezing_disk)
    server.kill()
    with ThreadPoolExecutor() as pool:
        try:
            start = pool.submit(server.start)
            eventually(lambda: waits_for_disk(server.process.pid), "a start that waits")
            assert not record.exists()
        finally:
            freezing_disk.thaw()
        start.result()
    assert_ended_and_recorded(client, agent, record)
    assert client.read_all(agent) == b"ready\n"
    assert_writes_again(client, bystander)


def test_a_server_that_meets_a_shim_waiting_for_the_disk_tells_the_end_when_it_is_recorded(
    state_dir, freezing_agents, launch, connect
):
    server = launch(state_dir=str(state_dir), request_timeout_secs=2)
    client = connect(server)
    bystander = client.spawn_ready(ECHO)
    agent, record = ends_while_frozen(server, client, freezing_agents)
    server.restart()
    assert client.info(agent)["status"] == "running" and not record.exists()
    assert_all_is_answered(client, bystander)
    assert client.command(agent, "kill")["error_code"] == "timeout"
    assert_all_is_answered(client, bystander)
    assert client.info(agent)["status"] == "running" and not record.exists()
    freezing_agents.thaw()
    assert_ended_and_recorded(client, agent, record)
    assert_writes_again(client, bystander)


def waits_for_disk(pid):
    return any(state(thread) == b"D" for thread in threads(pid))


def ends_while_frozen(server, client, disk):
    """An agent whose end cannot be recorded now, and where it will be."""
    info = client.spawn("echo ready; read -r line; exit 5")
    client.read_until(info["id"], b"ready\n")
    disk.freeze()
    client.done(info["id"], "write_stdin", data="end\n")
    eventually(lambda: not is_alive(info["pid"]), "the agent's last process")
    return info["id"], server.state_dir / "agents" / info["id"] / "exit.json"


def assert_ended_and_recorded(client, agent, record):
    info = client.ended(agent)
    assert record.exists()
    assert (info["exit_code"], info["end_reason"]) == (5, "exited")


def assert_writes_again(client, bystander):
    client.done(bystander, "write_stdin", data="x\n")
    client.read_until(bystander, b"got x\n")


def assert_all_is_answered(client, bystander):
    client.health()
    assert len(client.list()["agents"]) >= 2
    assert client.info(bystander)["status"] == "running"
    assert client.done(bystander, "read_stdout", offset=0)["data"] == b"ready\n"
    client.done(bystander, "pause")
    client.done(bystander, "resume")
