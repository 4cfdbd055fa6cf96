"""The command line in a terminal, and against servers in trouble."""

import os
import signal
import termios

import cli
from cli import Terminal
from waiting import eventually

CLOCK = "while :; do echo tick; sleep 0.05; done"


def spawn(server, task, name):
    done = cli.run(server, "spawn", "sh", task, "--name", name)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def follow_clock(server):
    """A terminal beside an agent that is seen to tick."""
    terminal = Terminal(server, "spawn", "sh", CLOCK, "--name", "clock", "--follow")
    terminal.shows(b"tick")
    return terminal


def ask_about(terminal):
    """Ctrl-C, and the question that it brings."""
    terminal.type(b"\x03")
    terminal.shows(b"[s]top it, [l]eave it running, or [c]ontinue (then Enter)?")


def status(server, name):
    [agent] = cli.objects(server, "show", name)
    return agent["status"]


def test_ctrl_c_asks_and_leaves_the_agent_running(server):
    terminal = follow_clock(server)
    ask_about(terminal)
    terminal.type(b"c\n")
    terminal.shows(b"tick")
    ask_about(terminal)
    terminal.type(b"l\n")
    terminal.shows(b"runs on")
    assert terminal.ends() == 0
    assert status(server, "clock") == "running"


def test_ctrl_c_asks_and_stops_the_agent(server):
    terminal = follow_clock(server)
    ask_about(terminal)
    terminal.type(b"s\n")
    assert terminal.ends() == 128 + signal.SIGTERM
    assert status(server, "clock") == "terminated"


def test_a_second_ctrl_c_is_no_answer_and_leaves_the_agent(server):
    terminal = follow_clock(server)
    ask_about(terminal)
    terminal.type(b"\x03")
    assert terminal.ends() == 130
    assert status(server, "clock") == "running"


def test_a_prompt_appears_before_its_line_ends(server):
    ask = 'printf "name? "; read -r name; echo "hi $name"'
    terminal = Terminal(server, "spawn", "sh", ask, "--stdin", "--follow")
    terminal.shows(b"name? ")
    terminal.type(b"bob\n")
    terminal.shows(b"hi bob")
    assert terminal.ends() == 0


def test_the_key_that_detaches_is_there_after_a_stop(server):
    spawn(server, 'while read -r line; do echo "got $line"; done', "echo")
    terminal = Terminal(server, "attach", "echo")
    terminal.shows(b"Ctrl-] detaches")
    os.kill(terminal.pid, signal.SIGSTOP)
    attributes = termios.tcgetattr(terminal.fd)
    attributes[6][termios.VQUIT] = b"\x1c"
    termios.tcsetattr(terminal.fd, termios.TCSANOW, attributes)
    os.kill(terminal.pid, signal.SIGCONT)
    eventually(
        lambda: termios.tcgetattr(terminal.fd)[6][termios.VQUIT] == b"\x1d",
        "the key on the terminal",
    )
    terminal.type(b"\x1d")
    terminal.shows(b"runs on")
    eventually(
        lambda: termios.tcgetattr(terminal.fd)[6][termios.VQUIT] == b"\x1c",
        "the terminal as it was",
    )
    assert terminal.ends() == 0


def test_a_terminal_that_goes_away_ends_no_agents_input(server):
    spawn(server, "cat; echo ended", "reader")
    terminal = Terminal(server, "attach", "reader")
    terminal.shows(b"Ctrl-] detaches")
    os.close(terminal.fd)
    os.waitpid(terminal.pid, 0)
    assert status(server, "reader") == "running"


def test_an_answer_about_an_agent_that_has_ended_is_no_lie(server):
    terminal = Terminal(server, "spawn", "sh", "echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 3",
                        "--name", "short", "--follow")
    terminal.shows(b"ready")
    ask_about(terminal)
    (server.folder / "go").touch()
    eventually(lambda: status(server, "short") == "failed", "the agent's end")
    terminal.type(b"l\n")
    assert terminal.ends() == 3


def test_what_was_typed_before_is_no_answer(server):
    terminal = follow_clock(server)
    ask_about(terminal)
    terminal.type(b"c\n")
    terminal.shows(b"tick")
    terminal.type(b"stop\n")
    terminal.shows(b"stop")
    terminal.shows(b"tick")
    ask_about(terminal)
    terminal.type(b"so what\n")
    terminal.shows(b"[c]ontinue (then Enter)?")
    terminal.type(b"leave\n")
    assert terminal.ends() == 0
    assert status(server, "clock") == "running"


