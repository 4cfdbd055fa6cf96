"""Finished agents that go, and what stays of them."""

import os

from client import new_id
from waiting import eventually

SPARE_NOBODY = {"retain_finished": 0}


def await_removal(client, *ids):
    """Waits until none of these agents is listed any more."""
    eventually(
        lambda: not {info["id"] for info in client.list()["agents"]} & set(ids),
        f"the removal of {ids}",
        timeout=30,
    )


def swept(client):
    """Waits for a sweep, which an agent of its own falls to."""
    await_removal(client, client.spawn("true")["id"])


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
    await_removal(client, *agents)
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


def test_a_full_disk_keeps_no_agent_and_forgets_no_request(small_disk, launch, connect):
    server = launch(state_dir=str(small_disk.path), **SPARE_NOBODY)
    request_id, task = new_id(), "head -c 100000 /dev/zero; read -r line"
    client = connect(server)
    agent = client.try_spawn(task, request_id=request_id)["agent_info"]["id"]
    # No read, which would keep the agent.
    eventually(
        lambda: client.info(agent)["output"]["stdout_bytes"] == 100_000, "the agent's output"
    )
    small_disk.fill()
    client.done(agent, "write_stdin", data="go\n")
    await_removal(client, agent)
    # A server starts on a full disk as well.
    small_disk.fill()
    for _ in range(2):
        reply = client.try_spawn(task, request_id=request_id)
        assert reply["error_code"] == "agent_not_found"
        server.restart()


def test_a_damaged_journal_is_kept_and_told(launch, connect):
    server = launch(**SPARE_NOBODY)
    client = connect(server)
    requests = [new_id() for _ in range(3)]
    for id in requests:
        await_removal(client, client.try_spawn("true", request_id=id)["agent_info"]["id"])
    server.kill()
    journal = server.state_dir / "spawns.journal"
    first, second, third = journal.read_bytes().splitlines(keepends=True)
    damaged = first + b"\xff\0" + second[2:] + third
    journal.write_bytes(damaged)
    server.start()
    assert "damaged journal of spawns" in server.log()
    kept = server.state_dir / "damaged" / "spawns.journal"
    assert kept.read_bytes() == damaged
    assert "line 2" in kept.with_name("spawns.journal.reason").read_text()
    again = [client.try_spawn("true", request_id=id)["success"] for id in requests]
    assert again == [False, True, False]
    # What remains is whole.
    server.restart()
    assert [path.name for path in kept.parent.iterdir() if path.suffix != ".reason"] == [kept.name]
    # Another time it does not take the place of the first.
    server.kill()
    journal.write_bytes(b"#\n")
    server.start()
    assert kept.read_bytes() == damaged
    assert kept.with_name("spawns.journal.2").read_bytes() == b"#\n"
