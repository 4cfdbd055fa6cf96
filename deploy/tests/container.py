"""A server in a container, as its operator sees it."""

import json
import os
import subprocess
import tomllib

from client import Client
from daemon import free_port
from waiting import eventually

IMAGE = os.environ.get("DESCARTES_IMAGE", "descartes/server")
STATE = "/var/lib/descartes/state"

# What deploy/kubernetes asks for.
HARDENED = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges"]

# Longer than any step of an engine takes on a busy machine.
ENGINE_PATIENCE = 120


def podman(*arguments):
    """Runs podman and returns what it printed."""
    done = subprocess.run(
        ["podman", *arguments], capture_output=True, text=True, timeout=ENGINE_PATIENCE
    )
    assert done.returncode == 0, f"podman {arguments}: {done.stderr}"
    return done.stdout


class Container:
    def __init__(self, volume, options=(), settings=()):
        # The host's network is the one that also works where this host is itself a container, so
        # each server has a port of its own.
        options = [
            "--network=host",
            "--label=descartes-try",
            f"--env=SERVER_ENDPOINT=tcp://0.0.0.0:{free_port()}",
            f"--env=DESCARTES_PUB_ENDPOINT=tcp://0.0.0.0:{free_port()}",
            "--env=DESCARTES_ADVERTISE_HOST=127.0.0.1",
            f"--volume={volume}:/var/lib/descartes",
            "--health-interval=disable",
            *options,
        ]
        backend = {"backends.sh.command": "sh", "backends.sh.args": '["-c", "{task}"]'}
        arguments = ["--config", "/etc/descartes/server.toml"]
        for key, value in (backend | dict(settings)).items():
            arguments += ["--set", f"{key}={value}"]
        self.id = podman("run", "--detach", *options, IMAGE, *arguments).strip()

    def wait_healthy(self):
        try:
            eventually(self.is_healthy, "a healthy server", ENGINE_PATIENCE)
        except AssertionError as error:
            error.add_note(f"its log: {self.log()}")
            raise
        return self

    def is_healthy(self):
        """What the image's own health check says."""
        asked = ["podman", "healthcheck", "run", self.id]
        done = subprocess.run(asked, capture_output=True, timeout=ENGINE_PATIENCE)
        return done.returncode == 0

    def log(self):
        asked = ["podman", "logs", self.id]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=ENGINE_PATIENCE)
        return done.stderr

    def sh(self, script):
        """What a shell in the container prints."""
        return podman("exec", self.id, "sh", "-c", script)

    def process_names(self):
        """The name of each process in the container, also of one that waits to be reaped."""
        return self.sh("cat /proc/[0-9]*/comm 2>/dev/null; true").split()

    def server_pid(self):
        """The init's only child, as long as there are no orphans."""
        return int(self.sh("cat /proc/1/task/1/children"))

    def client(self):
        """A client with the bundle that the server made at its first start."""
        bundle = tomllib.loads(self.sh(f"cat {STATE}/keys/client.toml"))
        keys = [bundle[key] for key in ("server_key", "public_key", "secret_key")]
        return Client(bundle["endpoint"], keys=keys)

    def shim_pid(self, agent):
        return json.loads(self.sh(f"cat {STATE}/agents/{agent}/state.json"))["shim_pid"]

    def stop(self, grace_secs=45):
        """Stops the container as an engine does, and returns its exit code."""
        podman("stop", "--time", str(grace_secs), self.id)
        return self.exit_code()

    def kill(self):
        podman("kill", self.id)
        self.exit_code()

    def exit_code(self):
        """Waits for the container's end."""

        def ended():
            # `podman wait` would do, were it not for versions that take 20 s.
            state = podman("inspect", "--format", "{{.State.Running}} {{.State.ExitCode}}", self.id)
            return state.startswith("false ") and state

        return int(eventually(ended, "the end of the container", ENGINE_PATIENCE).split()[1])

    def remove(self):
        podman("rm", "--force", "--time", "0", self.id)
