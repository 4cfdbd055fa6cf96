"""Waiting for something to become true, with an end."""

import time

# Long enough for a busy machine; whatever waits this long has failed.
PATIENCE = 10.0


def eventually(probe, what, timeout=PATIENCE):
    """The first true result of `probe`, which is called again and again."""
    deadline = time.monotonic() + timeout
    while True:
        result = probe()
        if result:
            return result
        assert time.monotonic() < deadline, f"not within {timeout} s: {what}"
        time.sleep(0.005)
