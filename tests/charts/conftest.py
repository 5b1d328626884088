"""The operator's chart, and what tests of charts share."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sys
from pathlib import Path

import pytest

import charts
from rig import chart
from rig.chart import ChartError
from rig.helm import Helm
from rig.pytest_plugin import binary

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests"), str(ROOT / "tests/dashboards")]

import chartcases  # noqa: E402, found only from here on


@pytest.fixture(scope="session")
def helm(tmp_path_factory) -> Helm:
    """helm without a cluster."""
    binary("helm")
    return Helm(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def kubeconform() -> Path:
    """The path of kubeconform."""
    return binary("kubeconform")


@pytest.fixture(scope="session")
def completed(tmp_path_factory) -> Path:
    """The stack's chart as `make charts` completes it; the definitions that a rig generates are not needed to render."""
    binary("helm")
    folder = tmp_path_factory.mktemp("charts")
    crds = folder / "crds"
    crds.mkdir()
    for name in ("prometheuses", "servicemonitors"):
        definition = {"kind": "CustomResourceDefinition", "metadata": {"name": name}}
        (crds / f"monitoring.coreos.com_{name}.yaml").write_text(json.dumps(definition))
    copy = shutil.copytree(charts.STACK, folder / "flowgauge-stack")
    charts.complete(copy, crds, charts.OPERATOR)
    return copy


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


@pytest.fixture
def install(own_cluster, namespace, definitions):
    """Install the chart in a namespace of the test's own; what is left of it goes afterwards."""
    made = []

    def run(
        folder=chartcases.CHART,
        *,
        flags=(),
        run=None,
        space=namespace,
        release="flowgauge",
        **values,
    ):
        one = chart.install(
            own_cluster,
            folder,
            path=[ROOT / ".venv-operator/bin"],
            run=run,
            release=release,
            namespace=space,
            overrides={**chartcases.QUICK, **values},
            flags=flags,
        )
        made.append(one)
        one.wait_ready()
        return one

    yield run
    for one in reversed(made):
        with contextlib.suppress(ChartError):
            one.uninstall()


@pytest.fixture
def spaces(own_cluster):
    """Names of namespaces that go after the test, whoever made them."""
    names = []

    def name(stem):
        names.append(f"{stem}-{secrets.token_hex(3)}")
        return names[-1]

    yield name
    for each in names:
        own_cluster.delete_namespace(each)


@pytest.fixture
def shop(own_cluster, spaces):
    """A namespace of users."""
    name = spaces("shop")
    own_cluster.create_namespace(name)
    return name
