"""The packaged stack on an empty cluster, which the suite's own is not: in a rig beside it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rig import given, namespace, pytest_plugin

HERE = Path(__file__).parent
BINARIES = (
    "helm kubectl kube-apiserver etcd kube-controller-manager kwok prometheus-operator prometheus-config-reloader prometheus"
    " promtool alertmanager amtool pushgateway kube-state-metrics"
)


@pytest.mark.e2e
@pytest.mark.timeout(600)
def test_the_packaged_stack_on_an_empty_cluster():
    if given.is_given():
        pytest.skip("needs an empty cluster of the rig's own, but KUBECONFIG is set")
    for name in BINARIES.split():
        pytest_plugin.binary(name)
    env = {key: value for key, value in os.environ.items() if key != namespace.MARK}
    tests = HERE / "stack_on_an_empty_cluster.py"

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rig",
            "exec",
            "--",
            sys.executable,
            "-m",
            "pytest",
            "-x",
            str(tests),
        ],
        cwd=HERE.parents[1],
        env=env | {"FLOWGAUGE_REQUIRE_CLUSTER": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-2000:]}"
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed.group(1)) == tests.read_text(encoding="utf-8").count("\ndef test_")
