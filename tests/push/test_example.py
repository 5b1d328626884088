"""The example program, as its README says to run it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parents[2] / "examples" / "batch"
STATUSES = ("success", "failed", "cancelled")


@pytest.fixture
def start(launch, tmp_path):
    """Start the program; it pushes to a gateway of the test's own, since its group has a fixed name."""
    gateway = launch()

    def begin(**environment):
        return gateway, subprocess.Popen(
            [sys.executable, HERE / "nightly.py"],
            env={
                **os.environ,
                "FLOWGAUGE_PUSHGATEWAY": gateway.address,
                "NIGHTLY_REPORT": str(tmp_path / "report.csv"),
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )

    return begin


def runs(gateway, shard="0"):
    labels = {
        "job": "nightly",
        "namespace": "shop",
        "monitored_workflow": "nightly",
        "shard": shard,
    }
    return [gateway.value("workflow_runs_total", status=status, **labels) for status in STATUSES]


def test_its_runs_add_up(start, tmp_path):
    for count in (1, 2):
        gateway, process = start(NIGHTLY_PAUSE="0")
        errors = process.communicate(timeout=20)[1]

        assert (process.returncode, errors) == (0, "INFO:nightly:shard 0: 12 shops\n")
        assert runs(gateway) == [count, 0, 0]
    report = (tmp_path / "report.csv").read_text().splitlines()
    assert report[:2] == ["aarhus,895.16", "bergen,1368.93"]


def test_the_shards_share_the_shops(start, tmp_path):
    lines = []
    for shard in "01":
        gateway, process = start(NIGHTLY_PAUSE="0", NIGHTLY_SHARDS="2", JOB_COMPLETION_INDEX=shard)
        process.communicate(timeout=20)
        assert runs(gateway, shard) == [1, 0, 0]
        lines += (tmp_path / "report.csv").read_text().splitlines()

    assert len(lines) == len({line.split(",")[0] for line in lines}) == 12


def test_a_run_that_fails_is_pushed(start):
    gateway, process = start(NIGHTLY_INPUT="/nonexistent")
    errors = process.communicate(timeout=20)[1]

    assert process.returncode == 1
    assert "FileNotFoundError" in errors
    assert runs(gateway) == [0, 1, 0]


def test_sigterm_ends_it_without_a_draft_and_is_pushed(start, tmp_path):
    gateway, process = start(NIGHTLY_PAUSE="5")
    end = time.monotonic() + 10
    while not (tmp_path / "report.draft").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)

    assert process.returncode == 143
    assert runs(gateway) == [0, 0, 1]
    assert list(tmp_path.iterdir()) == []


def test_without_a_gateway_it_does_its_work(start, tmp_path):
    _, process = start(NIGHTLY_PAUSE="0", FLOWGAUGE_PUSHGATEWAY="off")
    process.communicate(timeout=20)

    assert process.returncode == 0
    assert (tmp_path / "report.csv").exists()


def test_the_cronjob_and_the_workflow_fit_the_program():
    job = yaml.safe_load((HERE / "cronjob.yaml").read_text())
    workflow = yaml.safe_load((HERE / "workflow.yaml").read_text())
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    program = (HERE / "nightly.py").read_text()

    assert workflow["metadata"]["name"] == "nightly"
    assert job["metadata"]["namespace"] == workflow["metadata"]["namespace"] == "shop"
    assert pod["terminationGracePeriodSeconds"] > 25
    variables = {entry["name"] for entry in pod["containers"][0]["env"]}
    assert {
        name for name in variables if name.startswith("NIGHTLY_") and f'"{name}"' not in program
    } == set()
