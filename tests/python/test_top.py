"""`descartes top`, in a terminal."""

import itertools
import os
import signal
import termios
from pathlib import Path

import pytest
from cli import PATIENCE, Terminal, run
from daemon import is_alive, state
from waiting import eventually

SIZE = (24, 80)

CTRL_C, CTRL_L, CTRL_Z = b"\x03", b"\x0c", b"\x1a"
ESCAPE = b"\x1b"
LEFT = b"\x1b[?1049l"

# Of x86-64, and of all newer kinds of processors.
WRITE_CALLS = ("1", "64")

# Blanks are not drawn where the screen has them already.
TALK = "echo first; echo on-the-way; while read -r line; do echo got-$line; done"


@pytest.fixture
def top(server):
    terminals = []

    def start(*arguments):
        terminals.append(Terminal(server, "top", *arguments, size=SIZE))
        return terminals[-1]

    yield start
    for terminal in terminals:
        if terminal.is_running():
            os.kill(terminal.pid, signal.SIGKILL)
            terminal.ends()


def status(client, agent):
    return client.info(agent)["status"]


def test_keys_do_to_an_agent_what_they_say(client, top):
    agent = client.spawn(TALK, name="talker")["id"]
    screen = top()
    screen.shows(b"talker")
    screen.shows(b"on-the-way")
    screen.type(b"p")
    eventually(lambda: status(client, agent) == "paused", "the pause")
    screen.type(b"r")
    eventually(lambda: status(client, agent) == "running", "that it goes on")
    screen.type(b"s")
    screen.shows(b"[y/n]")
    screen.type(b"n")
    screen.shows(b"nothing")
    assert status(client, agent) == "running"
    screen.type(b"ky")
    eventually(lambda: client.info(agent).get("end_reason") == "killed", "the end")
    screen.shows(b"runs;")
    screen.type(b"q")
    assert screen.ends() == 0


def test_the_output_of_an_agent_is_followed(client, top):
    agent = client.spawn(TALK, name="talker")["id"]
    screen = top()
    screen.shows(b"talker")
    screen.type(b"l")
    screen.shows(b"first")
    client.done(agent, "write_stdin", data="one\n")
    screen.shows(b"got-one")
    client.done(agent, "close_stdin")
    screen.shows(b"ended]")
    screen.type(ESCAPE)
    screen.shows(b"LAST")
    screen.type(b"q")
    assert screen.ends() == 0


def test_a_filter_and_what_has_ended(client, top):
    for name in ("apple", "pear"):
        client.spawn(TALK, name=name)
    ended = client.spawn("echo bye", name="plum")["id"]
    client.ended(ended)
    screen = top("--filter", "pear")
    screen.shows(b"pear")
    assert b"apple" not in screen.screen
    screen.type(ESCAPE)
    screen.shows(b"apple")
    screen.type(b"a")
    screen.shows(b"plum")
    screen.shows(b"bye")
    screen.type(b"q")
    assert screen.ends() == 0


def test_it_goes_on_with_the_next_server(server, client, top):
    client.spawn(TALK, name="talker")
    screen = top()
    screen.shows(b"talker")
    screen.type(b"l")
    screen.shows(b"first")
    server.kill()
    screen.shows(b"connection,")
    server.start()
    agent = client.list()["agents"][0]["id"]
    client.done(agent, "write_stdin", data="after\n")
    screen.shows(b"got-after")
    screen.type(ESCAPE)
    screen.shows(b"talker")
    screen.type(CTRL_C)
    assert screen.ends() == 130


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it_again(client, top):
    client.spawn(TALK, name="talker")
    screen = top()
    screen.shows(b"talker")
    screen.type(CTRL_Z)
    # Nobody can let the leader of a session go on, and so the system does not stop it.
    screen.shows(LEFT)
    screen.shows(b"talker")
    os.kill(screen.pid, signal.SIGSTOP)
    eventually(lambda: state(screen.pid) == b"T", "that it stands still")
    os.kill(screen.pid, signal.SIGCONT)
    screen.shows(b"talker")
    screen.type(CTRL_L)
    screen.shows(b"talker")
    screen.type(b"q")
    assert screen.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_ends_it_and_the_terminal_is_as_it_was(client, top, number):
    agent = client.spawn(TALK, name="talker")["id"]
    screen = top()
    screen.shows(b"talker")
    os.kill(screen.pid, number)
    screen.shows(LEFT)
    assert screen.ends() == 130
    assert status(client, agent) == "running"


def test_a_terminal_that_nobody_reads_is_not_left_raw(client, top):
    client.spawn(TALK, name="talker")
    screen = top()
    screen.shows(b"talker")
    assert not is_cooked(screen.fd)
    sizes = itertools.cycle([(60, 200), SIZE])

    def is_stuck():
        if is_writing(screen.pid):
            return True
        termios.tcsetwinsize(screen.fd, next(sizes))
        os.kill(screen.pid, signal.SIGWINCH)
        return False

    eventually(is_stuck, "that nothing more is drawn", PATIENCE)
    os.kill(screen.pid, signal.SIGTERM)
    eventually(lambda: not is_alive(screen.pid), "the end", PATIENCE)
    assert is_cooked(screen.fd)
    assert screen.ends() == 130


def is_cooked(terminal):
    """Whether it works on lines, and shows what is typed."""
    flags = termios.tcgetattr(terminal)[3]
    return flags & termios.ICANON != 0 and flags & termios.ECHO != 0


def is_writing(pid):
    """Whether the main thread waits for somebody to read what it writes to its standard output."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    return call[0] in WRITE_CALLS and int(call[1], 16) == 1


@pytest.mark.parametrize("arguments", [["top"], ["top", "--json"]])
def test_programs_are_told_what_there_is_for_them(server, arguments):
    done = run(server, *arguments)
    assert done.returncode == 2
    assert "needs a terminal" in done.stderr and "--json" in done.stderr