def test_a_server_that_is_away_keeps_nobody(launch):
    server = launch()
    terminal = follow_clock(server)
    server.kill()
    terminal.shows(b"lost the server")
    ask_about(terminal)
    terminal.type(b"s\n")
    # Signals that come together are one signal: each has to be seen to count.
    terminal.shows(b"stopping the agent")
    terminal.type(b"\x03")
    terminal.shows(b"killing the agent")
    terminal.type(b"\x03")
    assert terminal.ends() == 130
    server.start()
    assert status(server, "clock") == "running"


def test_a_reader_that_stands_still_does_not_hold_the_command_against_sigterm(server):
    id = spawn(server, "yes", "flood")
    read, write = os.pipe()
    command = [cli.binary(), "--server", server.endpoint, "attach", id, "--from-start"]
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb") as writer:
        attached = cli.subprocess.Popen(command, stdin=cli.subprocess.DEVNULL, stdout=writer)
        # Not always "y": what is kept of a flood may begin within a line.
        assert reader.read(1)
        attached.terminate()
        assert attached.wait(cli.LONG) == 130
    assert status(server, "flood") == "running"


def test_attach_sends_what_is_typed_and_detaches(server):
    spawn(server, 'while read -r line; do echo "got $line"; done', "echo")
    terminal = Terminal(server, "attach", "echo")
    terminal.shows(b"Ctrl-] detaches")
    terminal.type(b"hello\n")
    terminal.shows(b"got hello")
    terminal.type(b"\x1d")
    terminal.shows(b"runs on")
    assert terminal.ends() == 0
    assert status(server, "echo") == "running"
    terminal = Terminal(server, "attach", "echo")
    terminal.shows(b"Ctrl-] detaches")
    terminal.type(b"\x04")
    assert terminal.ends() == 0
    assert status(server, "echo") == "completed"


def test_all_is_asked_for_on_a_terminal(server):
    spawn(server, CLOCK, "one")
    spawn(server, CLOCK, "two")
    terminal = Terminal(server, "stop", "--all")
    terminal.shows(b"stop 2 agents? [y/n]")
    terminal.type(b"n\n")
    terminal.shows(b"nothing was done")
    assert terminal.ends() == 1
    terminal = Terminal(server, "stop", "--all")
    terminal.shows(b"stop 2 agents? [y/n]")
    terminal.type(b"y\n")
    assert terminal.ends() == 0
    assert status(server, "one") == status(server, "two") == "terminated"


def test_a_list_that_is_watched_follows_what_happens(server):
    terminal = Terminal(server, "ls", "--watch")
    terminal.shows(b"0 agents")
    spawn(server, CLOCK, "newcomer")
    terminal.shows(b"newcomer")
    terminal.shows(b"1 agent;")
    os.kill(terminal.pid, signal.SIGINT)
    assert terminal.ends() == -signal.SIGINT


def test_a_follower_says_that_the_server_is_away_and_when_it_is_back(launch):
    server = launch()
    terminal = follow_clock(server)
    server.kill()
    terminal.shows(b"lost the server")
    server.start()
    terminal.shows(b"the server is back")
    terminal.shows(b"tick")
    cli.run(server, "kill", "clock")
    assert terminal.ends() == 128 + signal.SIGKILL


def test_waiting_outlasts_a_restart(launch):
    server = launch()
    spawn(server, "while [ ! -e go ]; do sleep 0.05; done; exit 6", "waiter")
    terminal = Terminal(server, "wait", "waiter")
    terminal.shows(b"waiting for 1 agent")
    server.restart()
    (server.folder / "go").touch()
    terminal.shows(b"waiter failed (exit code 6)")
    assert terminal.ends() == 6


def test_a_pipe_that_nobody_reads_ends_the_command(server):
    id = spawn(server, "seq 1 200000", "flood")
    eventually(lambda: status(server, "flood") == "completed", "the end of the flood")
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as nobody:
        command = [cli.binary(), "--server", server.endpoint, "logs", id]
        ended = cli.subprocess.run(
            command, stdout=nobody, stderr=cli.subprocess.PIPE, timeout=cli.LONG
        )
    assert (ended.returncode, ended.stderr) == (141, b"")
