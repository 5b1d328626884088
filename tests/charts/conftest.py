"""The operator's chart, and what tests of charts share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rig.helm import Helm
from rig.pytest_plugin import binary

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT / "tests/dashboards")]


@pytest.fixture(scope="session")
def helm(tmp_path_factory) -> Helm:
    """helm without a cluster."""
    binary("helm")
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def kubeconform() -> Path:
    """The path of kubeconform."""
    return binary("kubeconform")


@pytest.fixture
def called(own_cluster):
    """Make namespaces whose names are given; they are gone when the test is over."""
    made = []

    def make(name: str, labels: dict[str, str] | None = None) -> None:
        made.append(name)
        own_cluster.create_namespace(name, labels)

    yield make
    for wait in (False, True):
        for name in made:
            own_cluster.delete_namespace(name, wait=wait)


@pytest.fixture
def definitions(own_cluster):
    """No definition of our kinds before the test, and none after it."""

    def remove() -> None:
        names = ["monitoredworkflows.flowgauge.dev", "workflowprofiles.flowgauge.dev"]
        own_cluster.kubectl("delete", "crd", *names, "--ignore-not-found", "--wait=true")

    remove()
    yield
    remove()
