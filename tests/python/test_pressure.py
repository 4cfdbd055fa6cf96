"""Clients that ask for more than there is room for."""

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
