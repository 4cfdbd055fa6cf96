"""Where a run is: its round, what was asked so far, and whether it has failed."""

import threading
import time
import traceback


class Abandoned(Exception):
    """The run has failed elsewhere, or is over."""


class Course:
    """What the threads of a run share. The first trouble ends all of them."""

    def __init__(self):
        self.changed = threading.Condition()
        self.round = -1
        self.round_began = 0.0
        self.sent = {"any": 0}
        self.troubles = []
        self.is_over = False

    def begin_round(self, round):
        with self.changed:
            self.round, self.round_began = round, time.monotonic()
            self.sent = {"any": 0}
            self.changed.notify_all()

    def wait_for(self, step):
        """Until a step is due."""
        with self.changed:
            while self.round < step.round:
                self.check()
                self.changed.wait()
            due = self.round_began + step.delay if self.round == step.round else 0
        while (left := due - time.monotonic()) > 0:
            self.pause(left)

    def pause(self, seconds):
        with self.changed:
            self.check()
            self.changed.wait(min(seconds, 0.1))
            self.check()

    def note(self, action):
        """Something was just asked of the server."""
        with self.changed:
            for what in ("any", action):
                self.sent[what] = self.sent.get(what, 0) + 1
            self.changed.notify_all()

    def wait_until_sent(self, action, count, timeout):
        """Until it was asked so often in this round, or the time is over."""
        with self.changed:
            self.changed.wait_for(
                lambda: self.troubles or self.sent.get(action, 0) >= count, timeout
            )
            self.check()

    def check(self):
        if self.troubles or self.is_over:
            raise Abandoned

    def end(self):
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def watch_over(self, who, work):
        """A thread that does some work; what goes wrong there is trouble for all."""

        def run():
            try:
                work()
            except Abandoned:
                pass
            except BaseException:
                with self.changed:
                    self.troubles.append(f"{who}:\n{traceback.format_exc()}")
                    self.changed.notify_all()

        thread = threading.Thread(target=run, name=who, daemon=True)
        thread.start()
        return thread
