"""pytest fixtures of the rig: one control plane for the whole run, a fresh namespace for each test.

Load it with ``pytest_plugins = ["rig.pytest_plugin"]`` in ``tests/conftest.py``. Where the rig cannot run, its tests are
skipped with the reason and the command; with ``FLOWGAUGE_REQUIRE_CLUSTER=1`` (CI) the same is an error.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from rig import controlplane, given, namespace, tools
from rig import stack as monitoring
from rig.cluster import Cluster

_REQUIRE = "FLOWGAUGE_REQUIRE_CLUSTER"
_MARKERS = {
    "unit": "starts no process of the rig",
    "cluster": "needs a real kube-apiserver (etcd, API server, controller manager)",
    "e2e": "needs the whole stack (prometheus-operator, Prometheus, Alertmanager)",
}


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers of the tiers, in case pyproject.toml does not."""
    known = {str(line).split(":")[0] for line in config.getini("markers")}
    for name, meaning in _MARKERS.items():
        if name not in known:
            config.addinivalue_line("markers", f"{name}: {meaning}")


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A control plane of our own with an audit log, or the cluster of KUBECONFIG."""
    _need(controlplane.BINARIES)
    with Cluster(audit=True) as running:
        yield running
        if request.session.testsfailed:
            running.keep_logs()


@pytest.fixture(scope="session")
def own_cluster(cluster: Cluster) -> Cluster:
    """The same cluster, for tests that need processes in pods or an audit log: it has to be ours."""
    if cluster.is_given:
        pytest.skip("needs a cluster of the rig's own, but KUBECONFIG is set")
    return cluster


@pytest.fixture(scope="session")
def stack(cluster: Cluster) -> Cluster:
    """The same cluster, with the monitoring stack on top."""
    if cluster.is_given:
        if cluster.prometheus_url is None or cluster.alertmanager_url is None:
            unavailable(
                f"set {given.PROMETHEUS} and {given.ALERTMANAGER} for the cluster of KUBECONFIG"
            )
        return cluster
    _need(monitoring.BINARIES)
    cluster.start_stack()
    return cluster


@pytest.fixture(name="namespace")
def _namespace(cluster: Cluster) -> Iterator[str]:
    """The name of a namespace of this test's own, deleted afterwards."""
    name = f"test-{secrets.token_hex(4)}"
    cluster.create_namespace(name)
    yield name
    cluster.delete_namespace(name)


def _need(binaries: Sequence[str]) -> None:
    if not given.is_given() and not namespace.is_inside():
        unavailable(
            "it needs a network of its own; run `make test`, or python -m rig exec -- pytest"
        )
    missing = tools.missing(["kubectl"] if given.is_given() else binaries)
    if missing:
        unavailable(f"{', '.join(missing)} not built; run `make tools`, then `make test`")


def binary(name: str) -> Path:
    """The path of a binary that a test runs by itself; where it is not built, the test is skipped or, in CI, fails."""
    try:
        return tools.path(name)
    except tools.MissingTool as missing:
        unavailable(f"{missing}")


def need_network() -> None:
    """Skip a test that needs the rig's network where there is none; in CI, fail."""
    if not namespace.is_inside():
        unavailable(
            "it needs a network of its own; run `make test`, or python -m rig exec -- pytest"
        )


def unavailable(reason: str) -> NoReturn:
    """Skip a test for want of something that CI has; there, fail."""
    if os.environ.get(_REQUIRE) == "1":
        pytest.fail(f"the rig cannot run: {reason}", pytrace=False)
    pytest.skip(f"the rig cannot run: {reason}")
