"""Clients that look on: readers, takers of lists, and the command line."""

import json
import random
import re
import signal
import subprocess
import threading
import time

import cli
from client import FINAL
from killer.keeper import read
from killer.steady import SteadyClient
from waiting import eventually

# Exit codes of a command that finds no server: `wait` leaves the first one to agents.
NO_SERVER = (3, 125)

OWN_WORDS = re.compile(rb"(lost the server, and trying[^\n]*|the server is back)\n")

FATE = ("exit_code", "exit_signal", "end_reason", "finished_at", "status")


def read_at_random(server, course, keepers, seed):
    """Reads any agent's output at any place."""
    chance = random.Random(seed)
    with SteadyClient(server, course) as client:
        while True:
            course.pause(0.02)
            spawned = [keeper for keeper in keepers if keeper.seen.is_spawned.is_set()]
            if not spawned:
                continue
            keeper = chance.choice(spawned)
            stream = chance.choice(["stdout", "stderr"])
            offset = chance.randint(0, keeper.offsets[stream])
            most = chance.choice([1, 1000, 70_000, 1_000_000])
            more = {"max_bytes": most, "wait_ms": chance.choice([0, 0, 100, 400])}
            read(client, keeper.seen, stream, offset, **more)


class Lists:
    """Takes lists all the time, and compares each with what is known."""

    def __init__(self, server, course, keepers):
        self.server, self.course, self.keepers = server, course, keepers
        self.taken = 0
        # Name: id, pid and start, which never change. Id: how it ended.
        self.identities = {}
        self.ends = {}

    def run(self, seed):
        chance = random.Random(seed)
        with SteadyClient(self.server, self.course) as client:
            while True:
                spawned = {k.seen.id for k in self.keepers if k.seen.is_spawned.is_set()}
                infos = take_list(client, chance.choice([None, 20]))
                self.compare(infos, spawned)
                self.course.pause(0.05)

    def compare(self, infos, spawned):
        self.taken += 1
        ids = [info["id"] for info in infos]
        assert len(set(ids)) == len(ids), f"an agent is listed twice: {sorted(ids)}"
        assert spawned <= set(ids), f"agents are not listed: {spawned - set(ids)}"
        for info in infos:
            identity = (info["id"], info["pid"], str(info["started_at"]))
            known = self.identities.setdefault(info["name"], identity)
            assert known == identity, f"{info['name']} was {known} and is {identity}"
            end = self.ends.get(info["id"])
            now = [str(info.get(key)) for key in FATE]
            assert end is None or end == now, f"{info['name']} had ended as {end}, now as {now}"
            if info["status"] in FINAL:
                self.ends[info["id"]] = now


def take_list(client, limit):
    """All agents: page by page, and from the start again where the server is another meanwhile."""
    more = {} if limit is None else {"limit": limit}
    page = client.list(**more)
    epoch, infos = page["epoch"], page["agents"]
    while page["has_more"]:
        page = client.list(after=infos[-1]["id"], **more)
        if page["epoch"] != epoch:
            return take_list(client, limit)
        infos += page["agents"]
    return infos


class Command:
    """A command that runs through everything, its output in files.

    Where the server is away when it begins, it says so and ends. Then it is given again.
    """

    def __init__(self, server, folder, name, *arguments):
        self.command = [cli.binary(), "--server", server.endpoint, *arguments]
        self.environment = cli.private_environment(server)
        self.paths = {stream: folder / f"{name}.{stream}" for stream in ("stdout", "stderr")}
        self.is_put_away = False
        self.process = self._begin()
        self.thread = threading.Thread(target=self._repeat, name=name, daemon=True)
        self.thread.start()

    def _begin(self):
        with open(self.paths["stdout"], "wb") as stdout, open(self.paths["stderr"], "wb") as stderr:
            return subprocess.Popen(
                self.command,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                # What was started in the background ignores it, and so would its children.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def _repeat(self):
        while self.process.wait() in NO_SERVER and not self.is_put_away:
            if self.output("stdout") or b"failed to reach the server" not in self.output("stderr"):
                return
            time.sleep(0.05)
            self.process = self._begin()

    def output(self, stream):
        return self.paths[stream].read_bytes()

    def printed(self, stream):
        """What it printed of an agent's stream: without its own words on the connection."""
        return OWN_WORDS.sub(b"", self.output(stream))

    def ends(self, timeout):
        """The exit code. It ends by itself, or fails the test."""
        self.thread.join(timeout)
        assert not self.thread.is_alive(), f"{self.command} does not end: {self.output('stderr')}"
        return self.process.returncode

    def shows(self, *words):
        """Waits for a line of output that has all of these."""

        def found():
            lines = self.output("stdout").splitlines()
            return any(all(word in line for word in words) for line in lines)

        eventually(found, f"{words} from {self.command}", cli.LONG)

    def interrupt(self, timeout):
        self.process.send_signal(signal.SIGINT)
        return self.ends(timeout)

    def put_away(self):
        self.is_put_away = True
        while self.thread.is_alive():
            self.process.kill()
            self.thread.join(0.1)


def check_events(lines):
    """Each event once, in order, and a hole only where it is admitted. Returns how many came."""
    came, epoch, last, ends, is_gap = 0, None, 0, {}, True
    for line in lines:
        event = json.loads(line)
        if event.get("gap"):
            is_gap = True
            continue
        came += 1
        if event["sequence"] is None:
            continue
        if event["epoch"] != epoch:
            assert is_gap, f"a new epoch without a word: {event}"
            epoch, last = event["epoch"], 0
        assert event["sequence"] > last, f"after {last}: {event}"
        assert is_gap or event["sequence"] == last + 1, f"after {last}: {event}"
        last, is_gap = event["sequence"], False
        if event["update_type"] in ("completed", "terminated"):
            ends[event["agent_id"]] = ends.get(event["agent_id"], 0) + 1
    assert all(count == 1 for count in ends.values()), f"agents ended more than once: {ends}"
    return came
