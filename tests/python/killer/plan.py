"""Everything that is left to chance, drawn from one seed before anything starts.

A run goes in *rounds*, and each but the last ends with a kill of the server. An agent is spawned in
a round, and what is done to it is done in that round or a later one. So a seed decides what
happens, and between which kills; not to the millisecond when.
"""

import json
import random
import signal
from dataclasses import dataclass, field

# Lines of a batch at most, seconds between two batches at most, batches at least and at most.
PACES = {
    "flood": (2000, 0.0, 4, 30),
    "slow": (2, 0.2, 20, 60),
    "bursts": (400, 0.8, 4, 16),
    "silent": (0, 0.5, 2, 20),
}

# An agent ends by these if it is to end by a signal of its own.
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGSEGV, signal.SIGHUP]

# For what ignores SIGTERM.
SHORT_GRACE_SECS = 0.2


@dataclass
class Step:
    """Something that is done to an agent, so many seconds after its round began."""

    round: int
    delay: float
    action: str
    details: dict = field(default_factory=dict)


@dataclass
class Agent:
    """An agent, and all that is done to it."""

    name: str
    task: dict
    backend: str
    # How it comes to its end: `itself`, `stop`, `kill`, or `cut`, a stop that a kill cuts short.
    fate: str
    # What is written to its stdin: the bytes of one writer, or of two.
    stdin: list = field(repr=False)
    steps: list
    # Whether the command line follows it, and waits for it.
    is_followed: bool = False
    is_awaited: bool = False

    @property
    def config(self):
        return {
            "name": self.name,
            "model_backend": self.backend,
            "task": json.dumps(self.task),
            "environment": {},
            "stdin": "pipe" if self.stdin else "null",
        }


@dataclass
class Kill:
    """How the server is killed at the end of a round."""

    # What has to be asked of the server so often before: a spawn, a stop, or anything.
    after: str
    count: int
    delay: float
    # Whether agents of the next round are asked for while no server is there.
    is_early: bool
    # When the server is killed again while it starts, in parts of the time that it takes to start.
    during_start: list


@dataclass
class Plan:
    seed: int
    agents: list
    kills: list

    @property
    def kill_count(self):
        return sum(1 + len(kill.during_start) for kill in self.kills)


def draw(seed, agents, kills):
    """The plan of a run with so many agents and kills."""
    chance = random.Random(seed)
    kills_at_start = [chance.random() < 0.25 for _ in range(kills)]
    rounds = max(1, kills - sum(kills_at_start))
    drawn = [draw_agent(chance, number, rounds) for number in range(agents)]
    for followed in chance.sample(drawn, min(agents, 4)):
        followed.is_followed = True
    for awaited in chance.sample(drawn, min(agents, 3)):
        awaited.is_awaited = True
    steps = [step for agent in drawn for step in agent.steps]
    ends = [draw_kill(chance, [step for step in steps if step.round == i]) for i in range(rounds)]
    for _ in range(kills - rounds):
        chance.choice(ends).during_start.append(chance.uniform(0, 1.1))
    return Plan(seed, drawn, ends)


def draw_kill(chance, steps):
    actions = {step.action for step in steps}
    after = chance.choice(["any", "any", *sorted(actions & {"spawn", "stop"})])
    count = chance.randint(1, sum(step.action == after for step in steps) or 60)
    delay = chance.choice([0, chance.uniform(0, 0.01), chance.uniform(0, 0.4), chance.random()])
    return Kill(after, count, delay, chance.random() < 0.4, [])


def draw_agent(chance, number, rounds):
    kind = chance.choices(["writes", "echoes", "copies"], [7, 2, 1])[0]
    pace = chance.choice(list(PACES)) if kind == "writes" else "slow"
    lines_max, pause_max, least, most = PACES[pace]
    fate = chance.choices(["itself", "stop", "kill", "cut"], [5, 3, 2, 1])[0]
    if kind != "writes":
        # They come to their end with that of their stdin, which is the last step of some.
        pause_max = chance.choice([0, 0.02])
        end = "code" if fate == "itself" else "never"
    elif fate == "itself":
        end = chance.choice(["code", "code", "signal"])
    else:
        end = chance.choice(["never", "never", "code"])
    # What says nothing does not say either that it has come so far as to obey.
    obeys = kind == "writes" and pace != "silent"
    on_term = chance.choice(["die", "ignore", "last_words"]) if obeys else "die"
    task = {
        "seed": chance.getrandbits(32),
        "kind": kind,
        "pace": [lines_max, pause_max],
        "batches": chance.randint(least, most),
        "end": end,
        "code": chance.choice([0, 0, chance.randint(1, 255)]),
        "signal": int(chance.choice(SIGNALS)),
        "on_term": on_term,
        # A child has its parent's handlers, and would need SIGKILL.
        "child": on_term != "last_words" and chance.random() < 0.2,
    }
    writers = {"writes": 0, "echoes": 1, "copies": 2}[kind]
    return Agent(
        name=f"agent-{number:03}",
        task=task,
        backend=chance.choice(["writer", "writer", "writer", "parsed_writer"]),
        fate=fate,
        stdin=[draw_stdin(chance, task, writer) for writer in range(writers)],
        steps=draw_steps(chance, task, fate, writers, rounds),
    )


def draw_stdin(chance, task, writer):
    """Lines for an agent that echoes; for one that copies, bytes that tell whose they are."""
    size = chance.choice([0, 100, 20_000, chance.randint(0, 400_000)])
    data = random.Random(chance.getrandbits(32)).randbytes(size)
    if task["kind"] == "copies":
        return bytes(byte & 0x7F | writer << 7 for byte in data)
    return data.translate(bytes(10 if byte < 3 else byte for byte in range(256)))


def draw_steps(chance, task, fate, writers, rounds):
    first = chance.randrange(rounds)

    def at(round):
        return round, chance.uniform(0, 0.3)

    def rest():
        return chance.randint(first, min(first + 6, rounds))

    steps = [Step(*at(first), "spawn")]
    for writer in range(writers):
        pieces = chance.randint(1, 6)
        steps += [Step(*at(rest()), "write", {"writer": writer}) for _ in range(pieces)]
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        steps.append(Step(*at(rest()), "read", {"stream": chance.choice(["stdout", "stderr"])}))
    if chance.random() < 0.3:
        pause = Step(*at(rest()), "pause")
        resume = Step(min(pause.round + chance.randint(0, 2), rounds), pause.delay + 0.1, "resume")
        # What is not resumed is ended as it stands.
        steps += [pause, resume] if fate == "itself" or chance.random() < 0.6 else [pause]
    steps = steps[:1] + sorted(steps[1:], key=lambda step: (step.round, step.delay))
    end = max(rest(), steps[-1].round)
    if fate != "itself":
        grace = SHORT_GRACE_SECS if task["on_term"] == "ignore" else None
        steps.append(Step(*at(end), fate, {"grace_secs": grace}))
    elif writers:
        steps.append(Step(*at(end), "close"))
    return steps
