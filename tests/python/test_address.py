"""How clients on the server's own host find it."""

import tomllib

from waiting import eventually


def test_a_server_that_starts_on_a_full_disk_is_found_when_there_is_room(small_disk, launch):
    path = small_disk.path / "address.toml"

    def pid():
        return tomllib.loads(path.read_text())["pid"]

    server = launch(state_dir=str(small_disk.path))
    assert pid() == server.process.pid
    server.kill()
    small_disk.fill()
    server.start()
    # Nor is its predecessor, whose address was there.
    eventually(lambda: not list(small_disk.path.glob("address.toml*")), "no address")
    small_disk.make_room()
    eventually(path.exists, "the address")
    assert pid() == server.process.pid
