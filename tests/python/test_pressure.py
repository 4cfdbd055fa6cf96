"""Clients that ask for more than there is room for."""

import os
import signal

import pytest

from waiting import eventually

MEBIBYTE = 1024 * 1024


def test_every_one_of_many_large_reads_is_answered_if_only_with_busy(server, client):
    agent = client.spawn("head -c 1048576 /dev/zero; read -r line")["id"]
    client.read_until(agent, b"\0" * MEBIBYTE)
    ids = {
        client.send(
            "control_command",
            agent_id=agent,
            command_type="read_stdout",
            payload={"offset": 0, "max_bytes": MEBIBYTE},
        )
        for _ in range(300)
    }
    answered = {}
    while len(answered) < len(ids):
        reply = client.receive()
        answered[reply["request_id"]] = reply
    assert set(answered) == ids
    for reply in answered.values():
        if reply["type"] == "command_response":
            assert len(reply["data"]["data"]) == MEBIBYTE
        else:
            assert (reply["type"], reply["error_code"]) == ("error_response", "busy")
    assert any(reply["type"] == "command_response" for reply in answered.values())


def test_a_batch_brings_no_data_and_refuses_what_only_does(server, client, unharmed):
    agent = client.spawn_ready("echo ready; read -r line")
    before = server.rss_bytes()
    reply = client.ask(
        "batch_control_command",
        agent_ids=[agent] * 2000,
        command_type="read_stdout",
        payload={"offset": 0},
    )
    assert {result["error_code"] for result in reply["results"]} == {"unsupported_command"}
    assert server.rss_bytes() - before < 64 * MEBIBYTE


@pytest.mark.parametrize("how", ["kill", "stop", "shutdown"])
def test_an_end_reaches_a_stopped_shim_behind_all_that_it_has_not_read(server, connect, how):
    sender, client = connect(server), connect(server)
    agent = client.spawn_ready("echo ready; exec sleep 1000")
    os.kill(server.shim(agent), signal.SIGSTOP)
    for _ in range(3):
        sender.send_command(agent, "write_stdin", data=bytes(8 * MEBIBYTE), offset=0)
    # Answered when those before it are under way.
    sender.health()
    if how == "shutdown":
        assert server.stop() == 0
        eventually(lambda: not server.agent_processes(), "the end of the agent")
        server.start()
        assert client.ended(agent)["end_reason"] == "server_shutdown"
    else:
        sender.send_command(agent, how)
        assert client.ended(agent)["status"] == "terminated"


def test_stops_of_an_agent_that_does_not_stop_are_refused_in_the_end_and_a_kill_is_not(client):
    agent = client.spawn_ready("trap '' TERM; echo ready; while :; do sleep 1; done")
    # As many as may wait for it, and as many again for those.
    sent = {
        client.send_command(agent, "stop", grace_secs=3600, wait=False) for _ in range(3000)
    }
    replies = [client.receive() for _ in sent]
    refused = [reply for reply in replies if not reply["success"]]
    assert 0 < len(refused) < len(sent)
    assert {reply["error_code"] for reply in refused} == {"busy"}
    client.done(agent, "kill")
    assert client.ended(agent)["end_reason"] == "killed"
