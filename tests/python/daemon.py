"""One `descartes-server` process with a folder of its own."""

import json
import os
import random
import resource
import socket
import subprocess
from pathlib import Path

from waiting import PATIENCE, eventually

SERVER_ID = "server-under-test"

DEFAULT_BIN = Path(__file__).parent / "../../target/debug/descartes-server"

# Below the ports that the kernel gives to outgoing connections, so that none of those takes one
# while a server is between two runs.
PORTS = range(20_000, 32_000)
# Each of the processes that run tests side by side (pytest-xdist) has ports of its own.
_, _, worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").partition("gw")
PORTS = PORTS[int(worker) :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))]

BACKENDS = {
    "sh": {
        "command": "sh",
        "args": ["-c", "{task}"],
        "stdin": "pipe",
        "parser": "text",
    },
    "restricted": {
        "command": "sh",
        "args": ["-c", "{task}"],
        "client_env": ["ALLOWED_*"],
    },
    "missing": {"command": "descartes-no-such-program", "args": ["{task}"]},
}


class Daemon:
    """A server that can be started, killed and started again on the same folder and ports."""

    def __init__(self, folder, transport="tcp", **settings):
        self.folder = Path(folder)
        self.state_dir = Path(settings.get("state_dir", self.folder / "state"))
        if transport == "tcp":
            port = free_port()
            self.endpoint = f"tcp://127.0.0.1:{port}"
            self.pub_endpoint = f"tcp://127.0.0.1:{free_port(other_than=port)}"
        else:
            self.endpoint = f"ipc://{self.folder}/requests"
            self.pub_endpoint = f"ipc://{self.folder}/events"
        self.process = None
        self.notify = None
        self.has_served = False
        # Most files that the server may have open, if not as many as the tests.
        self.open_files = None
        (self.folder / "server.toml").write_text(to_toml(self._config(settings)))

    def _config(self, settings):
        config = {
            "endpoint": self.endpoint,
            "pub_endpoint": self.pub_endpoint,
            "server_id": SERVER_ID,
            "state_dir": str(self.state_dir),
            "request_timeout_secs": 10,
            "shutdown_timeout_secs": 3,
            "status_update_interval_secs": 1,
        }
        runner = {"working_dir": str(self.folder), "stop_grace_secs": 3}
        config["runner"] = runner | settings.pop("runner", {})
        config |= settings
        config |= {f"backends.{name}": backend for name, backend in BACKENDS.items()}
        return config

    def start(self):
        """Starts the server; returns when it serves."""
        self.begin()
        self.await_ready()
        return self

    def begin(self):
        """Starts the server, and does not wait for it."""
        if self.notify is not None:
            self.notify.close()
        notify_path = self.folder / "notify"
        notify_path.unlink(missing_ok=True)
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(notify_path))
        binary = Path(os.environ.get("DESCARTES_SERVER_BIN", DEFAULT_BIN)).resolve()
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [binary, "--config", self.folder / "server.toml"],
                cwd=self.folder,
                env=environment() | {"NOTIFY_SOCKET": str(notify_path)},
                preexec_fn=self._limit_open_files if self.open_files else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _limit_open_files(self):
        limit = (self.open_files, self.open_files)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)

    def await_ready(self, timeout=PATIENCE):
        """Waits until a server that was begun serves."""
        eventually(lambda: self.says_ready(0.05), "READY=1 from the server", timeout)
        self.has_served = True

    def says_ready(self, timeout):
        """Whether a server that was begun says within so many seconds that it serves: once."""
        self.notify.settimeout(timeout)
        try:
            return b"READY=1" in self.notify.recv(4096).split(b"\n")
        except (TimeoutError, BlockingIOError):
            assert self.process.poll() is None, f"the server did not start:\n{self.log()}"
            return False

    def kill(self):
        """Ends the server as a crash does."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self):
        """Ends the server as an operator does, and says with which exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def restart(self):
        """Crashes the server and starts it again."""
        self.kill()
        return self.start()

    def log(self):
        return (self.folder / "server.log").read_text(errors="replace")

    def proc(self, name):
        """What /proc has of the server."""
        return Path(f"/proc/{self.process.pid}") / name

    def rss_bytes(self):
        """Memory that the server holds."""
        return rss_bytes(self.process.pid)

    def peak_rss_bytes(self):
        """The most that it has held."""
        status = traces(self.process.pid, "status").decode()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    def record(self, agent, name):
        """What a file of an agent's folder says, such as `state.json`."""
        return json.loads((self.state_dir / "agents" / agent / name).read_text())

    def shim(self, agent):
        """Pid of an agent's shim."""
        return self.record(agent, "state.json")["shim_pid"]

    def template(self):
        """Pid of the process that the server forks shims from, once it has had an agent."""
        children = [pid for pid in pids() if parent_of(pid) == self.process.pid]
        assert len(children) == 1, children
        return children[0]

    def agent_processes(self):
        """Processes of this server's agents, by the mark in their environment."""
        agents = self.state_dir / "agents"
        ids = os.listdir(agents) if agents.exists() else []
        marks = {f"DESCARTES_AGENT_ID={id}".encode() for id in ids}
        return [pid for pid in pids() if not marks.isdisjoint(traces(pid, "environ").split(b"\0"))]

    def processes(self):
        """All processes that have anything to do with this server's folder, the server included."""
        marks = [str(self.folder).encode(), str(self.state_dir).encode()]

        def has_mark(pid):
            found = traces(pid, "environ") + traces(pid, "cmdline") + open_paths(pid)
            return any(mark in found for mark in marks)

        return [pid for pid in pids() if has_mark(pid)]


def environment():
    """This process's, without what would set a key of the server's configuration."""
    own = ("SERVER_ENDPOINT", "MAX_AGENTS")
    return {
        name: value
        for name, value in os.environ.items()
        if name not in own and not name.startswith("DESCARTES_")
    }


def pids():
    """All processes but this one."""
    found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in found if pid != os.getpid()]


def traces(pid, file):
    """What /proc says of a process; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/{file}").read_bytes()
    except OSError:
        return b""


def open_paths(pid):
    """Working directory and open files of a process, joined."""
    links = [f"/proc/{pid}/cwd"]
    try:
        links += [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        pass
    paths = []
    for link in links:
        try:
            paths.append(os.readlink(link))
        except OSError:
            pass
    return "\n".join(paths).encode()


def threads(pid):
    """The threads of a process, each to be asked about as if it were one; none where it has
    ended."""
    try:
        return [f"{pid}/task/{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return []


def stat(pid):
    """What /proc says of a process in numbers, from its state on; nothing where it has ended."""
    return traces(pid, "stat").rpartition(b")")[2].split()


def state(pid):
    """The letter of a process's state; none where it has ended."""
    return b"".join(stat(pid)[:1])


def parent_of(pid):
    """Pid of a process's parent; 0 where it has ended."""
    return int(b"".join(stat(pid)[1:2]) or 0)


def is_alive(pid):
    """Whether a process runs: one that has ended and was not reaped does not."""
    return state(pid) not in (b"", b"Z", b"X")


def rss_bytes(pid):
    """Memory that a process holds."""
    return int(traces(pid, "statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_port(other_than=None):
    while True:
        port = random.choice(PORTS)
        if port == other_than:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def to_toml(config):
    """Plain values first, then the tables. JSON's strings, numbers and lists are TOML's as well."""
    tables = {key: value for key, value in config.items() if isinstance(value, dict)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in config.items() if key not in tables]
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"
