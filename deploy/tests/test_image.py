"""What the image promises, in real containers. `deploy/try` builds it and runs this."""

import os

import pytest
from client import Client, Silence
from container import HARDENED, STATE, Container
from waiting import eventually

FOREVER = "echo ready; while :; do sleep 1; done"


@pytest.mark.parametrize("options", [[], HARDENED], ids=["plain", "hardened"])
def test_an_agent_is_started_and_read_through_curve(run, options):
    client = run(*options).client()
    agent = client.spawn('echo "$(id -u) in $PWD"; echo >"$HOME/kept"; echo >/tmp/gone')["id"]
    assert client.read_all(agent) == b"10001 in /var/lib/descartes/home\n"
    assert client.ended(agent)["status"] == "completed"


def test_the_programs_need_no_library_of_the_base_image(run):
    server = run()
    for program in ("descartes", "descartes-server", "descartes-shim"):
        assert "statically linked" in server.sh(f"ldd /usr/local/bin/{program}")


def test_a_stranger_gets_no_answer(run):
    server = run()
    endpoint = server.client().socket.last_endpoint.decode()
    with pytest.raises(Silence):
        stranger = Client(endpoint)
        stranger.send("health_check_request")
        stranger.receive(timeout=2)


def test_a_server_that_does_not_answer_is_unhealthy(run):
    server = run()
    server.sh(f"kill -STOP {server.server_pid()}")
    assert not server.is_healthy()
    server.sh(f"kill -CONT {server.server_pid()}")
    server.wait_healthy()


def test_what_a_killed_shim_leaves_behind_is_ended_and_reaped(run):
    server = run(*HARDENED)
    client = server.client()
    agent = client.spawn_ready("sleep 1000 & echo ready; exec sleep 1000")
    server.sh(f"kill -KILL {server.shim_pid(agent)}")
    assert client.ended(agent)["end_reason"] == "lost"
    # A process that has ended and that nobody reaped would still be there.
    eventually(lambda: "sleep" not in server.process_names(), "no process of the agent")


def test_a_stop_ends_agents_in_time_and_the_next_container_has_them(run):
    first = run(*HARDENED, **{"runner.stop_grace_secs": 1})
    client = first.client()
    polite = client.spawn_ready("trap 'echo bye; exit 0' TERM; " + FOREVER)
    stubborn = client.spawn_ready("trap '' TERM; " + FOREVER)
    assert first.stop() == 0
    first.remove()
    client = run(*HARDENED).client()
    ends = {agent["id"]: agent for agent in client.list()["agents"]}
    for agent in (polite, stubborn):
        assert (ends[agent]["status"], ends[agent]["end_reason"]) == ("terminated", "server_shutdown")
    assert ends[polite]["exit_code"] == 0
    assert ends[stubborn]["exit_signal"] == 9
    assert client.read_all(polite).endswith(b"bye\n")


def test_after_a_hard_end_agents_are_listed_as_lost_with_their_output(run):
    first = run()
    agent = first.client().spawn_ready(FOREVER)
    first.kill()
    first.remove()
    client = run().client()
    info = client.info(agent)
    assert (info["status"], info["end_reason"]) == ("failed", "lost")
    assert client.read_all(agent) == b"ready\n"


def test_two_containers_do_not_share_a_volume(run, volume):
    run()
    second = Container(volume)
    try:
        assert second.exit_code() == 1
        assert "belongs to another running server" in second.log()
    finally:
        second.remove()


def test_keys_survive_a_volume_that_kubernetes_has_opened_to_a_group(run, tmp_path):
    # Kubernetes gives the root of a volume to fsGroup, and with OnRootMismatch nothing below it.
    os.chown(tmp_path, 0, 10001)
    tmp_path.chmod(0o2770)
    (tmp_path / "lost+found").mkdir(mode=0o700)
    for _ in range(2):
        server = run(*HARDENED, volume=tmp_path)
        assert server.client().health()
        modes = server.sh(f"stat -c %a {STATE} {STATE}/keys {STATE}/keys/*").split()
        assert {mode[-3:] for mode in modes} == {"700", "600"}
        assert server.stop() == 0
