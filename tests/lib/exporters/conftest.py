"""Back ends that really receive: sockets and HTTP servers of this machine."""

import sys
from pathlib import Path

import pytest

from flowgauge import guard

sys.path.insert(0, str(Path(__file__).parent))

import receivers


@pytest.fixture
def statsd():
    with receivers.StatsD() as server:
        yield server


@pytest.fixture
def http():
    with receivers.Http() as server:
        yield server


@pytest.fixture(autouse=True)
def _unheard(monkeypatch):
    """Each test hears the warnings that another has had."""
    monkeypatch.setattr(guard, "_reported", {})
