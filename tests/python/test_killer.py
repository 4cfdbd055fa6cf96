"""A server that is killed again and again, while clients never stop asking: nothing is lost, and
nothing is left over.

Its choices come from one seed (`killer/plan.py`), which is printed. DESCARTES_KILLER_SEED repeats
them; DESCARTES_KILLER_AGENTS and DESCARTES_KILLER_KILLS say how many.
"""

import os
import signal
import statistics
import sys
import time
from pathlib import Path

from client import Client
from daemon import parent_of
from killer import verdict
from killer.course import Course
from killer.keeper import Keeper, spawn
from killer.killing import Killing
from killer.plan import draw
from killer.steady import SteadyClient
from killer.watchers import Command, Lists, check_events, read_at_random, take_list
from waiting import eventually

AGENTS = int(os.environ.get("DESCARTES_KILLER_AGENTS", 50))
KILLS = int(os.environ.get("DESCARTES_KILLER_KILLS", 20))
# `conftest.py` draws one where none is given.
SEED = int(os.environ["DESCARTES_KILLER_SEED"])

READERS = 3

# For all that comes to an end by itself, on however slow a machine.
END_SECS = 300.0

WRITER = str(Path(__file__).parent / "killer/writer.py")


def backend(parser):
    args = ["-S", "-E", WRITER, "{task}"]
    return {"command": sys.executable, "args": args, "stdin": "pipe", "parser": parser}


SETTINGS = {
    "max_agents": AGENTS + 1,
    "retain_finished": AGENTS + 1,
    "runner": {"stdin_bytes": 100_000, "stop_grace_secs": 60},
    "backends.writer": backend("text"),
    "backends.parsed_writer": backend("jsonl"),
}


