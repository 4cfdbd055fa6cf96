"""What has to be true of each agent, and of the server's folder, when everything has ended."""

import os
import re
import signal
import zlib
from pathlib import Path

from killer.text import Text, echoes

LAST_WORDS = re.compile(rb" ends after (\d{8}) [0-9a-f]{8}\n$")

OF_AN_AGENT = {"lock", "spec.json", "state.json", "exit.json"}

ALSO_OF_AN_AGENT = {"summary.json", "stdout", "stderr"}

OF_THE_FOLDER = {"lock", "address.toml", "agents"}

# Through `removed` goes what is undone of a spawn that a kill cut short.
ALSO_OF_THE_FOLDER = {"spawns.journal", "removed"}


def check_agent(keeper, info, streams):
    """One agent, by its AgentInfo and all that it wrote. Returns how many bytes were checked."""
    check_end(keeper, info)
    by_itself = may_have_ended_by_itself(keeper.agent.task, info)
    for stream, data in streams.items():
        assert info["output"][f"{stream}_bytes"] == len(data), (stream, len(data), info["output"])
        check_pieces(keeper.seen.pieces, stream, data)
        check_stream(keeper, stream, data, by_itself)
    return sum(map(len, streams.values())) + sum(piece.length for piece in keeper.seen.pieces)


def check_pieces(pieces, stream, data):
    """Whatever any reader was given stands there still."""
    for piece in pieces:
        if piece.stream == stream:
            part = data[piece.offset : piece.offset + piece.length]
            assert len(part) == piece.length, f"{stream}: {piece} was read, and is gone"
            assert zlib.crc32(part) == piece.checksum, f"{stream}: {piece} was read otherwise"


def may_have_ended_by_itself(task, info):
    """Whether it came to its own end, or said its last words: then nothing of it may be missing."""
    if info.get("exit_code") is not None:
        return True
    return info["end_reason"] == "exited" and task["end"] == "signal"


def check_stream(keeper, stream, data, is_whole):
    task, agent = keeper.agent.task, keeper.agent
    if stream == "stderr" or task["kind"] == "writes":
        check_text(Text(task["seed"], stream), stream, data, is_whole)
    elif task["kind"] == "echoes":
        taken = agent.stdin[0][: keeper.seen.taken[0]] if is_whole else agent.stdin[0]
        check_part(stream, data, echoes(taken), is_whole)
    else:
        for writer, written in enumerate(agent.stdin):
            others = bytes(byte for byte in range(256) if byte >> 7 != writer)
            taken = written[: keeper.seen.taken[writer]] if is_whole else written
            data_of_it = data.translate(None, others)
            check_part(f"{stream} of writer {writer}", data_of_it, taken, is_whole)


def check_text(text, stream, data, is_whole):
    """The agent says at its end how many lines it wrote; without its last words it is a prefix."""
    last_words = LAST_WORDS.search(data[-64:])
    if is_whole or last_words:
        assert last_words, f"{stream} has no end, but {data[-100:]}"
        check_part(stream, data, text.whole(int(last_words[1])), is_whole=True)
    else:
        check_part(stream, data, text.prefix(len(data)), is_whole=False)


def check_part(stream, data, expected, is_whole):
    if data == expected or (not is_whole and expected.startswith(data)):
        return
    at = len(os.path.commonprefix([data, expected]))
    near = slice(max(0, at - 60), at + 60)
    raise AssertionError(
        f"{stream} has {len(data)} bytes, should have {len(expected)}, and differs at {at}: "
        f"{data[near]} where {expected[near]} should be"
    )


def check_end(keeper, info):
    end = tuple(info.get(key) for key in ("status", "end_reason", "exit_code", "exit_signal"))
    allowed = possible_ends(keeper.agent)
    assert end in allowed, f"ended as {end}, which is none of {allowed}"
    assert info["id"] == keeper.seen.id and info["pid"] == keeper.seen.pid
    if keeper.seen.end is not None:
        said = keeper.seen.end
        assert end[1:] == (said["end_reason"], said["exit_code"], said["exit_signal"]), said
        if end[1] == "stopped":
            assert said["forced"] == (end[3] == signal.SIGKILL), said


def possible_ends(agent):
    """Status, reason, code and signal."""
    task = agent.task
    by_itself = {"code": [(task["code"], None)], "signal": [(None, task["signal"])], "never": []}
    obeying = {
        "die": (None, signal.SIGTERM),
        "ignore": (None, signal.SIGKILL),
        "last_words": (task["code"], None),
    }
    own = by_itself[task["end"]]
    ends = {("completed" if how == (0, None) else "failed", "exited", *how) for how in own}
    # One that is told to end may just come to its own end.
    told = [*own, obeying[task["on_term"]]]
    if agent.fate in ("stop", "cut"):
        ends |= {("terminated", "stopped", *how) for how in told}
    if agent.fate in ("kill", "cut"):
        ends |= {("terminated", "killed", *how) for how in [*own, (None, signal.SIGKILL)]}
    if agent.fate == "cut":
        ends |= {("terminated", "killed", *how) for how in told}
    return ends


def strangers(state_dir, ids):
    """What is there beside the agents' own files, or is not there of them."""
    agents = Path(state_dir) / "agents"
    found = differences(state_dir, OF_THE_FOLDER, ALSO_OF_THE_FOLDER)
    found += differences(agents, set(ids), set())
    found += (Path(state_dir) / "removed").glob("*")
    for id in ids:
        found += differences(agents / id, OF_AN_AGENT, ALSO_OF_AN_AGENT)
        for stream in ("stdout", "stderr"):
            files = files_of(state_dir, id, stream)
            found += [path for path in files if not path.name.removesuffix(".times").isdigit()]
    return found


def differences(folder, names, more):
    found = set(os.listdir(folder)) - more
    return [Path(folder) / name for name in found ^ names]


def on_disk(state_dir, id, stream):
    """A stream as its segments hold it."""
    files = files_of(state_dir, id, stream)
    segments = sorted((int(path.name), path) for path in files if path.name.isdigit())
    return b"".join(path.read_bytes() for _, path in segments)


def files_of(state_dir, id, stream):
    """All that is kept of a stream, which has a folder from its first byte on."""
    folder = Path(state_dir) / "agents" / id / stream
    return list(folder.iterdir()) if folder.exists() else []


def descriptors(pid):
    """What a process has open, without what tells one socket from another."""
    names = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{fd}").partition(":[")[0])
        except OSError:
            pass
    return sorted(Path(name).name for name in names)
