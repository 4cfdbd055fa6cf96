"""Fixtures: containers of the server's image, each with a volume that outlives it."""

import sys
import uuid
from pathlib import Path

import pytest

# The wire client is that of the server's own tests.
sys.path.insert(0, str(Path(__file__).parent / "../../tests/python"))

from container import Container, podman


@pytest.fixture
def volume():
    name = f"descartes-{uuid.uuid4()}"
    yield name
    podman("volume", "rm", "--force", name)


@pytest.fixture
def run(volume):
    """Starts servers in containers, by default on one volume, and removes them at the end."""
    containers = []

    def start(*options, volume=volume, **settings):
        container = Container(volume, options, settings)
        containers.append(container)
        return container.wait_healthy()

    yield start
    for container in containers:
        container.remove()
