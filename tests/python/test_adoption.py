"""A server that dies, and the agents that do not."""

import os
import signal

from client import Client, config_for, new_id
from conftest import ECHO
from daemon import is_alive
from waiting import eventually

# Writes a line every 10 ms and answers on stdin meanwhile.
COUNTS_AND_ECHOES = """
i=0; while :; do i=$((i+1)); echo "line $i"; sleep 0.01; done &
while read -r line; do echo "got $line" >&2; done; wait
"""


def size_of(output):
    """Bytes of the segments: other files beside them are no output."""
    return sum(file.stat().st_size for file in output.iterdir() if file.name.isdigit())


def test_an_agent_survives_its_server_with_all_its_output(server, client):
    info = client.spawn(COUNTS_AND_ECHOES)
    agent, pid = info["id"], info["pid"]
    client.read_until(agent, b"line 5\n")
    server.kill()
    output = server.state_dir / "agents" / agent / "stdout"
    size = size_of(output)
    eventually(
        lambda: size_of(output) > size + 100,
        "more output without a server",
    )
    assert is_alive(pid)
    server.start()

    info = client.info(agent)
    assert (info["status"], info["pid"]) == ("running", pid)
    seen = client.done(agent, "read_stdout", offset=0)["next_offset"]
    assert seen > size
    client.done(agent, "write_stdin", data="hello\n")
    client.read_until(agent, b"got hello\n", "stderr")
    client.read_until(agent, b"line", offset=seen)
    client.done(agent, "stop")
    lines = client.read_all(agent).decode().splitlines()
    assert lines == [f"line {i}" for i in range(1, len(lines) + 1)]
    assert client.info(agent)["end_reason"] == "stopped"


def test_an_end_without_a_server_is_known_to_the_next(server, client):
    gate = server.folder / "gate"
    gate.touch()
    info = client.spawn(f"while [ -e {gate} ]; do sleep 0.01; done; echo end; exit 7")
    server.kill()
    gate.unlink()
    eventually(lambda: not is_alive(info["pid"]), "the agent's end")
    server.start()
    info = client.ended(info["id"])
    assert (info["status"], info["end_reason"], info["exit_code"]) == ("failed", "exited", 7)
    assert client.read_all(info["id"]) == b"end\n"


def test_a_paused_agent_is_still_paused_after_a_crash(server, client):
    agent = client.spawn_ready(ECHO)
    client.done(agent, "pause")
    server.restart()
    assert client.info(agent)["status"] == "paused"
    client.done(agent, "resume")
    client.done(agent, "write_stdin", data="awake\n")
    client.read_until(agent, b"got awake\n")


def test_stdin_goes_on_at_its_offset_after_a_crash(server, client):
    agent = client.spawn_ready("echo ready; exec cat")
    client.done(agent, "write_stdin", data="abc", offset=0)
    server.restart()
    client.done(agent, "write_stdin", data="abcdef", offset=0, close=True)
    assert client.read_all(agent) == b"ready\nabcdef"


def test_a_killed_shim_leaves_a_lost_agent_and_no_process(server, client):
    agent = client.spawn_ready(ECHO)
    pid = client.info(agent)["pid"]
    shims = [p for p in server.processes() if p not in (server.process.pid, pid)]
    server.kill()
    os.kill(server.shim(agent), signal.SIGKILL)
    server.start()
    info = client.ended(agent)
    assert (info["status"], info["end_reason"]) == ("failed", "lost")
    assert info.get("exit_code") is None and info.get("exit_signal") is None
    assert not is_alive(pid)


def test_twenty_agents_are_adopted_at_once(server, client):
    agents = [client.spawn_ready(ECHO) for _ in range(20)]
    server.restart()
    listed = client.list()["agents"]
    assert [info["id"] for info in listed] == agents
    assert {info["status"] for info in listed} == {"running"}
    for agent in agents:
        client.done(agent, "write_stdin", data="hello\n")
    for agent in agents:
        assert client.read_until(agent, b"got hello\n") == b"ready\ngot hello\n"


def test_a_server_that_detaches_leaves_its_agents_to_the_next(launch, connect):
    server = launch(on_shutdown="detach")
    client = connect(server)
    agent = client.spawn_ready(ECHO)
    pid = client.info(agent)["pid"]
    assert server.stop() == 0
    assert is_alive(pid)
    server.start()
    client.done(agent, "write_stdin", data="hello\n")
    assert client.read_until(agent, b"got hello\n") == b"ready\ngot hello\n"
    assert client.info(agent)["pid"] == pid
    client.done(agent, "stop")


def test_crashes_amid_a_flood_lose_no_byte(server, client):
    agent = client.spawn("seq 1 1500000; sleep 0.2; echo end", stdin="null")["id"]
    for _ in range(5):
        for offset in range(0, 5_000_000, 250_000):
            client.send_command(agent, "read_stdout", offset=offset, wait_ms=1000)
        client.receive()
        server.restart()
    patient = Client(server.endpoint)
    with patient:
        info = patient.ended(agent)
        assert (info["status"], info["end_reason"]) == ("completed", "exited")
        expected = "".join(f"{i}\n" for i in range(1, 1_500_001)) + "end\n"
        assert patient.read_all(agent) == expected.encode()


def test_no_spawn_happens_twice_or_not_at_all_over_a_crash(server, client):
    requests = {
        new_id(): config_for(f"echo {i} >> runs; exec sleep 1000", name=f"agent {i}")
        for i in range(40)
    }
    for request_id, config in requests.items():
        client.send("spawn_request", request_id=request_id, config=config)
    for _ in range(10):
        client.receive()
    server.restart()
    # The client knows of ten, and asks again for all.
    with Client(server.endpoint) as again:
        for request_id, config in requests.items():
            reply = again.ask("spawn_request", request_id=request_id, config=config)
            assert reply["success"], reply
            assert reply["agent_info"]["name"] == config["name"]
        names = [info["name"] for info in again.list(include_finished=False)["agents"]]
        assert sorted(names) == sorted(config["name"] for config in requests.values())

        def runs():
            return (server.folder / "runs").read_text().split()

        eventually(lambda: len(runs()) >= 40, "every agent's first line")
        assert sorted(runs(), key=int) == [str(i) for i in range(40)]
