"""Finished agents that go, and what stays of them."""

import contextlib
import os
import subprocess
import tempfile

import pytest

from client import Client, new_id
from daemon import Daemon
from waiting import eventually

SPARE_NOBODY = {"retain_finished": 0}


def gone(client, *ids):
    """Waits until none of these agents is listed any more."""
    eventually(
        lambda: not {info["id"] for info in client.list()["agents"]} & set(ids),
        f"the removal of {ids}",
        timeout=30,
    )


def swept(client):
    """Waits for a sweep, which an agent of its own falls to."""
    gone(client, client.spawn("true")["id"])


def test_an_agent_that_is_due_is_read_to_its_end_page_by_page(launch, connect):
    client = connect(launch(**SPARE_NOBODY))
    agent = client.spawn_ready("echo ready; read -r line; seq 1 100000; echo err >&2")
    stream = client.done(agent, "stream_logs")
    assert stream["topics"]
    client.done(agent, "write_stdin", data="go\n")
    output, eof = b"", False
    while not eof:
        page = client.done(
            agent, "read_stdout", offset=len(output), max_bytes=200_000, wait_ms=5000
        )
        output, eof = output + page["data"], page["eof"]
        if len(output) > 6:
            swept(client)
    assert output == b"ready\n" + b"".join(b"%d\n" % i for i in range(1, 100_001))
    assert client.read_all(agent, "stderr") == b"err\n"
    found = client.ask("output_query_request", agent_id=agent, stream="stdout", filter="^99999$")
    assert found["lines"] == ["99999"]


def test_who_waits_for_the_end_of_an_agent_that_is_due_finds_it(launch, connect):
    server = launch(**SPARE_NOBODY)
    client, other = connect(server), connect(server)
    agent = client.spawn("read -r line; exit 3")["id"]
    listed = client.list()
    position = {"epoch": listed["epoch"], "after_sequence": listed["sequence"]}
    client.send("events_request", agent_id=agent, wait_ms=60_000, **position)
    # Whether that comes before the end or after it makes no difference.
    other.done(agent, "write_stdin", data="go\n")
    assert client.receive()["events"][-1]["status"] == "failed"
    swept(other)
    assert client.info(agent)["exit_code"] == 3


def test_nothing_of_removed_agents_is_left_but_their_request_ids(launch, connect):
    server = launch(**SPARE_NOBODY)
    client = connect(server)
    swept(client)
    descriptors = len(os.listdir(server.proc("fd")))
    requests = [(new_id(), f"echo {i} >> runs; echo {i}") for i in range(30)]
    agents = [
        client.try_spawn(task, request_id=id, stdin="null")["agent_info"]["id"]
        for id, task in requests
    ]
    gone(client, *agents)
    assert os.listdir(server.state_dir / "agents") == []
    assert os.listdir(server.state_dir / "removed") == []
    eventually(
        lambda: len(os.listdir(server.proc("fd"))) <= descriptors,
        f"no more than {descriptors} descriptors",
    )
    for _ in range(2):
        for (id, task), agent in zip(requests, agents):
            reply = client.try_spawn(task, request_id=id, stdin="null")
            assert (reply["success"], reply["error_code"]) == (False, "agent_not_found")
            assert agent in reply["error"]
            refused = client.command(agent, "read_stdout", offset=0)
            assert refused["error_code"] == "agent_not_found"
        server.restart()
    runs = (server.folder / "runs").read_text().split()
    assert sorted(runs, key=int) == [str(i) for i in range(30)]


@pytest.fixture
def small_disk():
    """A server's folder on a disk of 4 MiB."""
    folder = tempfile.mkdtemp(prefix="descartes-")
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "descartes-test", folder]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        os.rmdir(folder)
        pytest.skip("this host lets nobody mount a tmpfs here: it takes root")
    server = Daemon(folder, retain_finished=0)
    try:
        yield server
    finally:
        if server.process is not None:
            server.process.kill()
            server.process.wait()
        for pid in server.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        eventually(
            lambda: subprocess.run(["umount", folder], capture_output=True).returncode == 0,
            "the end of the small disk",
        )
        os.rmdir(folder)


def fill(folder, name):
    """Takes all the room that is left."""
    with open(folder / name, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    assert os.statvfs(folder).f_bavail == 0


def test_a_full_disk_keeps_no_agent_and_forgets_no_request(small_disk):
    server = small_disk.start()
    request_id, task = new_id(), "head -c 100000 /dev/zero; read -r line"
    with Client(server.endpoint) as client:
        agent = client.try_spawn(task, request_id=request_id)["agent_info"]["id"]
        # No read, which would keep the agent.
        eventually(
            lambda: client.info(agent)["output"]["stdout_bytes"] == 100_000, "the agent's output"
        )
        fill(server.folder, "filler 1")
        client.done(agent, "write_stdin", data="go\n")
        gone(client, agent)
        # A server starts on a full disk as well.
        fill(server.folder, "filler 2")
        for _ in range(2):
            reply = client.try_spawn(task, request_id=request_id)
            assert reply["error_code"] == "agent_not_found"
            server.restart()
        assert server.stop() == 0
