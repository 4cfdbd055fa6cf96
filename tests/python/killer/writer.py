"""The agent: `writer.py TASK`, with a task as `plan.Agent.task` makes it."""

import json
import os
import random
import resource
import select
import signal
import sys
import time

from text import Text, echo


class Writer:
    def __init__(self, task):
        self.task = task
        self.texts = {fd: Text(task["seed"], name) for fd, name in ((1, "stdout"), (2, "stderr"))}
        self.lines = {1: 0, 2: 0}
        # Readable once it was told to end.
        self.told = None
        self.is_told_to_end = False

    def run(self):
        self.obey()
        if self.task["child"]:
            leave_a_child()
        {"writes": self.write, "echoes": self.echo, "copies": self.copy}[self.task["kind"]]()
        if self.task["end"] == "never" and not self.is_told_to_end:
            self.sleep(None)
        self.end()

    def obey(self):
        """Sets what SIGTERM does: ends it at once, nothing, or ends it after its last words."""
        if self.task["on_term"] == "ignore":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.task["on_term"] == "last_words":
            self.told, wake_up = os.pipe2(os.O_NONBLOCK)
            signal.set_wakeup_fd(wake_up)
            signal.signal(signal.SIGTERM, lambda *_: None)

    def sleep(self, seconds):
        if select.select([self.told] if self.told else [], [], [], seconds)[0]:
            self.is_told_to_end = True

    def write(self):
        random_ = random.Random(self.task["seed"])
        lines_max, pause_max = self.task["pace"]
        for _ in range(self.task["batches"]):
            count = random_.randint(min(1, lines_max), lines_max)
            self.write_lines(1, count - count // 4)
            self.write_lines(2, count // 4)
            self.sleep(random_.uniform(0, pause_max))
            if self.is_told_to_end:
                return

    def write_lines(self, fd, count):
        write_all(fd, self.texts[fd].batch(self.lines[fd], count))
        self.lines[fd] += count

    def echo(self):
        number, rest = 0, b""
        for piece in pieces_of_stdin():
            *lines, rest = (rest + piece).split(b"\n")
            write_all(1, b"".join(echo(number + i, line) for i, line in enumerate(lines)))
            number += len(lines)
            self.write_lines(2, 1)
            self.sleep(self.task["pace"][1])
        if rest:
            write_all(1, echo(number, rest))

    def copy(self):
        for piece in pieces_of_stdin():
            write_all(1, piece)
            self.write_lines(2, 1)

    def end(self):
        if self.task["kind"] == "writes":
            write_all(1, self.texts[1].last_line(self.lines[1]))
        write_all(2, self.texts[2].last_line(self.lines[2]))
        if self.task["end"] == "signal" and not self.is_told_to_end:
            number = self.task["signal"]
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if number != signal.SIGKILL:
                signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        os._exit(self.task["code"])


def leave_a_child():
    """One that nobody waits for, in a session of its own, as an agent's tools leave them."""
    if os.fork() == 0:
        os.setsid()
        for fd in (0, 1, 2):
            os.close(fd)
        time.sleep(1_000_000)


def pieces_of_stdin():
    while piece := os.read(0, 16384):
        yield piece


def write_all(fd, data):
    data = memoryview(data)
    while data:
        data = data[os.write(fd, data) :]


if __name__ == "__main__":
    Writer(json.loads(sys.argv[1])).run()
