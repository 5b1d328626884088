"""The example program, as its README says to run it."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "examples" / "orders"


@pytest.fixture
def start(tmp_path):
    """Start the program on a copy of its input; returns the process, its address and the copy."""
    processes = []

    def begin(*arguments, **environment):
        orders = tmp_path / "orders.csv"
        shutil.copy(HERE / "orders.csv", orders)
        process = subprocess.Popen(
            [sys.executable, HERE / "orders.py", *arguments],
            env={
                **os.environ,
                "FLOWGAUGE_HOST": "127.0.0.1",
                "FLOWGAUGE_PORT": "0",
                "ORDERS_INPUT": str(orders),
                "ORDERS_REPORT": str(tmp_path / "report.csv"),
                "ORDERS_INTERVAL": "0.02",
                **environment,
            },
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process, orders

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def address(process):
    for line in process.stderr:
        if found := re.search(r"http://\S+", line):
            return found[0]
    raise AssertionError("the program ended without an address")


def until(read, url, condition):
    end = time.monotonic() + 10
    while not condition(page := read(url)):
        assert time.monotonic() < end, "did not happen in ten seconds"
        time.sleep(0.05)
    return page


def runs(page, status):
    return page.value("workflow_runs_total", workflow="orders", status=status)


def test_one_run_writes_the_report_and_counts_the_rejected_orders(start, tmp_path):
    process, _ = start("--once")
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 0
    assert "2400 orders, 50 rejected" in errors
    report = (tmp_path / "report.csv").read_text().splitlines()
    assert report[:2] == ["date,sku,revenue", "2026-09-01,pot,1682.00"]


def test_runs_fail_while_the_input_is_broken_and_sigterm_ends_the_program_cleanly(start, read):
    process, orders = start()
    url = address(process)

    page = until(read, url, lambda page: runs(page, "success") >= 2)
    done = page.value("workflow_steps_total", workflow="orders", step="write", status="success")
    assert done >= 2
    rejected = page.value(
        "workflow_step_errors_total", workflow="orders", step="check", type="RejectedOrderError"
    )
    assert rejected > 0
    assert runs(page, "failed") == 0

    orders.write_text("disk full\n")
    page = until(read, url, lambda page: runs(page, "failed") >= 2)
    assert page.value("workflow_run_errors_total", workflow="orders", type="BrokenInputError") >= 2

    orders.unlink()
    until(
        read,
        url,
        lambda page: page.value(
            "workflow_run_errors_total", workflow="orders", type="FileNotFoundError"
        ),
    )

    shutil.copy(HERE / "orders.csv", orders)
    good = runs(read(url), "success")
    until(read, url, lambda page: runs(page, "success") > good)

    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 0


def test_the_flaky_service_is_retried(start, read):
    process, _ = start()

    page = until(
        read,
        address(process),
        lambda page: page.value("workflow_step_retries_total", workflow="orders", step="enrich"),
    )

    assert (
        page.value(
            "workflow_step_errors_total", workflow="orders", step="enrich", type="ConnectionError"
        )
        is None
    )


def test_the_program_speaks_another_vocabulary_without_a_change(start, read):
    process, _ = start(FLOWGAUGE_PROFILE="contd")

    page = until(
        read,
        address(process),
        lambda page: page.value(
            "contd_workflows_completed_total", workflow_name="orders", status="completed"
        ),
    )

    assert (
        page.value("contd_workflows_started_total", workflow_name="orders", trigger="schedule") >= 1
    )


def test_a_single_run_that_fails_ends_with_an_error(start):
    process, _ = start("--once", ORDERS_INPUT="/nonexistent")
    _, errors = process.communicate(timeout=20)

    assert process.returncode == 1
    assert "FileNotFoundError" in errors
