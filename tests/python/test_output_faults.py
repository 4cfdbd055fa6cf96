"""Output that nobody reads, that the disk does not take, or that somebody deletes."""

import json
import os
import resource
import shutil
import signal
import subprocess

import cli
import pytest
from conftest import ECHO
from daemon import rss_bytes, state
from waiting import eventually

MEBIBYTE = 1024 * 1024
BLOCK = 65536

# Writes blocks that tell their number, as many as each line of stdin says; ends with code 7.
# No byte is a newline.
WRITER = f"""
import os, sys
number = 0
for line in sys.stdin:
    if line == "end\\n":
        sys.exit(7)
    for _ in range(int(line)):
        os.write(1, b"%016x" % number * {BLOCK // 16})
        number += 1
"""

# Long enough for gigabytes on a busy machine.
FLOOD_PATIENCE = 300.0


def expected(offset, length):
    """What the writer writes there."""
    first, last = offset // BLOCK, (offset + length) // BLOCK
    blocks = b"".join(b"%016x" % number * (BLOCK // 16) for number in range(first, last + 1))
    return blocks[offset - first * BLOCK :][:length]


class Writer:
    """An agent that writes blocks when it is told to."""

    def __init__(self, server, client, **fields):
        script = server.folder / "writer.py"
        script.write_text(WRITER)
        self.client = client
        self.id = client.spawn(f"exec python3 {script}", **fields)["id"]
        self.folder = server.state_dir / "agents" / self.id
        self.shim = server.shim(self.id)
        self.blocks = 0

    def tell(self, blocks):
        """Has it write so many blocks more."""
        self.client.done(self.id, "write_stdin", data=f"{blocks}\n")
        self.blocks += blocks

    def has_written(self):
        """Its sizes, once it has written all that it was told to and the server knows."""
        total = self.blocks * BLOCK

        def told():
            output = self.sizes()
            return output if output["stdout_bytes"] == total else None

        return eventually(told, f"{total} bytes of output", timeout=60)

    def write(self, blocks):
        self.tell(blocks)
        return self.has_written()

    def end(self):
        self.client.done(self.id, "write_stdin", data="end\n")
        return self.client.ended(self.id)

    def sizes(self):
        return self.client.info(self.id)["output"]

    def segments(self):
        return sorted(file for file in (self.folder / "stdout").iterdir() if file.name.isdigit())

    def bytes_on_disk(self):
        """Lengths of all files of stdout, at one moment."""
        os.kill(self.shim, signal.SIGSTOP)
        try:
            eventually(lambda: state(self.shim) == b"T", "the shim standing still")
            output = self.folder / "stdout"
            return sum(file.stat().st_size for file in output.iterdir()) if output.exists() else 0
        finally:
            os.kill(self.shim, signal.SIGCONT)

    def check(self, up_to):
        """Reads everything; returns how many bytes are kept and where gaps begin and end."""
        offset, kept, gaps = 0, 0, []
        while offset < up_to:
            chunk = self.client.done(self.id, "read_stdout", offset=offset, max_bytes=MEBIBYTE)
            if chunk["offset"] > offset:
                gaps.append((offset, chunk["offset"]))
            elif not chunk["data"]:
                gaps.append((offset, up_to))
                break
            assert chunk["data"] == expected(chunk["offset"], len(chunk["data"]))
            kept += len(chunk["data"])
            offset = chunk["next_offset"]
        return kept, gaps


def warnings_of_loss(server):
    return server.log().count("output is being lost")


def test_five_gigabytes_that_nobody_reads_cost_neither_memory_nor_disk(server, client):
    limit = 16 * MEBIBYTE
    writer = Writer(server, client, limits={"output_bytes": limit})
    # All that is touched by writing was touched once.
    writer.write(2 * limit // BLOCK)
    before = server.rss_bytes(), rss_bytes(writer.shim)
    total_blocks = 5_000_000_000 // BLOCK
    writer.tell(total_blocks)
    samples = []

    def is_done():
        samples.append(writer.bytes_on_disk())
        assert server.rss_bytes() - before[0] < 16 * MEBIBYTE
        assert rss_bytes(writer.shim) - before[1] < 16 * MEBIBYTE
        return writer.sizes()["stdout_bytes"] == writer.blocks * BLOCK

    eventually(is_done, "five gigabytes", timeout=FLOOD_PATIENCE)
    assert len(samples) >= 5 and max(samples) <= limit
    assert min(samples) > limit // 2
    info = writer.end()
    total = writer.blocks * BLOCK
    assert info["output"] == {"stdout_bytes": total, "stderr_bytes": 0}
    first = client.done(writer.id, "read_stdout", offset=0, max_bytes=1)["first_offset"]
    assert first == int(writer.segments()[0].name)
    assert limit * 3 // 4 < total - first <= limit
    assert writer.check(total) == (total - first, [(0, first)])


def test_an_agent_on_a_full_disk_goes_on_and_all_that_is_lost_is_told(
    small_disk, launch, connect
):
    server = launch(state_dir=str(small_disk.path))
    client = connect(server)
    bystander = client.spawn_ready(ECHO)
    writer = Writer(server, client, name="writer")
    follower = follow(server, writer.id)
    writer.write(20)
    small_disk.fill()

    lost = writer.write(100)["stdout_lost_bytes"]
    assert 99 * BLOCK < lost <= 100 * BLOCK
    assert len(writer.segments()) <= 2, "a full disk gathers files"
    shown = cli.run(server, "show", writer.id)
    assert f"lost      {lost} bytes, 0 on stderr" in shown.stdout
    assert cli.objects(server, "show", writer.id)[0]["output"]["stdout_lost_bytes"] == lost
    refused = client.try_spawn("true")
    assert (refused["success"], refused["error_code"]) == (False, "spawn_failed")
    assert "No space left on device" in refused["error"]
    client.health()
    assert {info["id"] for info in client.list()["agents"]} == {bystander, writer.id}
    client.done(bystander, "pause")
    client.done(bystander, "resume")
    client.done(bystander, "stop")

    small_disk.make_room()
    assert writer.write(20)["stdout_lost_bytes"] == lost
    total = writer.blocks * BLOCK
    kept, gaps = writer.check(total)
    assert (kept, [end - begin for begin, end in gaps]) == (total - lost, [lost])
    client.ended(client.spawn("true")["id"])
    assert warnings_of_loss(server) == 1

    small_disk.fill()
    lost = writer.write(30)["stdout_lost_bytes"]
    info = writer.end()
    assert (info["status"], info["exit_code"]) == ("failed", 7)
    recorded = server.record(writer.id, "exit.json")
    assert (recorded["exit_code"], recorded["stdout"]["lost"]) == (7, lost)
    assert info["output"]["stdout_lost_bytes"] == lost
    total = writer.blocks * BLOCK
    assert recorded["stdout"]["kept"] == writer.check(total)[0] == total - lost
    stdout, stderr = follower.communicate(timeout=60)
    assert len(stdout) == total - lost
    assert stderr.decode().count("bytes of stdout are gone") == 2
    assert warnings_of_loss(server) == 1

    small_disk.make_room()
    server.restart()
    assert client.info(writer.id)["output"] == info["output"]
    assert client.info(writer.id)["exit_code"] == 7


def follow(server, id):
    """`descartes logs -f`, on its way."""
    return subprocess.Popen(
        [cli.binary(), "--server", server.endpoint, "logs", "--follow", "--render=never", id],
        env=cli.private_environment(server),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_disk_that_was_full_at_the_start_of_output_is_used_as_soon_as_there_is_room(
    small_disk, launch, connect
):
    server = launch(state_dir=str(small_disk.path))
    client = connect(server)
    writer = Writer(server, client)
    small_disk.fill()
    assert writer.write(50)["stdout_lost_bytes"] == 50 * BLOCK
    # Room for some of what comes next.
    small_disk.make_room()
    small_disk.fill()
    with open(small_disk.ballast, "r+b") as ballast:
        ballast.truncate(ballast.seek(0, os.SEEK_END) - 10 * BLOCK)
    writer.write(50)
    small_disk.make_room()
    lost = writer.write(50)["stdout_lost_bytes"]
    total = writer.blocks * BLOCK
    kept, gaps = writer.check(total)
    assert kept == total - lost
    assert sum(end - begin for begin, end in gaps) == lost
    assert gaps[0] == (0, 50 * BLOCK) and gaps[-1][1] == 100 * BLOCK
    # All the room that there was has been used.
    assert 89 * BLOCK <= lost <= 91 * BLOCK


def test_what_an_agent_says_after_a_gap_is_understood(small_disk, launch, connect):
    # Half a line is kept, the rest of it is lost, and the last word follows.
    backend = {"command": "sh", "args": ["-c", "{task}"], "stdin": "pipe", "parser": "claude"}
    result = json.dumps({"type": "result", "is_error": False, "result": "all done"})
    script = small_disk.path / "script.sh"
    script.write_text(
        f"""printf '{{"type":"assistant", '
        read -r line; head -c {BLOCK} /dev/zero; echo '}}'
        read -r line; echo '{result}'; read -r line
        """
    )
    server = launch(state_dir=str(small_disk.path), **{"backends.told": backend})
    client = connect(server)
    agent = client.spawn(f". {script}", model_backend="told")["id"]
    client.read_until(agent, b"assistant")
    small_disk.fill()
    client.done(agent, "write_stdin", data="lose it\n")
    total = len('{"type":"assistant", ') + BLOCK + len("}\n")
    eventually(lambda: client.info(agent)["output"]["stdout_bytes"] == total, "all of it")
    assert client.info(agent)["output"]["stdout_lost_bytes"] > BLOCK // 2
    small_disk.make_room()
    client.done(agent, "write_stdin", data="go on\n")
    eventually(lambda: "result" in client.info(agent), "the last word")
    client.done(agent, "write_stdin", data="end\n")
    info = client.ended(agent)
    assert (info["status"], info["result"]["text"]) == ("completed", "all done")


def test_a_limit_on_the_length_of_files_costs_neither_output_nor_an_agent(server, client):
    # As with a service manager's LimitFSIZE=: who writes beyond it gets a signal that ends
    # processes.
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (MEBIBYTE, limits[1]))
    writer = Writer(server, client)
    writer.write(64)
    assert writer.check(64 * BLOCK) == (64 * BLOCK, [])
    info = writer.end()
    assert info["exit_code"] == 7
    assert info["output"] == {"stdout_bytes": 64 * BLOCK, "stderr_bytes": 0}


def test_output_whose_folder_is_deleted_goes_on_in_another(server, client):
    writer = Writer(server, client)
    writer.write(40)
    shutil.rmtree(writer.folder / "stdout")
    chunk = client.done(writer.id, "read_stdout", offset=0)
    assert (chunk["data"], chunk["eof"]) == (b"", False)
    sizes = writer.write(10)
    assert sizes["stdout_lost_bytes"] == 40 * BLOCK
    assert writer.check(50 * BLOCK) == (10 * BLOCK, [(0, 40 * BLOCK)])
    assert warnings_of_loss(server) == 1
    # Also after the last byte, and before the end.
    shutil.rmtree(writer.folder / "stdout")
    info = writer.end()
    assert info["exit_code"] == 7
    assert info["output"]["stdout_lost_bytes"] == 50 * BLOCK
    assert writer.check(50 * BLOCK) == (0, [(0, 50 * BLOCK)])


@pytest.mark.parametrize("damage", ["deleted", "emptied"])
@pytest.mark.parametrize("which", [1, -1])
def test_a_segment_that_is_gone_is_a_gap_and_nothing_else(server, client, which, damage):
    limit = 2 * MEBIBYTE
    writer = Writer(server, client, limits={"output_bytes": limit})
    writer.write(16)
    segment = writer.segments()[which]
    gap = int(segment.name), int(segment.name) + segment.stat().st_size
    if damage == "deleted":
        segment.unlink()
    else:
        os.truncate(segment, 0)
    sizes = writer.write(8)
    assert sizes["stdout_lost_bytes"] == gap[1] - gap[0]
    total = writer.blocks * BLOCK
    assert writer.check(total) == (total - (gap[1] - gap[0]), [gap])
    assert writer.bytes_on_disk() <= limit


@pytest.mark.parametrize("then", ["", "; read -r line"], ids=["ended", "running"])
def test_the_last_lines_are_those_before_what_a_full_disk_has_lost(
    small_disk, launch, connect, then
):
    server = launch(state_dir=str(small_disk.path))
    client = connect(server)
    # Long lines, so that few have to be looked through.
    agent = client.spawn(f"seq -f %0999.0f 22000{then}")["id"]
    written = 22_000 * 1000
    eventually(
        lambda: client.info(agent)["output"]["stdout_bytes"] == written, "all of the output", 60
    )
    output = client.info(agent)["output"]
    assert output["stdout_lost_bytes"] > 4 * MEBIBYTE
    assert client.done(agent, "read_stdout", offset=written - 1)["offset"] == written
    whole = cli.run(server, "logs", agent)
    last = whole.stdout.splitlines()[-2:]
    assert all(last) and "bytes of stdout are gone" in whole.stderr
    for how in (["--tail", "2"], ["--tail", "2", "--since", "1h"]):
        found = cli.run(server, "logs", agent, *how)
        assert found.stdout.splitlines() == last, how
        assert found.stderr == whole.stderr
    assert client.done(agent, "query_output", tail=True, max_lines=2)["stdout"] == last
