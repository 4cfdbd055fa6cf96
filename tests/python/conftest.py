"""Fixtures: a server of its own for each test, clients of it, and an agent that must not suffer."""

import contextlib
import os
import random
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

import agents
import disks
from client import Client
from daemon import Daemon
from model_api import ModelApi
from waiting import eventually

# What the chance of a run is drawn from: each repeats the run's choices.
SEEDS = ["DESCARTES_KILLER_SEED", "DESCARTES_DROPS_SEED"]

ECHO = 'echo ready; while read -r line; do echo "got $line"; done'


def pytest_configure():
    # Before there are other processes that run tests: they all get the same.
    for seed in SEEDS:
        os.environ.setdefault(seed, str(random.SystemRandom().randint(1, 2**32)))


def pytest_report_header():
    return [f"{seed}={os.environ[seed]}" for seed in SEEDS]


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        for name, said in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.nodeid}: {said}")


@pytest.fixture(scope="session", autouse=True)
def descriptors():
    """As many descriptors as the host allows, for the tests with thousands of connections."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.fixture
def state_dir():
    """A folder for a server's state. To be asked for before `launch`, for it has to last longer."""
    with tempfile.TemporaryDirectory(prefix="descartes-") as folder:
        yield Path(folder)


@pytest.fixture
def small_disk(state_dir):
    """A disk of 16 MiB for a server's state. To be asked for before `launch` as well."""
    with disks.tmpfs(state_dir, "16m") as disk:
        yield disk


@pytest.fixture
def launch():
    """Starts servers with settings. At the end each has to stop cleanly and leave nothing."""
    servers = []

    def start(open_files=None, **settings):
        # Not pytest's own folder: the path of a Unix socket is short.
        server = Daemon(tempfile.mkdtemp(prefix="descartes-"), **settings)
        server.open_files = open_files
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        try:
            leave(server)
        finally:
            print(server.log())
            shutil.rmtree(server.folder, ignore_errors=True)


def leave(server):
    try:
        if server.has_served:
            assert server.process.poll() is None, "the server ended before its test did"
            assert server.stop() == 0
            assert server.agent_processes() == []
            # A shim outlives its agent by the time that it needs to exit itself.
            eventually(lambda: not server.processes(), "the end of all shims", timeout=3)
    finally:
        if server.process is not None:
            server.process.kill()
        # Where a test failed while its server was away, its agents go on, as they should.
        for pid in server.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def server(launch):
    """A server with default settings."""
    return launch()


@pytest.fixture
def connect():
    """Makes clients, which are closed at the end."""
    clients = []

    def make(server, shape="dealer", keys=None):
        clients.append(Client(server.endpoint, shape, keys))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(server, connect):
    """A client of `server`."""
    return connect(server)


@pytest.fixture(params=agents.NAMES)
def real_agent(request, tmp_path):
    """Each real agent in turn, with the model's API that it talks to, which runs meanwhile."""
    program = agents.program(request.param)
    if not program.exists():
        pytest.skip(f"there is no {program}; with npm installed, scripts/tools puts it there")
    with ModelApi() as api:
        yield agents.Agent(request.param, api, tmp_path)


@pytest.fixture
def unharmed(server, connect):
    """At the end of the test, the server answers, and so does an agent from before it."""
    witness = connect(server)
    bystander = witness.spawn_ready(ECHO, name="bystander")
    yield
    witness.health()
    witness.done(bystander, "write_stdin", data="are you there\n")
    output = witness.read_until(bystander, b"got are you there\n")
    assert output == b"ready\ngot are you there\n"
