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
def definitions(own_cluster):
    """No definition of our kinds before the test, and none after it."""

    def remove() -> None:
        names = ["monitoredworkflows.flowgauge.dev", "workflowprofiles.flowgauge.dev"]
        own_cluster.kubectl("delete", "crd", *names, "--ignore-not-found", "--wait=true")

    remove()
    yield
    remove()
