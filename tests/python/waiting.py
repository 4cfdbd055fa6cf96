"""Waiting for something to become true, with an end."""

import time

# Long enough for a busy machine; whatever waits this long has failed.
PATIENCE = 10.0


def eventually(probe, what, timeout=PATIENCE):
    """The first true result of `probe`, which is called again and again.

    `what` is what the failure says: a text, or a function that makes it then.
    """
    deadline = time.monotonic() + timeout
    while True:
        result = probe()
        if result:
            return result
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout} s: {what() if callable(what) else what}")
        time.sleep(0.005)
