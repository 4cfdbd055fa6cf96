"""A process whose first thread has ended. The kernel shows it as a zombie, and it lives."""

import os
import signal
import sys

import pytest

from daemon import is_alive, pids, state, threads, traces
from waiting import eventually

# Its first thread leaves by itself, and another one goes on writing.
PROGRAM = """
import ctypes, os, platform, threading, time
def write():
    while os.getppid():
        os.write(1, b".")
        time.sleep(0.01)
threading.Thread(target=write).start()
os.write(1, b"ready\\n")
exit_of_a_thread = {"x86_64": 60, "aarch64": 93}[platform.machine()]
ctypes.CDLL(None).syscall(exit_of_a_thread, 0)
"""


@pytest.fixture(params=[True, False], ids=["with_cgroup", "without"])
def headless(request, launch, connect):
    """A server, a client, an agent with such a child, and that child's pid."""
    server = launch(runner={"use_cgroups": request.param})
    client = connect(server)
    program = server.folder / "headless.py"
    program.write_text(PROGRAM)
    agent = client.spawn_ready(f"{sys.executable} {program} & echo; read -r line; exit 3")
    mark = str(program).encode()

    def is_headless(pid):
        if state(pid) != b"Z":
            return False
        return any(mark in traces(thread, "cmdline") for thread in threads(pid))

    child = eventually(
        lambda: next(filter(is_headless, pids()), None), "the end of the first thread"
    )
    yield server, client, agent, child
    if lives(child):
        os.kill(child, signal.SIGKILL)


def lives(pid):
    return any(map(is_alive, threads(pid)))


@pytest.mark.parametrize("how", ["kill", "stop", "close_stdin"])
def test_it_ends_with_its_agent(headless, how):
    _, client, agent, child = headless
    assert lives(child)
    client.done(agent, how)
    client.ended(agent)
    assert not lives(child)


def test_it_ends_when_the_shim_is_killed(headless):
    server, client, agent, child = headless
    os.kill(server.shim(agent), signal.SIGKILL)
    assert client.ended(agent)["end_reason"] == "lost"
    assert not lives(child)


def test_it_stands_still_in_a_pause(headless):
    _, client, agent, _ = headless
    client.done(agent, "pause")
    end = client.done(agent, "read_stdout", offset=0)["next_offset"]
    # What was in the pipe may still come; then nothing does.
    for _ in range(1000):
        chunk = client.done(agent, "read_stdout", offset=end, wait_ms=300)
        if not chunk["data"]:
            break
        end = chunk["next_offset"]
    else:
        raise AssertionError("the paused agent went on writing")
    client.done(agent, "resume")
    client.read_until(agent, b"..", offset=end)
