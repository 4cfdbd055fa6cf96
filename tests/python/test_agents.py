"""Real agents, from npm, that talk to a model's API that is not there."""

import cli
from model_api import ANSWER, INPUT_TOKENS, OUTPUT_TOKENS


def test_an_agent_answers_and_what_it_says_is_read_back_by_offset(real_agent, launch, connect):
    server = launch(**real_agent.settings)
    client = connect(server)
    id = client.spawn("say hello, please", name="greeter", model_backend=real_agent.name)["id"]
    output = client.read_all(id)
    info = client.ended(id)
    assert (info["status"], info["exit_code"], info["end_reason"]) == ("completed", 0, "exited")
    session, answer = real_agent.said(output)
    assert answer == ANSWER
    assert real_agent.api.was_asked("say hello, please")
    assert info["result"] == {"is_error": False, "text": ANSWER}
    assert info["session_id"] == session
    usage = info["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (INPUT_TOKENS, OUTPUT_TOKENS)
    assert info["output"]["stdout_bytes"] == len(output)


def test_an_agent_answers_on_the_command_line(real_agent, launch):
    server = launch(**real_agent.settings)
    followed = cli.run(
        server, "spawn", real_agent.name, "say hello, please", "--name", "greeter", "--follow"
    )
    assert followed.returncode == 0, followed.stderr
    _, answer = real_agent.said(followed.stdout)
    assert answer == ANSWER
    [shown] = cli.objects(server, "show", "greeter")
    assert (shown["status"], shown["exit_code"]) == ("completed", 0)
    assert shown["result"] == {"is_error": False, "text": ANSWER}
    words = cli.run(server, "show", "greeter").stdout
    assert "exit code 0" in words and ANSWER in words
