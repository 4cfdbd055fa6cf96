"""A shim that has no descriptor left to look for its agent's processes with."""

import os
import resource
import signal

import pytest

from daemon import is_alive
from waiting import eventually

# Longer than what has been killed may take to go.
CLOCK_SECS = 12

# So many lowest descriptors a shim needs for as long as it lives. It waits for fewer at a time.
LASTING = 12

FAMILY = """
setsid sh -c 'echo child $$; echo ready; exec sleep 1000' &
while read -r line; do echo "got $line"; done
"""


class Eyes:
    """Those of a shim, which can be shut: it keeps the descriptors that it has, and gets no other."""

    def __init__(self, shim):
        self.shim = shim
        self.before = resource.prlimit(shim, resource.RLIMIT_NOFILE)

    def shut(self):
        used = set(map(int, os.listdir(f"/proc/{self.shim}/fd")))
        assert used.issuperset(range(LASTING))
        resource.prlimit(self.shim, resource.RLIMIT_NOFILE, (LASTING, self.before[1]))

    def open(self):
        resource.prlimit(self.shim, resource.RLIMIT_NOFILE, self.before)


@pytest.fixture(params=[True, False], ids=["with_cgroup", "without"])
def watched(request, launch, connect):
    """A server, an agent, and the eyes of its shim."""
    server = launch(runner={"use_cgroups": request.param})
    info = connect(server).spawn(FAMILY)
    eyes = Eyes(server.shim(info["id"]))
    yield server, info, eyes
    if is_alive(eyes.shim):
        eyes.open()


def test_it_does_not_give_up_on_what_it_cannot_see(watched, connect):
    server, info, eyes = watched
    agent, killer, client = info["id"], connect(server), connect(server)
    child = int(client.read_until(agent, b"ready\n").split(b"child ")[1].split()[0])
    clock = client.spawn("sleep 1000", limits={"max_runtime_secs": CLOCK_SECS})["id"]
    eyes.shut()
    killer.send_command(agent, "kill")
    eventually(lambda: not is_alive(info["pid"]), "the end of the first process")
    client.ended_within(clock, 5 * CLOCK_SECS)
    assert client.info(agent)["status"] == "running"
    assert is_alive(child)
    eyes.open()
    ended = client.ended(agent)
    assert (ended["end_reason"], ended["exit_signal"]) == ("killed", signal.SIGKILL)
    assert not is_alive(child)


def test_it_lets_a_paused_agent_go_on_as_soon_as_it_can(watched, connect):
    server, info, eyes = watched
    agent, client = info["id"], connect(server)
    client.read_until(agent, b"ready\n")
    client.done(agent, "pause")
    eyes.shut()
    client.done(agent, "resume")
    client.done(agent, "write_stdin", data="word\n")
    size = client.info(agent)["output"]["stdout_bytes"]
    eyes.open()
    client.read_until(agent, b"got word\n", offset=size)
