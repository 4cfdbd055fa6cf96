"""The recipe of `docs/protocol.md` for subscribers, as it stands there: on pyzmq and msgpack alone.

One event in three is dropped on the way, and the server is killed three times. All choices come
from one seed, which is printed: DESCARTES_DROPS_SEED repeats them.
"""

import os
import random
import re
import threading
import time
from pathlib import Path

import msgpack
import pytest
import zmq
from client import FINAL, has_no_holes, sequence_of
from proxies import DroppingProxy
from waiting import eventually

# `conftest.py` draws one where none is given.
SEED = int(os.environ["DESCARTES_DROPS_SEED"])

RUNS = 4
AGENTS_OF_A_RUN = 5

# For all that comes to an end by itself, on however slow a machine.
END_SECS = 60.0

PROTOCOL = Path(__file__).parent / "../../docs/protocol.md"


def recipe():
    """What the protocol's code in Python defines, with less patience than it has."""
    names = {"__name__": "recipe"}
    for block in re.findall(r"```python\n(.*?)```", PROTOCOL.read_text(), re.DOTALL):
        exec(compile(block, str(PROTOCOL), "exec"), names)
    assert names["SILENCE_MS"] and names["TIMEOUT_MS"]
    names.update(SILENCE_MS=200, TIMEOUT_MS=500)
    return names


class Done(Exception):
    """The follower has seen what it was to wait for."""


class Run:
    """What a follower handed over of one run of the server: a list, and the events after it."""

    def __init__(self):
        # Not known before the list is there.
        self.epoch = None
        self.agents, self.events = {}, []


class Log:
    """All that a follower handed over, and for which end it waits."""

    def __init__(self):
        self.runs = []
        self.last_agent = None

    def handle(self, item):
        run = self.runs[-1]
        if item.get("type") == "status_update":
            run.events.append(item)
        else:
            run.agents[item["id"]] = item
        if self.last_agent == (item.get("agent_id") or item["id"]) and item["status"] in FINAL:
            raise Done

    def has_list_of(self, epoch):
        return bool(self.runs) and self.runs[-1].epoch == epoch


def follow(server, pub_endpoint, log, faults):
    """Follows as the protocol says, until the log is done."""
    names = recipe()

    class Client(names["Client"]):
        def ask(self, type, attempts=1, **fields):
            # As long as a server takes to come back on a slow machine.
            return super().ask(type, 120, **fields)

    class Follower(names["Follower"]):
        def take_list(self):
            log.runs.append(Run())
            super().take_list()
            log.runs[-1].epoch = self.epoch
            if len(log.runs) % 2:
                # As if the agents had been looked at long after the number was read: what they
                # include comes again.
                self.last = 0

    client = Client(server.endpoint)
    events = zmq.Context.instance().socket(zmq.SUB)
    events.linger = 0
    events.connect(pub_endpoint)
    try:
        Follower(client, events, log.handle).follow()
    except Done:
        pass
    except BaseException as fault:
        faults.append(fault)
        raise
    finally:
        client.socket.close()
        events.close()


class Work:
    """Agents that start, are paused, go on and end, by chance."""

    def __init__(self, server, client):
        self.server, self.client = server, client
        self.chance = random.Random(SEED)
        self.codes = {}
        self.running = []

    def start(self):
        code = self.chance.randrange(100)
        gate = self.server.folder / f"gate-{len(self.codes)}"
        gate.touch()
        task = f"while [ -e {gate} ]; do sleep 0.05; done; exit {code}"
        id = self.client.spawn(task)["id"]
        self.codes[id] = code
        self.running.append((id, gate))

    def pause_some(self):
        for id, _ in self.chance.sample(self.running, 3):
            self.client.done(id, "pause")
            self.client.done(id, "resume")

    def end(self, count):
        for _ in range(count):
            _, gate = self.running.pop(self.chance.randrange(len(self.running)))
            gate.unlink()

    def known(self):
        """The events of this run of the server so far, and its epoch."""
        epoch = self.client.list()["epoch"]
        events = []
        while True:
            after = events[-1]["sequence"] if events else 0
            page = self.client.ask("events_request", epoch=epoch, after_sequence=after)
            assert not page["gap"]
            if not page["events"]:
                return epoch, events
            events += page["events"]


