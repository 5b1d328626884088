"""A real Prometheus with a history of an hour: a healthy run each minute, a failure now and then, a gap in the middle."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from rig import lone
from rig.pytest_plugin import binary

sys.path.insert(
    0, str(Path(__file__).resolve().parents[1])
)  # for `hostile`, which several suites share

OWNER = 'namespace="shop",monitored_workflow="orders",job="orders-metrics",instance="10.0.0.5:8000"'
LENGTH, STEP = 3600, 15


def openmetrics(end):
    """The history as promtool reads it."""
    start = end - LENGTH
    instants = [start + STEP * k for k in range(LENGTH // STEP + 1)]
    lines = ["# TYPE up gauge"]
    lines += [f"up{{{OWNER}}} 1 {at}" for at in instants]
    lines.append("# TYPE depth gauge")
    lines += [
        f'depth{{{OWNER},queue="mails"}} {at % 600} {at}'
        for at in instants
        if not start + 1200 < at < start + 2400
    ]
    lines.append("# TYPE workflow_runs counter")
    for status, every in (("success", 60), ("failed", 600)):
        lines += [
            f'workflow_runs_total{{{OWNER},workflow="orders",status="{status}"}} {(at - start) // every} {at}'
            for at in instants
        ]
    lines.append("# TYPE ALERTS gauge")
    lines += [
        f'ALERTS{{namespace="shop",monitored_workflow="orders",alertname="Late",alertstate="firing"}} 1 {at}'
        for at in instants[40:80]
    ]
    lines.append("# EOF")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """The URL of a Prometheus that knows the history, and when it ends."""
    folder, end = tmp_path_factory.mktemp("history"), int(time.time()) // 60 * 60 - 3600
    (folder / "history.txt").write_text(openmetrics(end), encoding="utf-8")
    blocks = ["tsdb", "create-blocks-from", "openmetrics", folder / "history.txt", folder / "tsdb"]
    subprocess.run([binary("promtool"), *blocks], check=True, capture_output=True)
    with lone.served("global: {}\n", folder) as running:
        yield running.url, end
