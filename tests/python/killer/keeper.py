"""One agent's life, as its plan has it, with a client that does not give up."""

import threading
import zlib
from dataclasses import dataclass, field

from client import FINAL, new_id
from killer.steady import SteadyClient

# Waiting for a reply that says `busy`, `timeout` or the like, before the next attempt.
RETRY_SECS = 0.02

# Longer than a loaded machine needs for a spawn.
SPAWN_TIMEOUT_SECS = 60


@dataclass
class Piece:
    """What a reader was given of a stream."""

    stream: str
    offset: int
    length: int
    checksum: int


@dataclass
class Witnessed:
    """What was seen of an agent from outside while it lived."""

    id: str = ""
    request_id: str = field(default_factory=new_id)
    pid: int = 0
    pieces: list = field(default_factory=list)
    # Of each writer, bytes that were taken.
    taken: list = field(default_factory=list)
    # What a stop or kill answered, where its first answer was no refusal.
    end: dict | None = None
    has_repeated_spawn: bool = False
    is_spawned: threading.Event = field(default_factory=threading.Event)


class Keeper:
    """Does to one agent what its plan says, in order."""

    def __init__(self, server, course, agent, on_spawned):
        self.server, self.course, self.agent, self.on_spawned = server, course, agent, on_spawned
        self.seen = Witnessed(taken=[0] * len(agent.stdin))
        self.offsets = {"stdout": 0, "stderr": 0}
        self.pieces_left = sum(step.action == "write" for step in agent.steps)
        self.repeated = 0

    def run(self):
        with SteadyClient(self.server, self.course) as self.client:
            for step in self.agent.steps:
                self.course.wait_for(step)
                getattr(self, step.action)(**step.details)
            self.await_end()
            self.repeated = self.client.repeated

    def spawn(self):
        reply = spawn(self.client, self.agent, self.seen)
        info = reply["agent_info"]
        self.seen.has_repeated_spawn = self.client.has_repeated
        self.seen.id, self.seen.pid = info["id"], info["pid"]
        self.seen.is_spawned.set()
        self.on_spawned(self)

    def read(self, stream, **more):
        chunk = read(self.client, self.seen, stream, self.offsets[stream], **more)
        self.offsets[stream] = chunk["next_offset"]
        return chunk

    def write(self, writer):
        """Writes a part, as far as the agent takes it."""
        left = self.agent.stdin[writer][self.seen.taken[writer] :]
        self.put(writer, left[: max(1, 2 * len(left) // self.pieces_left)])

    def put(self, writer, data, **more):
        """Writes at the place where this writer is; returns the reply."""
        at = self.seen.taken[writer]
        position = {"offset": at}
        if self.agent.task["kind"] == "copies":
            position = {"writer": {"id": f"writer-{writer}", "offset": at}}
        reply = self.client.command(self.seen.id, "write_stdin", data=data, **position, **more)
        if reply["success"] or reply["error_code"] == "busy":
            self.seen.taken[writer] = at + reply["data"]["bytes_written"]
        else:
            assert self.is_over(reply), reply
        return reply

    def close(self):
        """Writes all that is left, and ends stdin with the last of it."""
        last = len(self.agent.stdin) - 1
        for writer, data in enumerate(self.agent.stdin):
            while True:
                is_last = {"close": True} if writer == last else {}
                reply = self.put(writer, data[self.seen.taken[writer] :], **is_last)
                if reply["success"]:
                    break
                if self.is_over(reply):
                    # It has read everything, so it was the answer to the last write that got lost.
                    assert self.client.has_repeated and writer == last, reply
                    self.seen.taken[writer] = len(data)
                    break
                self.course.pause(RETRY_SECS)

    def pause(self):
        self.await_obedience()
        reply = self.insist("pause")
        if reply is not None:
            now = self.client.command(self.seen.id, "get_status")["status"]
            assert now == "paused" or now in FINAL, f"paused, and then {now}"

    def resume(self):
        self.insist("resume")

    def stop(self, grace_secs):
        self.await_obedience()
        payload = {} if grace_secs is None else {"grace_secs": grace_secs}
        self.ends(self.insist("stop", **payload))

    def kill(self, grace_secs):
        self.ends(self.insist("kill"))

    def cut(self, grace_secs):
        self.await_obedience()
        self.insist("stop", grace_secs=30, wait=False)
        self.ends(self.insist("kill"))

    def ends(self, reply):
        if reply is not None:
            self.seen.end = reply["data"]
            assert reply["status"] in FINAL, reply

    def insist(self, command, **payload):
        """Gives a command until it is done, or the agent has ended. Returns the reply only where
        the first answer said that it was done by this command."""
        while True:
            reply = self.client.command(self.seen.id, command, **payload)
            if reply["success"]:
                return reply
            if reply["error_code"] == "invalid_state":
                # So it is already, by this very command, the answer to which got lost; or it has
                # ended, or is about to.
                is_so = {"pause": ["paused"], "resume": ["running", "thinking"]}.get(command, [])
                may_end = command in ("pause", "resume") and self.agent.task["end"] != "never"
                is_repeat = self.client.has_repeated and reply["status"] in is_so
                assert reply["status"] in FINAL or may_end or is_repeat, reply
                return None
            assert reply["error_code"] == "timeout", reply
            self.course.pause(RETRY_SECS)

    def is_over(self, reply):
        """Whether a refusal says that the agent has ended or is just about to."""
        return not reply["success"] and reply["error_code"] == "invalid_state"

    def await_obedience(self):
        """What handles SIGTERM in a way of its own says something as soon as it does."""
        while self.agent.task["on_term"] != "die":
            chunk = read(self.client, self.seen, "stdout", 0, wait_ms=1000, max_bytes=100)
            if chunk["data"] or chunk["eof"]:
                return

    def await_end(self):
        """Reads what it has not read, to the end: that is how a client waits for it."""
        for stream in self.offsets:
            while not self.read(stream, wait_ms=2000)["eof"]:
                pass


def spawn(client, agent, seen):
    """Asks for an agent, and asks again under the same id where that was not answered."""
    reply = client.ask(
        "spawn_request",
        request_id=seen.request_id,
        config=agent.config,
        timeout_secs=SPAWN_TIMEOUT_SECS,
        metadata=None,
    )
    assert reply["type"] == "spawn_response" and reply["success"], reply
    assert reply["agent_info"]["name"] == agent.name, reply
    return reply


def read(client, seen, stream, offset, **more):
    """Reads at an offset, and remembers what came."""
    reply = client.command(seen.id, f"read_{stream}", offset=offset, **more)
    assert reply["success"], reply
    chunk = reply["data"]
    assert chunk["offset"] == offset, f"{stream} has a gap at {offset}: {chunk['offset']}"
    assert chunk["next_offset"] == offset + len(chunk["data"])
    seen.pieces.append(Piece(stream, offset, len(chunk["data"]), zlib.crc32(chunk["data"])))
    return chunk
