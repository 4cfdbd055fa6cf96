"""Processes that no signal reaches: those in a frozen cgroup of version 1.

To the rest of the system they are what waits for a dead disk is: in state D, and SIGKILL takes
effect when the wait is over.
"""

import contextlib
import itertools
import os
from pathlib import Path

import pytest

from daemon import is_alive
from waiting import eventually

NUMBERS = itertools.count()


def freezer():
    """Where the freezer of cgroup version 1 is mounted; skips the test where it is not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, path, kind, options, *_ = line.split()
        if kind == "cgroup" and "freezer" in options.split(","):
            if os.access(path, os.W_OK):
                return Path(path)
    pytest.skip("there is no cgroup v1 freezer that may be written, so nothing can be made stuck")


@contextlib.contextmanager
def stuck():
    """A function that makes processes stuck until the end of the block, or until it is asked to
    `release` them."""
    group = freezer() / f"descartes-test-{os.getpid()}-{next(NUMBERS)}"
    group.mkdir()
    try:
        yield Stuck(group)
    finally:
        with contextlib.suppress(FileNotFoundError):
            Stuck(group).release()
            remove(group)


def remove(group):
    """What was let go may take a moment to leave; what nobody killed goes to the root's group."""
    for pid in (group / "cgroup.procs").read_text().split():
        with contextlib.suppress(OSError):
            (group.parent / "cgroup.procs").write_text(pid)

    def is_removed():
        with contextlib.suppress(OSError):
            group.rmdir()
        return not group.exists()

    eventually(is_removed, f"the end of {group}")


class Stuck:
    def __init__(self, group):
        self.group = group

    def hold(self, *pids):
        self._set("THAWED")
        for pid in pids:
            (self.group / "cgroup.procs").write_text(str(pid))
        self._set("FROZEN")

    def release(self):
        """Lets them go on; those that were killed meanwhile go."""
        self._set("THAWED")

    def _set(self, state):
        file = self.group / "freezer.state"

        def is_there():
            file.write_text(state)
            return file.read_text().strip() == state

        eventually(is_there, f"{self.group} {state}")


def await_death(pids):
    """Waits until none of these is alive."""
    eventually(lambda: not any(is_alive(pid) for pid in pids), f"the end of {pids}")
