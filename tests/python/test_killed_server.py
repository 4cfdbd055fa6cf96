"""A server that is killed while many agents write, and what is there afterwards."""

from waiting import eventually

AGENTS = 50


def test_fifty_agents_lose_no_line_and_no_exit_code_to_a_killed_server(server, client):
    # Agent n writes n * 8 lines and ends with code n: some end before the crash, some while no
    # server is there, some after.
    gate = server.folder / "gate"
    gate.touch()
    agents = {}
    for code in range(1, AGENTS + 1):
        script = (
            f"i=0; while [ $i -lt {code * 8} ]; do i=$((i+1)); echo {code}:$i; sleep 0.005; done; "
            f"[ {code} -lt 25 ] || while [ -e {gate} ]; do sleep 0.02; done; exit {code}"
        )
        agents[code] = client.spawn(script)
    eventually(lambda: ended(client) >= 3, "the first ends")
    assert ended(client) < AGENTS
    server.kill()
    records = server.state_dir / "agents"
    eventually(
        lambda: all((records / agents[code]["id"] / "exit.json").exists() for code in range(1, 25)),
        "more ends, without a server",
    )
    server.start()
    listed = {info["id"]: info for info in client.list()["agents"]}
    assert set(listed) == {info["id"] for info in agents.values()}
    gate.unlink()
    for code, before in agents.items():
        lines = client.read_all(before["id"]).decode().splitlines()
        assert lines == [f"{code}:{i}" for i in range(1, code * 8 + 1)]
        after = client.ended(before["id"])
        assert (after["pid"], after["exit_code"]) == (before["pid"], code)
        assert (after["status"], after["end_reason"]) == ("failed", "exited")


def ended(client):
    return sum(1 for info in client.list()["agents"] if info.get("exit_code") is not None)
