"""From spawn to the end, and what is said of an agent on the way."""

import os
import uuid

import pytest
from client import Client
from conftest import ECHO
from daemon import is_alive, pids, traces
from waiting import eventually

REQUIRED = "id name status model_backend started_at task output agent_sequence server_id pid"


def end_of(info):
    """How an agent ended: status, reason, exit code and signal."""
    return info["status"], info["end_reason"], info.get("exit_code"), info.get("exit_signal")


def test_a_spawned_agent_runs_and_is_described(server, client):
    info = client.spawn(ECHO, name="Ada", labels={"team": "red"}, metadata={"ticket": "42"})
    assert [name for name in REQUIRED.split() if name not in info] == []
    assert info["status"] == "running"
    assert (info["name"], info["model_backend"], info["task"]) == ("Ada", "sh", ECHO)
    assert info["labels"] == {"team": "red"} and info["metadata"] == {"ticket": "42"}
    assert uuid.UUID(info["id"]).version == 7
    assert is_alive(info["pid"]) and info["pid"] in server.agent_processes()
    assert set(info["started_at"]) == {"secs_since_epoch", "nanos_since_epoch"}
    assert info.get("exit_code") is None and info.get("end_reason") is None


@pytest.mark.parametrize(
    ("task", "end"),
    [
        ("exit 0", ("completed", "exited", 0, None)),
        ("exit 3", ("failed", "exited", 3, None)),
        ("kill -KILL $$", ("failed", "exited", None, 9)),
    ],
)
def test_an_agent_that_ends_by_itself_says_how(client, task, end):
    info = client.ended(client.spawn(f"echo out; echo err >&2; {task}")["id"])
    assert end_of(info) == end
    assert info["finished_at"] is not None
    assert info["output"] == {"stdout_bytes": 4, "stderr_bytes": 4}
    assert not is_alive(info["pid"])
    assert client.read_all(info["id"], "stderr") == b"err\n"


def test_stop_answers_when_nothing_of_the_agent_is_left(server, client):
    agent = client.spawn_ready(ECHO)
    data = client.done(agent, "stop")
    assert server.agent_processes() == []
    assert (data["exit_code"], data["exit_signal"]) == (None, 15)
    assert (data["end_reason"], data["forced"]) == ("stopped", False)
    assert end_of(client.info(agent)) == ("terminated", "stopped", None, 15)


def test_an_agent_that_exits_on_its_stop_signal_was_still_stopped(client):
    agent = client.spawn_ready("trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done")
    data = client.done(agent, "stop")
    assert (data["exit_code"], data["exit_signal"]) == (0, None)
    assert end_of(client.info(agent)) == ("terminated", "stopped", 0, None)


def test_stop_reaches_processes_in_sessions_of_their_own(server, client):
    # Such as the tool shells of real agents; the last one has no environment either.
    child = "sh -c 'trap \"\" TERM; sleep 1000'"
    agent = client.spawn_ready(
        f"setsid {child} & setsid env -i PATH=$PATH {child} & (setsid {child} &) ; echo ready; wait"
    )
    assert len(server.agent_processes()) >= 3
    client.done(agent, "stop", grace_secs=0)
    assert server.agent_processes() == []
    leaf = [pid for pid in pids() if traces(pid, "cmdline") == b"sleep\x001000\x00"]
    assert [pid for pid in leaf if str(server.folder) in os.readlink(f"/proc/{pid}/cwd")] == []


IGNORES_TERM = "trap '' TERM; echo ready; while :; do sleep 0.02; done"


def test_what_ignores_the_stop_signal_is_killed_after_the_grace_time(client):
    agent = client.spawn_ready(IGNORES_TERM)
    data = client.done(agent, "stop", grace_secs=0.3)
    assert (data["exit_signal"], data["forced"]) == (9, True)
    assert end_of(client.info(agent)) == ("terminated", "stopped", None, 9)


