"""The real agents that tests run, each pointed at a model's API of the tests' own."""

import json
import os
from pathlib import Path

PROGRAMS = Path(__file__).parent / "../../.venv/agents/node_modules/.bin"


class Agent:
    """One agent and what it talks to: `settings` for a server that has it as the backend `name`."""

    def __init__(self, name, api, home):
        self.name = name
        self.api = api
        self.settings = {
            f"backends.{name}": {"command": str(program(name))},
            f"backends.{name}.env": common_environment(home) | ENVIRONMENTS[name](api, home),
        }

    def said(self, output):
        """What its output says: its session, and its last message."""
        return READERS[self.name]([json.loads(line) for line in output.splitlines()])


def program(name):
    """Where an agent is installed, or would be."""
    folder = os.environ.get("DESCARTES_TEST_AGENTS", PROGRAMS)
    return (Path(folder) / name).resolve()


def common_environment(home):
    # A proxy of the developer's does not know the loopback.
    return {"HOME": str(home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def claude_environment(api, _home):
    return {
        "ANTHROPIC_BASE_URL": api.url,
        "ANTHROPIC_API_KEY": "not-a-key",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def said_by_claude(events):
    assert events[-1]["type"] == "result"
    return events[-1]["session_id"], events[-1]["result"]


def codex_environment(api, home):
    config = f"""
        model = "a-model"
        model_provider = "tests"
        check_for_update_on_startup = false
        [model_providers.tests]
        name = "tests"
        base_url = "{api.url}/v1"
        wire_api = "responses"
        env_key = "OPENAI_API_KEY"
    """
    folder = home / "codex"
    folder.mkdir()
    (folder / "config.toml").write_text(config)
    return {"CODEX_HOME": str(folder), "OPENAI_API_KEY": "not-a-key"}


def said_by_codex(events):
    assert events[-1]["type"] == "turn.completed"
    sessions = [event["thread_id"] for event in events if event["type"] == "thread.started"]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    messages = [item["text"] for item in items if item["type"] == "agent_message"]
    return sessions[0], messages[-1]


ENVIRONMENTS = {"claude": claude_environment, "codex": codex_environment}
READERS = {"claude": said_by_claude, "codex": said_by_codex}
NAMES = tuple(ENVIRONMENTS)
