"""The command line, run as a person or a program runs it."""

import json
import os
import pty
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

from daemon import environment, is_alive
from waiting import PATIENCE, eventually

DEFAULT_BIN = Path(__file__).parent / "../../target/debug/descartes"

# Interpreters start slowly on a busy machine.
LONG = 60.0


def binary():
    return str(Path(os.environ.get("DESCARTES_BIN", DEFAULT_BIN)).resolve())


def run(server, *arguments, input=None, timeout=LONG):
    """Runs a command to its end."""
    return subprocess.run(
        [binary(), "--server", server.endpoint, *arguments],
        env=private_environment(server),
        input=input,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def objects(server, *arguments):
    """What a command prints with --json, which has to succeed."""
    done = run(server, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def private_environment(server):
    """Nobody's configuration, and no server that runs beside the test."""
    own = {"HOME": str(server.folder), "XDG_STATE_HOME": str(server.folder / "xdg")}
    return environment() | own | {"TERM": "xterm-256color"}


def heed_interrupts():
    """What was started in the background ignores them, and so would its children."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


class Terminal:
    """A command with a terminal of its own."""

    def __init__(self, server, *arguments, size=None):
        """`size`: lines and columns; without, the terminal does not know its own."""
        self.screen = b""
        self.code = None
        pid, self.fd = pty.fork()
        if pid == 0:
            heed_interrupts()
            if size:
                termios.tcsetwinsize(0, size)
            command = [binary(), "--server", server.endpoint, *arguments]
            os.execve(command[0], command, private_environment(server))
        self.pid = pid

    def type(self, keys):
        os.write(self.fd, keys)

    def shows(self, text):
        """Waits until the screen has shown this since the last call, and forgets it up to there."""

        def found():
            self._read()
            return text in self.screen

        try:
            eventually(found, f"{text} on the terminal", timeout=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows {self.screen}") from None
        self.screen = self.screen.partition(text)[2]

    def is_running(self):
        return self.code is None and is_alive(self.pid)

    def ends(self):
        """The exit code, once the command has ended."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                self.code = os.waitstatus_to_exitcode(status)
                return self.code
        raise AssertionError(f"the command goes on; it shows {self.screen}")

    def _read(self):
        if not select.select([self.fd], [], [], 0.01)[0]:
            return
        try:
            self.screen += os.read(self.fd, 65536)
        except OSError:
            # The command has closed its end.
            pass
