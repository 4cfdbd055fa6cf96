"""How a server ends."""

import signal

from client import Client
from waiting import eventually

STUBBORN = "trap '' TERM; echo ready; while :; do sleep 1; done"
PATIENT = {"shutdown_timeout_secs": 600, "runner": {"stop_grace_secs": 600}}


def test_a_second_signal_skips_the_grace_time(launch, connect):
    server = launch(**PATIENT)
    client = connect(server)
    agent = client.spawn_ready(STUBBORN)
    server.process.terminate()
    # Requests are answered while agents end, and new agents are refused.
    eventually(lambda: not client.ask("health_check_request")["healthy"], "the beginning of the shutdown")
    refused = client.try_spawn("true")
    assert (refused["success"], refused["error_code"]) == (False, "shutting_down")
    assert client.info(agent)["status"] == "running"
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(60) == 0
    assert server.agent_processes() == []
    server.start()
    info = Client(server.endpoint).info(agent)
    assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")


def test_agents_are_stopped_together_and_tell_their_end(launch, connect):
    server = launch()
    client = connect(server)
    polite = "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    agents = [client.spawn_ready(polite) for _ in range(10)]
    assert server.stop() == 0
    assert server.agent_processes() == []
    server.start()
    for agent in agents:
        info = client.info(agent)
        assert (info["status"], info["end_reason"]) == ("terminated", "server_shutdown")
        assert info["exit_code"] == 0
        assert client.read_all(agent) == b"ready\nbye\n"
