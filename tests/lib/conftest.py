"""What the tests of the library share: a name of their own, an endpoint, and its page read back."""

import itertools
import sys
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

import flowgauge

# For the helpers beside the tests, and the programs of the guides.
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "guides")]

_numbers = itertools.count()


class Page:
    """A scraped page; samples are found by name and labels."""

    def __init__(self, families, content_type):
        self.families = {family.name: family for family in families}
        self.samples = [sample for family in self.families.values() for sample in family.samples]
        self.content_type = content_type

    def value(self, name, **labels):
        """The value of the one sample with exactly these labels; None where there is none."""
        found = [s.value for s in self.samples if s.name == name and s.labels == labels]
        assert len(found) <= 1, f"{name}{labels} stands {len(found)} times"
        return found[0] if found else None

    def names(self, **labels):
        """The names of the samples that have these labels among theirs."""
        return {s.name for s in self.samples if labels.items() <= s.labels.items()}

    def labels(self, name, **labels):
        """The label sets of the samples of this name that have these labels among theirs."""
        return [
            s.labels for s in self.samples if s.name == name and labels.items() <= s.labels.items()
        ]


def _read(address, *, openmetrics=False):
    accept = "application/openmetrics-text; version=1.0.0" if openmetrics else "text/plain"
    request = urllib.request.Request(address, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=5) as response:
        text = response.read().decode()
        parse = parse_openmetrics if openmetrics else parse_text
        return Page(parse(text), response.headers["Content-Type"])


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for variable in ("FLOWGAUGE_PROFILE", "FLOWGAUGE_HOST", "FLOWGAUGE_PORT"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def name():
    """A workflow of the test's own: cells live as long as the process."""
    return f"workflow-{next(_numbers)}"


@pytest.fixture
def observe():
    """Set up monitoring on a free port of the loopback; closed after the test."""
    handles = []

    def setup(**arguments):
        handles.append(
            flowgauge.setup_observability(**{"host": "127.0.0.1", "port": 0} | arguments)
        )
        return handles[-1]

    yield setup
    for handle in handles:
        handle.close()


@pytest.fixture
def scrape(observe):
    """Scrape through the real endpoint, set up with `arguments` for this one scrape."""

    def page(*, openmetrics=False, **arguments):
        with observe(**arguments) as handle:
            return _read(handle.address, openmetrics=openmetrics)

    return page


@pytest.fixture
def read():
    """Read the page of an address."""
    return _read