def test_one_event_in_three_dropped_and_three_killed_servers_cost_no_event(server, client):
    work = Work(server, client)
    work.start()
    log, faults, known = Log(), [], {}
    with DroppingProxy(server.pub_endpoint, SEED) as proxy:
        arguments = (server, proxy.endpoint, log, faults)
        follower = threading.Thread(target=follow, args=arguments, daemon=True)
        follower.start()
        for run in range(RUNS):
            for _ in range(AGENTS_OF_A_RUN):
                work.start()
            work.pause_some()
            epoch = client.list()["epoch"]
            eventually(
                lambda: log.has_list_of(epoch) or faults,
                "a list of this run of the server",
                END_SECS,
            )
            assert not faults
            work.pause_some()
            work.end(2)
            if run < RUNS - 1:
                known[epoch] = work.known()[1]
                server.kill()
                work.end(1)
                server.start()
        work.end(len(work.running))
        for id in work.codes:
            client.ended_within(id, END_SECS)
        work.start()
        [log.last_agent] = [id for id, _ in work.running]
        work.end(1)
        follower.join(END_SECS)
        assert not faults and not follower.is_alive()
        assert proxy.dropped > 0 and proxy.handed_on > 0
    epoch, known[epoch] = work.known()
    check(log.runs, known)
    check_ends(log.runs, work.codes)


class Noise:
    """In the place of a SUB socket: only what has no number gets through, and that without end."""

    def __init__(self, agent_id):
        self.agent_id = agent_id

    def subscribe(self, topic):
        pass

    def poll(self, timeout_ms):
        time.sleep(min(timeout_ms, 50) / 1000)
        return 1

    def recv_multipart(self):
        update = {"type": "status_update", "update_type": "output_available", "epoch": "any"}
        return [b"status/", msgpack.packb(update | {"agent_id": self.agent_id})]


def test_a_dropped_event_is_missed_though_something_comes_all_the_time(server, client):
    agent = client.spawn("read -r line", name="quiet")["id"]
    names = recipe()
    seen = []

    def handle(item):
        seen.append(item)
        if item["status"] in FINAL:
            raise Done
        client.done(agent, "close_stdin")

    asking = names["Client"](server.endpoint)
    try:
        with pytest.raises(Done):
            names["Follower"](asking, Noise(agent), handle).follow()
    finally:
        asking.socket.close()
    assert [item["status"] for item in seen] == ["running", "failed"]


def check(runs, known):
    """Each event of each run was handed over once and in order, or the list before includes it."""
    assert [run.epoch for run in runs] == list(known)
    for run in runs:
        last = {id: agent["agent_sequence"] for id, agent in run.agents.items()}
        before_kill = known[run.epoch]
        expected = [
            event
            for event in before_kill
            if event["agent_sequence"] > last.get(event["agent_id"], 0)
        ]
        # Those between the last look and the kill.
        beyond = [event for event in run.events if event["sequence"] > len(before_kill)]
        if not beyond and run is not runs[-1]:
            # Nobody may have heard of the last ones of a server that was killed.
            expected = expected[: len(run.events)]
        assert run.events == expected + beyond
        assert has_no_holes([len(before_kill), *sequence_of(beyond)])
        for event in run.events:
            # 1 for one that was not listed.
            last[event["agent_id"]] = last.get(event["agent_id"], 0) + 1
            assert event["agent_sequence"] == last[event["agent_id"]]
            assert event["epoch"] == run.epoch


def check_ends(runs, codes):
    """The end of each agent was handed over, and always with its code."""
    ends = {id: set() for id in codes}
    for run in runs:
        for agent in run.agents.values():
            if agent["status"] in FINAL:
                ends[agent["id"]].add((agent["status"], agent["exit_code"]))
        for event in run.events:
            if event["status"] in FINAL:
                ends[event["agent_id"]].add((event["status"], event["data"]["exit_code"]))
    for id, code in codes.items():
        assert ends[id] == {("failed" if code else "completed", code)}
