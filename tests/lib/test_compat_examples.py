"""The programs of the four systems in `examples/` run, serve what their READMEs show, and end at SIGTERM."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from programs import Page, free_port, get

from flowgauge import profiles

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Program:
    """An example that runs in a folder of its own."""

    def __init__(self, name, folder, **environment):
        self.port = free_port()
        kept = {key: value for key, value in os.environ.items() if "FLOWGAUGE_" not in key}
        ports = {"METRICS_PORT": str(self.port), "FLOWGAUGE_PORT": str(self.port)}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", EXAMPLES / name / "program.py"],
            env={**kept, **ports, "FLOWGAUGE_HOST": "127.0.0.1", "INTERVAL": "0.01", **environment},
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def page(self, ready):
        """Its page, as soon as it is ready."""
        until = time.monotonic() + 30
        while not ready(page := Page(get(f"http://127.0.0.1:{self.port}/metrics"))):
            assert time.monotonic() < until, page.text
            time.sleep(0.1)
        return page

    def stop(self):
        """Its log, after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        log = self.process.communicate(timeout=20)[1]
        assert self.process.returncode == 0, log
        # Carriers that do not answer are part of the example, and logged with their traceback.
        assert log.count("Traceback (") == log.count("\nTimeoutError: the carrier"), log
        return log


@pytest.fixture
def start(tmp_path):
    programs = []

    def started(name, **environment):
        programs.append(Program(name, tmp_path, **environment))
        return programs[-1]

    yield started
    for program in programs:
        program.process.kill()
        program.process.communicate()


def all_families(name, page):
    """Whether the page has every family of the profile that the operator cannot do without."""
    return [
        family.name
        for family in profiles.builtin(name).families
        if family.required and f"# TYPE {family.name} {family.type}" not in page.lines
    ]


def test_contd_restores_what_was_charged_and_finds_what_is_broken(start, tmp_path):
    of = {"workflow_name": "charges"}
    hits = {"step_name": "charge", **of}
    completed = {"status": "completed", **of}
    first = start("contd")
    page = first.page(
        lambda p: (
            (p.value("contd_workflows_completed_total", **completed) or 0) >= 2
            and (p.value("contd_snapshot_save_duration_milliseconds_count", **of) or 0) >= 1
        )
    )
    assert all_families("contd", page) == []
    assert page.value("contd_idempotency_cache_hits_total", **hits) >= 8
    assert page.value("contd_lease_acquisition_duration_milliseconds_count", **of) >= 2
    assert page.value("contd_restore_duration_milliseconds_count", **of) == 1
    assert page.value("contd_checksum_validation_failures_total", **of) == 0
    second = start("contd")
    second.page(lambda p: (p.value("contd_lease_acquisition_failures_total", **of) or 0) >= 1)
    assert "another process has the lease" in second.stop()
    first.stop()

    journal = tmp_path / "state/journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines, "00000000 {}"]))
    page = start("contd").page(lambda p: p.value("contd_restore_duration_milliseconds_count", **of))

    assert page.value("contd_events_replayed_per_restore_sum", **of) == len(lines)
    assert page.value("contd_checksum_validation_failures_total", **of) == 1


def test_ia_modules_counts_items_calls_and_cost(start):
    program = start("ia-modules")
    of = {"pipeline_name": "data_processor"}
    page = program.page(lambda p: (p.value("pipeline_items_total", **of) or 0) > 50)

    assert all_families("ia-modules", page) == []
    calls = page.value("pipeline_api_calls_total", api="customers", **of)
    assert calls > 50
    assert page.value("pipeline_cost_usd", **of) == pytest.approx(calls * 0.0004, rel=0.1)
    assert page.value("pipeline_queue_depth", queue="inbox", **of) >= 0
    assert page.value("pipeline_executions_total", status="success", **of) >= 1
    assert page.value("pipeline_steps_total", step_name="clean", status="success", **of) > 50
    assert "longest: " in program.stop()


def test_orchestrix_measures_handlers_and_a_store_of_the_programs_own(start):
    program = start("orchestrix")
    saves = {"operation": "save", "store": "sqlite"}
    page = program.page(lambda p: (p.value("orchestrix_store_operations_total", **saves) or 0) > 20)

    assert all_families("orchestrix", page) == []
    handler = {"handler": "handle_process_order"}
    assert page.value("orchestrix_handler_duration_seconds_count", **handler) > 20
    assert page.value("orchestrix_errors_total", type="handler_error", **handler) is not None
    assert page.value("orchestrix_messages_per_second") > 0
    program.stop()


def test_tta_dev_tells_cost_savings_and_budget(start):
    program = start("tta-dev")
    llm = {"primitive_name": "ask_model", "primitive_type": "llm"}
    page = program.page(
        lambda p: (p.value("primitive_cost_savings", category="tokens", **llm) or 0) > 0
    )

    assert all_families("tta-dev", page) == []
    assert page.value("primitive_cost_total", category="tokens", **llm) > 0
    assert 0 <= page.value("primitive_error_budget_remaining", **llm) <= 1
    api = {"primitive_name": "answer", "primitive_type": "api"}
    assert page.value("primitive_requests_total", status="success", **api) > 1
    program.stop()