def test_stop_without_wait_answers_at_once(client):
    agent = client.spawn_ready(IGNORES_TERM)
    client.done(agent, "stop", grace_secs=0.3, wait=False)
    assert client.info(agent)["status"] not in ("completed", "failed")
    assert end_of(client.ended(agent)) == ("terminated", "stopped", None, 9)


def test_a_second_stop_joins_the_first_and_a_kill_overtakes_both(client):
    agent = client.spawn_ready(IGNORES_TERM)
    stops = [client.send_command(agent, "stop", grace_secs=60) for _ in range(2)]
    kill = client.send_command(agent, "kill")
    replies = {reply["request_id"]: reply for reply in (client.receive() for _ in range(3))}
    for request_id in (*stops, kill):
        assert replies[request_id]["success"]
        assert replies[request_id]["data"]["exit_signal"] == 9
        assert replies[request_id]["status"] == "terminated"


def test_a_command_that_takes_too_long_answers_and_goes_on(launch, connect):
    client = connect(launch(request_timeout_secs=1))
    agent = client.spawn_ready(IGNORES_TERM)
    reply = client.command(agent, "stop", grace_secs=2)
    assert not reply["success"] and reply["error_code"] == "timeout"
    assert end_of(client.ended(agent)) == ("terminated", "stopped", None, 9)


def test_kill_ends_an_agent_at_once(server, client):
    agent = client.spawn_ready(IGNORES_TERM)
    data = client.done(agent, "kill")
    assert server.agent_processes() == []
    assert (data["exit_signal"], data["end_reason"]) == (9, "killed")
    assert end_of(client.info(agent)) == ("terminated", "killed", None, 9)


def test_time_limits_end_an_agent(client):
    talks = client.spawn(
        "while :; do echo .; sleep 0.1; done", limits={"max_runtime_secs": 1}
    )
    is_silent = client.spawn("sleep 1000", limits={"idle_timeout_secs": 1})
    assert end_of(client.ended(talks["id"]))[:2] == ("terminated", "timeout")
    assert end_of(client.ended(is_silent["id"]))[:2] == ("terminated", "idle_timeout")


def test_an_agent_works_where_and_with_what_it_was_told(server, client):
    folder = server.folder / "work"
    folder.mkdir()
    agent = client.spawn(
        'pwd; echo "$COLOUR ${DESCARTES_AGENT_ID} ${NOTIFY_SOCKET:-clean}"',
        working_dir=str(folder),
        environment={"COLOUR": "red ünïcode $PATH"},
    )["id"]
    assert client.read_all(agent).decode() == f"{folder}\nred ünïcode $PATH {agent} clean\n"


def test_a_task_that_begins_with_a_hyphen_stays_a_task(client):
    task = "-c 2>/dev/null; echo stayed"
    info = client.spawn(task)
    assert info["task"] == task
    assert client.read_all(info["id"]) == b"stayed\n"


def test_a_long_task_runs_whole_and_is_cut_in_replies(client):
    task = "echo done #" + "é" * 5000
    info = client.spawn(task)
    assert task.startswith(info["task"])
    assert 4000 < len(info["task"].encode()) <= 4096
    assert client.read_all(info["id"]) == b"done\n"


def test_an_agent_outlives_the_client_that_started_it(server, client):
    with Client(server.endpoint) as starter:
        agent = starter.spawn_ready(ECHO)
    client.done(agent, "write_stdin", data="hello\n")
    client.read_until(agent, b"got hello\n")
    assert client.info(agent)["status"] == "running"


def test_shutdown_stops_agents_and_remembers_why(server, client):
    agent = client.spawn_ready(ECHO)
    assert server.stop() == 0
    assert server.agent_processes() == []
    server.start()
    info = eventually(lambda: client.info(agent), "the server's return")
    assert end_of(info)[:2] == ("terminated", "server_shutdown")
    assert client.read_all(agent) == b"ready\n"