class Run:
    """All that takes part in one run."""

    def __init__(self, server, folder, plan):
        self.server, self.folder, self.plan = server, folder, plan
        self.course = Course()
        self.killing = Killing(server, self.course, plan)
        self.keepers = [
            Keeper(server, self.course, agent, self.follow) for agent in plan.agents
        ]
        self.lists = Lists(server, self.course, self.keepers)
        self.logs, self.waits, self.commands = {}, {}, []
        self.bytes_checked = 0

    def follow(self, keeper):
        """Lets the command line follow an agent that was just spawned."""
        name, id = keeper.agent.name, keeper.seen.id
        if keeper.agent.is_followed:
            self.logs[id] = self.command(f"logs-{name}", "logs", "--follow", id)
        if keeper.agent.is_awaited:
            self.waits[id] = self.command(f"wait-{name}", "wait", id)

    def command(self, name, *arguments):
        command = Command(self.server, self.folder, name, *arguments)
        self.commands.append(command)
        return command

    def go(self):
        """Until the last agent has ended."""
        over = self.course.watch_over
        self.events = self.command("events", "events", "--follow", "--json")
        onlookers = [
            over("lists", lambda: self.lists.run(self.plan.seed)),
            *(over(f"reader {i}", self.reader(i)) for i in range(READERS)),
        ]
        keepers = [over(keeper.agent.name, keeper.run) for keeper in self.keepers]
        self.course.begin_round(0)
        killer = over("killer", self.killing.run)
        self.join([killer, *keepers])
        self.course.end()
        self.join(onlookers)

    def join(self, threads):
        deadline = time.monotonic() + END_SECS
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
        late = [thread.name for thread in threads if thread.is_alive()]
        assert not self.course.troubles, "\n".join(self.course.troubles[:5])
        assert not late, f"not within {END_SECS} s: the end of {late}"

    def reader(self, number):
        seed = f"{self.plan.seed}/{number}"
        return lambda: read_at_random(self.server, self.course, self.keepers, seed)

    def put_away(self):
        self.course.end()
        for command in self.commands:
            command.put_away()

    def check(self):
        with SteadyClient(self.server, Course()) as client:
            infos = {info["name"]: info for info in take_list(client, None)}
            self.check_registry(client, infos)
            with Client(self.server.endpoint) as reader:
                for keeper in self.keepers:
                    self.check_agent(reader, keeper, infos[keeper.agent.name])

    def check_registry(self, client, infos):
        assert sorted(infos) == sorted(agent.name for agent in self.plan.agents)
        self.lists.compare(list(infos.values()), {keeper.seen.id for keeper in self.keepers})
        for keeper in self.keepers:
            again = spawn(client, keeper.agent, keeper.seen)["agent_info"]
            assert again["id"] == keeper.seen.id, f"{keeper.agent.name} was spawned again"
        assert len(take_list(client, None)) == len(infos)

    def check_agent(self, client, keeper, info):
        id = keeper.seen.id
        try:
            streams = {stream: client.read_all(id, stream) for stream in ("stdout", "stderr")}
            self.bytes_checked += verdict.check_agent(keeper, info, streams)
            for stream, data in streams.items():
                assert verdict.on_disk(self.server.state_dir, id, stream) == data
            if id in self.logs:
                assert self.logs[id].ends(END_SECS) == 0, self.logs[id].output("stderr")
                for stream, data in streams.items():
                    assert self.logs[id].printed(stream) == data, f"logs --follow, {stream}"
            if id in self.waits:
                expected = exit_code_of(info)
                assert self.waits[id].ends(END_SECS) == expected, self.waits[id].output("stderr")
        except AssertionError as error:
            raise AssertionError(f"{keeper.agent}\n{keeper.seen.id}: {error}") from error

    def check_nothing_is_left(self, fresh):
        last = have_one_agent(self.server)
        self.events.shows(b'"completed"', last.encode())
        assert self.events.interrupt(END_SECS) == -signal.SIGINT, self.events.output("stderr")
        self.events_seen = check_events(self.events.output("stdout").splitlines())
        server = self.server
        ids = [last, *(keeper.seen.id for keeper in self.keepers)]
        beside = "processes beside the server and its template"
        becomes(lambda: server.agent_processes(), list, "processes of agents")
        becomes(lambda: strangers_to(server), list, beside)
        becomes(lambda: verdict.strangers(server.state_dir, ids), list, "files")
        for keeper in self.keepers:
            cgroup = server.record(keeper.seen.id, "spec.json").get("cgroup")
            assert cgroup is None or not os.path.exists(cgroup), cgroup
        becomes(
            lambda: verdict.descriptors(server.process.pid),
            lambda: verdict.descriptors(fresh.process.pid),
            "descriptors, beside those of a fresh server",
        )

    def figures(self, seconds):
        ready = self.killing.ready_ms
        return (
            f"{len(self.keepers)} agents, {self.plan.kill_count} kills "
            f"({self.killing.before_ready} before the server was ready), "
            f"{self.bytes_checked / 1e6:.1f} MB checked, "
            f"{sum(k.seen.has_repeated_spawn for k in self.keepers)} spawns repeated, "
            f"{sum(k.repeated for k in self.keepers)} requests repeated, "
            f"{self.lists.taken} lists, {self.events_seen} events, "
            f"ready after {statistics.median(ready):.0f} ms (at most {max(ready):.0f} ms), "
            f"{seconds:.1f} s"
        )


def becomes(look, expected, what):
    """Waits until `look` finds what `expected` does: the last of it may just be going."""
    eventually(
        lambda: look() == expected(),
        lambda: f"{what}: {look()}, and should be {expected()}",
        END_SECS / 5,
    )


def strangers_to(server):
    """Processes of a server, but for itself and its one template."""
    others = [pid for pid in server.processes() if pid != server.process.pid]
    return [pid for pid in others if parent_of(pid) != server.process.pid] or others[1:]


def exit_code_of(info):
    code = info.get("exit_code")
    if code is None:
        return 128 + info["exit_signal"]
    return code or (0 if info["status"] == "completed" else 1)


def fresh_server(launch):
    """A server that has had one agent, and has nothing to do."""
    server = launch()
    have_one_agent(server)
    return server


def have_one_agent(server):
    """With the first one comes the template, and stays. Returns the agent's id."""
    with Client(server.endpoint) as client:
        return client.ended(client.spawn("true")["id"])["id"]


def test_a_server_that_is_killed_again_and_again_loses_nothing(
    launch, tmp_path, record_property
):
    began = time.monotonic()
    plan = draw(SEED, AGENTS, KILLS)
    run = Run(launch(**SETTINGS), tmp_path, plan)
    try:
        run.go()
        run.check()
        run.check_nothing_is_left(fresh_server(launch))
    finally:
        run.put_away()
    record_property("figures", run.figures(time.monotonic() - began))
