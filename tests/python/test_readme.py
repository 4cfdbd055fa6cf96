"""The README's client in Python does what the README says."""

import re
import subprocess
import sys
from pathlib import Path

import cli

README = Path(__file__).parent / "../../README.md"


def client():
    [program] = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    return program


def test_the_client_is_short():
    assert len(client().splitlines()) < 60


def test_the_client_starts_an_agent_and_prints_its_output(launch, tmp_path):
    backend = {"command": "sh", "args": ["-c", 'echo "task: {task}"; exit 3', "{tool_args}"], "parser": "text"}
    server = launch(**{"backends.claude": backend})
    program = tmp_path / "client.py"
    program.write_text(client())
    ran = subprocess.run(
        [sys.executable, program, server.endpoint],
        capture_output=True,
        text=True,
        timeout=cli.LONG,
    )
    assert ran.stdout == "task: fix the failing test\nfailed 3 None\n", ran.stderr


def test_the_client_reaches_a_server_that_encrypts(launch, tmp_path):
    backend = {"command": "sh", "args": ["-c", "echo encrypted # {task}", "{tool_args}"], "parser": "text"}
    server = launch(security={"mode": "curve"}, **{"backends.claude": backend})
    program = tmp_path / "client.py"
    bundle = server.state_dir / "keys/client.toml"
    text = client().replace("Server(*sys.argv[1:2])", f"Server(bundle={str(bundle)!r})")
    assert str(bundle) in text
    program.write_text(text)
    ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=cli.LONG)
    assert ran.stdout == "encrypted\ncompleted 0 None\n", ran.stderr
