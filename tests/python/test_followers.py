"""Commands that go on: across cut connections, across a killed server, and until Ctrl-C."""

import contextlib
import json
import signal
import subprocess
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import cli
import pytest
from cli import Terminal
from client import Client, has_no_holes, sequence_of
from proxies import CuttingProxy
from waiting import eventually

CODE = 3

# Lines that are there before something happens.
LINES_BEFORE = 20

# For all that comes to an end by itself, on however slow a machine.
END_SECS = 30.0

# Numbered lines to both streams, until the test is done with it. How many is in a file then.
WRITER = (
    "n=0; while [ -e {folder}/gate ]; do "
    "n=$((n + 1)); echo out $n; echo err $n >&2; sleep 0.01; done; "
    f"echo $n >{{folder}}/count; exit {CODE}"
)

# What follows the output of an agent, and with which code it ends when the agent does.
FOLLOWERS = {
    "logs": (["logs", "-f", "writer"], 0),
    "attach": (["attach", "--from-start", "writer"], CODE),
    "spawn": (["spawn", "sh", WRITER, "--name", "writer", "--follow"], CODE),
}


class Command:
    """A command without a terminal, whose input stays open and whose output goes to files."""

    def __init__(self, server, *arguments):
        self.files = [server.folder / "command.out", server.folder / "command.err"]
        with contextlib.ExitStack() as stack:
            stdout, stderr = (stack.enter_context(open(path, "wb")) for path in self.files)
            self.process = subprocess.Popen(
                [cli.binary(), "--server", server.endpoint, *arguments],
                env=cli.private_environment(server),
                preexec_fn=cli.heed_interrupts,
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def stdout(self):
        return self.files[0].read_text()

    def stderr(self):
        return self.files[1].read_text()

    def lines(self):
        return self.stdout().count("\n")

    def shows(self, lines):
        """Waits until it has shown so many lines."""
        eventually(
            lambda: self.lines() >= lines,
            lambda: f"{lines} lines; there are {self.stdout()[-200:]} and {self.stderr()}",
            END_SECS,
        )

    def ends(self):
        return self.process.wait(END_SECS)


class Faults:
    """What can happen to the way to a server."""

    def __init__(self, server, proxy):
        self.server, self.proxy = server, proxy

    def cut(self):
        before = self.proxy.cut()
        eventually(lambda: self.proxy.connections > before, "a new connection", END_SECS)

    def kill(self):
        self.server.restart()


@pytest.fixture
def proxy(server):
    with CuttingProxy(server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def through(server, proxy):
    """The server, by way of the proxy."""
    return types.SimpleNamespace(endpoint=proxy.endpoint, folder=server.folder)


@pytest.fixture(params=["cut", "kill"])
def fault(request, server, proxy):
    """Makes something happen, and returns when that is over."""
    return getattr(Faults(server, proxy), request.param)


@pytest.fixture
def gate(server):
    path = server.folder / "gate"
    path.touch()
    return path


def begin(name, server, client):
    """The arguments of a command that follows a writer, which runs from then on."""
    arguments, code = FOLLOWERS[name]
    if name != "spawn":
        client.spawn(WRITER.format(folder=server.folder), name="writer")
    return [argument.format(folder=server.folder) for argument in arguments], code


@pytest.mark.parametrize("name", FOLLOWERS)
def test_output_is_followed_whole(server, client, through, fault, gate, name):
    arguments, code = begin(name, server, client)
    with Command(through, *arguments) as command:
        command.shows(LINES_BEFORE)
        fault()
        command.shows(command.lines() + 1)
        fault()
        command.shows(command.lines() + 1)
        gate.unlink()
        assert command.ends() == code, command.stderr()
        count = int((server.folder / "count").read_text())
        assert command.stdout() == "".join(f"out {n}\n" for n in range(1, count + 1))
        of_the_agent = [line for line in command.stderr().splitlines() if line.startswith("err ")]
        assert of_the_agent == [f"err {n}" for n in range(1, count + 1)]


def test_waiting_goes_on(server, client, through, fault, gate):
    client.spawn(WRITER.format(folder=server.folder), name="writer")
    with Command(through, "wait", "writer") as command:
        eventually(lambda: asked_for_events(client), "a wait for events", END_SECS)
        for _ in range(2):
            before, epoch = events_requests(client), client.list()["epoch"]
            fault()
            # Of a new server it asks for what follows the old one's events, and then for its own.
            is_killed = client.list()["epoch"] != epoch
            enough = 2 if is_killed else before + 1
            eventually(
                lambda: events_requests(client) >= enough, "the wait that goes on", END_SECS
            )
        gate.unlink()
        assert command.ends() == CODE, command.stderr()
        assert command.stdout() == f"writer failed (exit code {CODE})\n"


def asked_for_events(client):
    return events_requests(client) > 0


def events_requests(client):
    return client.ask("stats_request")["stats"]["events_requests"]


def test_events_are_followed_without_a_hole(server, client, through, fault, gate):
    agent = client.spawn(WRITER.format(folder=server.folder), name="writer")["id"]
    first = client.list()
    with Command(through, "events", "-f", "--json") as command:
        eventually(lambda: asked_for_events(client), "a wait for events", END_SECS)
        pause_and_resume(client, agent)
        command.shows(2)
        fault()
        is_killed = client.list()["epoch"] != first["epoch"]
        expected = ["paused", "running"]
        if is_killed:
            command.shows(3)
            expected.append("gap")
        pause_and_resume(client, agent)
        gate.unlink()
        eventually(lambda: '"failed"' in command.stdout(), "the end", END_SECS)
        command.process.send_signal(signal.SIGINT)
        assert command.ends() == -signal.SIGINT
        told = [json.loads(line) for line in command.stdout().splitlines()]
    expected += ["paused", "running", "failed"]
    assert ["gap" if item.get("gap") else item["status"] for item in told] == expected
    for epoch in {item["epoch"] for item in told if "epoch" in item}:
        events = [item for item in told if item.get("epoch") == epoch]
        assert has_no_holes(sequence_of(events))
        assert has_no_holes(sequence_of(events, "agent_sequence"))
    assert told[0]["sequence"] == first["sequence"] + 1
    assert told[-1]["sequence"] == client.list()["sequence"]


def test_following_events_can_begin_with_the_last_ones(server, client, gate):
    agent = client.spawn(WRITER.format(folder=server.folder), name="writer")["id"]
    for _ in range(3):
        pause_and_resume(client, agent)
    before = client.list()["sequence"]
    with Command(server, "events", "-f", "-n", "3", "--json", "writer") as command:
        command.shows(3)
        pause_and_resume(client, agent)
        command.shows(5)
        gate.unlink()
        eventually(lambda: '"failed"' in command.stdout(), "the end", END_SECS)
    told = [json.loads(line) for line in command.stdout().splitlines()]
    assert [item["status"] for item in told] == ["running", *["paused", "running"] * 2, "failed"]
    assert sequence_of(told) == list(range(before - 2, before + 4))


def test_what_a_follower_slept_through_is_told_as_far_as_it_is_kept(server, client, gate):
    agent = client.spawn(WRITER.format(folder=server.folder), name="writer")["id"]
    with Command(server, "events", "-f", "-n", "1", "--json") as command:
        command.shows(1)
        command.process.send_signal(signal.SIGSTOP)
        server.restart()
        for _ in range(2):
            pause_and_resume(client, agent)
        first = client.list()
        command.process.send_signal(signal.SIGCONT)
        command.shows(2 + first["sequence"])
        gate.unlink()
        eventually(lambda: '"failed"' in command.stdout(), "the end", END_SECS)
    _, gap, *told = [json.loads(line) for line in command.stdout().splitlines()]
    assert gap == {"gap": True}
    assert {item["epoch"] for item in told} == {first["epoch"]}
    assert sequence_of(told) == list(range(1, first["sequence"] + 2))


def test_no_event_falls_between_the_last_ones_and_those_that_follow(server, client, gate):
    agent = client.spawn(WRITER.format(folder=server.folder), name="writer")["id"]
    with restless(server, agent):
        for _ in range(10):
            with Command(server, "events", "-f", "-n", "1000", "--json") as command:
                command.shows(1)
                # It follows by now what comes after these, however late it began to.
                command.shows(client.list()["sequence"] + 5)
            told = [json.loads(line) for line in command.stdout().splitlines()]
            assert (told[0]["sequence"], has_no_holes(sequence_of(told))) == (1, True)


@contextlib.contextmanager
def restless(server, agent):
    """Something happens to an agent all the time until the end of the block."""
    is_over = threading.Event()

    def never_rest():
        with Client(server.endpoint) as client:
            while not is_over.is_set():
                pause_and_resume(client, agent)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(never_rest)
        try:
            yield
        finally:
            is_over.set()
        done.result()


def pause_and_resume(client, agent):
    client.done(agent, "pause")
    client.done(agent, "resume")


@pytest.mark.parametrize("name", FOLLOWERS)
def test_an_interrupt_ends_a_command_and_not_its_agent(server, client, gate, name):
    arguments, _ = begin(name, server, client)
    with Command(server, *arguments) as command:
        command.shows(LINES_BEFORE)
        command.process.send_signal(signal.SIGINT)
        assert command.ends() == 130
        lines = command.stdout().splitlines()
        assert lines == [f"out {n}" for n in range(1, len(lines) + 1)]
        # Who only looks on has nothing to say of the agent.
        assert ("agent writer runs on" in command.stderr()) == (name != "logs")
    runs_on(client)


# What is run on a terminal, what it shows at first, and what after Ctrl-C; with how many of them it
# ends, and how.
ON_A_TERMINAL = {
    "logs": (["logs", "-f", "writer"], b"out 20\r\n", b"^C", 1, 130),
    "attach": (["attach", "writer"], b"Ctrl-] detaches", b"agent writer is running", 2, 130),
    "spawn": (FOLLOWERS["spawn"][0], b"out 20\r\n", b"agent writer is running", 2, 130),
    "events": (["events", "-f"], b"paused", b"^C", 1, -signal.SIGINT),
    "wait": (["wait", "writer"], b"waiting for 1 agent", b"^C", 1, -signal.SIGINT),
}


@pytest.mark.parametrize("name", ON_A_TERMINAL)
def test_ctrl_c_ends_a_command_and_not_its_agent(server, client, gate, name):
    arguments, shown, answer, times, code = ON_A_TERMINAL[name]
    if name != "spawn":
        agent = client.spawn(WRITER.format(folder=server.folder), name="writer")["id"]
    arguments = [argument.format(folder=server.folder) for argument in arguments]
    terminal = Terminal(server, *arguments)
    if name == "events":
        eventually(lambda: asked_for_events(client), "a wait for events", END_SECS)
        pause_and_resume(client, agent)
    terminal.shows(shown)
    for time in range(times):
        terminal.type(b"\x03")
        terminal.shows(answer if time == 0 else b"agent writer runs on")
    assert terminal.ends() == code
    runs_on(client)


def runs_on(client):
    """Nobody has stopped the writer: it goes on to write."""
    [agent] = client.list()["agents"]
    assert agent["status"] == "running"
    client.read_until(agent["id"], b"out ", offset=agent["output"]["stdout_bytes"])
