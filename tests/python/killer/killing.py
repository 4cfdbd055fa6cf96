"""Kills the server as a plan has it, and starts it again."""

import statistics
import time

# How long the server lives at most where what it is to be killed after does not come.
ROUND_SECS = 1.0

# A start may wait 5 s for shims that a loaded machine leaves no time for.
READY_SECS = 60.0


class Killing:
    """The end of each round."""

    def __init__(self, server, course, plan):
        self.server, self.course, self.plan = server, course, plan
        self.ready_ms = []
        # Kills that came before the server was ready.
        self.before_ready = 0
        self.usual_start_secs = 0.1

    def run(self):
        for round, kill in enumerate(self.plan.kills):
            self.course.wait_until_sent(kill.after, kill.count, ROUND_SECS)
            time.sleep(kill.delay)
            self.server.kill()
            if kill.is_early:
                self.course.begin_round(round + 1)
            for part in kill.during_start:
                self.start_and_kill(part)
            self.start()
            if not kill.is_early:
                self.course.begin_round(round + 1)

    def start_and_kill(self, part):
        self.server.begin()
        time.sleep(part * self.usual_start_secs)
        self.before_ready += not self.server.says_ready(0)
        self.server.kill()

    def start(self):
        began = time.monotonic()
        self.server.begin()
        self.server.await_ready(READY_SECS)
        self.ready_ms.append(1000 * (time.monotonic() - began))
        self.usual_start_secs = statistics.median(self.ready_ms) / 1000
