"""A real agent: claude, from npm, talking to a model's API that is not there."""

import json
import os
from pathlib import Path

import pytest

from model_api import ANSWER, ModelApi

AGENTS = Path(__file__).parent / "../../.venv/agents/node_modules/.bin"
CLAUDE = Path(os.environ.get("DESCARTES_TEST_CLAUDE", AGENTS / "claude")).resolve()


@pytest.mark.skipif(not CLAUDE.exists(), reason=f"SKIPPED, LOUDLY: no claude at {CLAUDE}")
def test_claude_answers_and_its_json_is_read_back_by_offset(launch, connect, tmp_path):
    with ModelApi() as api:
        settings = {
            "backends.claude": {"command": str(CLAUDE)},
            "backends.claude.env": {
                "HOME": str(tmp_path),
                "ANTHROPIC_BASE_URL": api.url,
                "ANTHROPIC_API_KEY": "not-a-key",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                "DISABLE_AUTOUPDATER": "1",
            },
        }
        server = launch(**settings)
        client = connect(server)
        agent = client.spawn("say hello", name="greeter", model_backend="claude")
        output = client.read_all(agent["id"])
        info = client.ended(agent["id"])
    events = [json.loads(line) for line in output.splitlines()]
    assert events[-1]["type"] == "result"
    assert events[-1]["result"] == ANSWER
    assert api.conversations >= 1
    assert (info["status"], info["exit_code"], info["end_reason"]) == ("completed", 0, "exited")
    assert info["result"] == {"is_error": False, "text": ANSWER}
    assert info["session_id"] == events[-1]["session_id"]
    assert info["output"]["stdout_bytes"] == len(output)
