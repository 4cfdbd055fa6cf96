"""What an agent of a known kind says of itself, and what becomes of that in accidents."""

import json
import shutil

import pytest

from client import sequence_of
from waiting import eventually

# Speaks as claude does.
TALKER = {
    "backends.talker": {
        "command": "sh",
        "args": ["-c", "{task}"],
        "stdin": "pipe",
        "parser": "claude",
    }
}
DONE = json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": "done"})


@pytest.fixture
def server(launch):
    return launch(**TALKER)


class Mute:
    """An agent that says its last word and ends, and whose output nobody can read."""

    def __init__(self, server, client):
        task = f"echo ready; read -r line; echo '{DONE}'"
        self.id = client.spawn_ready(task, model_backend="talker")
        folder = server.state_dir / "agents" / self.id
        self.end, self.stdout = folder / "exit.json", folder / "stdout"
        self.elsewhere, self.link = folder / "elsewhere", folder / "link"
        self.stdout.rename(self.elsewhere)
        self.stdout.symlink_to(self.stdout)
        client.done(self.id, "write_stdin", data="go\n")

    def is_heard_again(self):
        self.link.symlink_to(self.elsewhere)
        # At no moment is there nothing.
        self.link.rename(self.stdout)


def test_an_end_that_cannot_be_read_yet_is_told_when_it_can(server, client):
    agent = Mute(server, client)
    eventually(agent.end.exists, "the end on the disk")
    agent.is_heard_again()
    info = client.ended(agent.id)
    assert (info["status"], info["result"]["text"]) == ("completed", "done")


def test_an_end_that_could_not_be_read_is_read_by_the_next_server(server, client):
    agent = Mute(server, client)
    info = client.ended_within(agent.id, 60)
    assert (info["status"], info.get("result")) == ("completed", None)
    agent.is_heard_again()
    server.restart()
    info = client.info(agent.id)
    assert (info["status"], info["result"]["text"]) == ("completed", "done")


@pytest.mark.parametrize("damage", ["cut", "a folder"])
def test_an_agent_whose_end_is_not_to_be_read_is_lost_whatever_it_said(server, client, damage):
    reply = client.try_spawn(f"echo '{DONE}'", model_backend="talker", request_id="the same")
    agent = reply["agent_info"]["id"]
    assert client.ended(agent)["status"] == "completed"
    record = server.state_dir / "agents" / agent / "exit.json"
    server.kill()
    record.write_bytes(record.read_bytes()[:20])
    if damage == "a folder":
        record.unlink()
        record.mkdir()
    server.start()
    info = client.info(agent)
    assert (info["status"], info["end_reason"]) == ("failed", "lost")
    assert info["result"]["text"] == "done"
    assert client.read_all(agent) == DONE.encode() + b"\n"
    again = client.try_spawn(f"echo '{DONE}'", model_backend="talker", request_id="the same")
    assert again["agent_info"]["id"] == agent


def test_what_an_agent_thought_before_a_restart_is_no_news(server, client):
    def says(kind):
        content = [{"type": kind, kind: "hm"}]
        return json.dumps({"type": "assistant", "message": {"content": content}})

    thoughts = server.folder / "thoughts"
    thoughts.write_text(f"{says('thinking')}\n{says('text')}\n" * 500 + says("thinking") + "\n")
    agent = client.spawn(f"cat {thoughts}; exec sleep 1000", model_backend="talker")["id"]
    eventually(lambda: client.info(agent)["agent_sequence"] > 1000, "all that it has thought")
    server.restart()
    eventually(lambda: client.info(agent)["status"] == "thinking", "what came of it")
    listed = client.list()
    reply = client.ask("events_request", epoch=listed["epoch"], after_sequence=0, agent_id=agent)
    assert len(sequence_of(reply["events"])) < 10
