"""A decorator that measures calls, in each library, in one process and with numbers that other processes read.

Ours and prometheus_client's keep five metrics: started, finished by status, errors by type, durations in buckets, in
progress. The others keep what they come with, or two: calls by status, and durations.
"""

# ruff: noqa: PLC0415 - each suite runs where only its own library is installed

from __future__ import annotations

import functools
import os
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.library.suites import five, references
from benchmarks.library.suites.five import Decorator, Function
from benchmarks.library.suites.references import (
    AWAIT,
    CALL,
    RAISING,
    work,
    work_async,
    work_raising,
)
from benchmarks.library.timing import Case, Effort, Results, per_call


def shared_folder() -> tempfile.TemporaryDirectory[str]:
    """A folder for the numbers of several processes: in memory where that is possible, as one runs it."""
    memory = Path("/dev/shm")  # noqa: S108 - a fresh folder within it
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None)


def ours(effort: Effort) -> Results:
    import flowgauge

    run, step = flowgauge.workflow(name="orders"), flowgauge.step(workflow="orders")
    with flowgauge.setup_observability(host="127.0.0.1", port=0, strict=True) as observability:
        cases = [*_three("workflow", run, run), *_three("step", step, step)]
        within = Case(
            "step of a run",
            CALL,
            {"call": flowgauge.step(work)},
            around=lambda: flowgauge.run("parcels"),
        )
        results = per_call([*references.cases(), *cases, within], effort)
        _check_counted(str(observability.address))
    return results


def ours_shared(effort: Effort) -> Results:
    with shared_folder() as folder:
        os.environ["FLOWGAUGE_MULTIPROCESS_DIR"] = folder
        results = ours(effort)
        if not any(Path(folder).rglob("*")):
            raise SystemExit("flowgauge wrote nothing for other processes to read")
        return results


def prometheus_client(effort: Effort) -> Results:
    metrics = five.Metrics()
    cases = [
        *_three("bound", five.bound(metrics), five.bound_async(metrics)),
        *_three("looked up", five.looked_up(metrics), five.looked_up_async(metrics)),
    ]
    return per_call([*references.cases(), *cases], effort)


def prometheus_client_shared(effort: Effort) -> Results:
    with shared_folder() as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        return prometheus_client(effort)


def autometrics(effort: Effort) -> Results:
    from autometrics import autometrics, init  # type: ignore[import-not-found]

    init(tracker="prometheus")
    return per_call([*references.cases(), *_three("autometrics", autometrics, autometrics)], effort)


def opentelemetry(effort: Effort) -> Results:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    provider = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)
    meter = provider.get_meter("bench")
    calls, durations = meter.create_counter("calls"), meter.create_histogram("durations")

    def finish(status: str, elapsed: float) -> None:
        calls.add(1, {"workflow": "orders", "status": status})
        durations.record(elapsed, {"workflow": "orders"})

    cases = _three("opentelemetry", _finishing(finish), _finishing_async(finish))
    return per_call([*references.cases(), *cases], effort)


def _three(name: str, decorator: Decorator, decorator_async: Decorator) -> list[Case]:
    return [
        Case(name, CALL, {"call": decorator(work)}),
        Case(f"{name}, async", AWAIT, {"call": decorator_async(work_async)}),
        Case(f"{name}, raising", RAISING, {"call": decorator(work_raising)}),
    ]


def _check_counted(address: str) -> None:
    """A decorator that counts nothing is fast."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(address, timeout=10) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    for name, labels in (
        ("workflow_runs_started_total", {"workflow": "orders"}),
        ("workflow_runs_total", {"workflow": "orders", "status": "success"}),
        ("workflow_run_errors_total", {"workflow": "orders", "type": "ValueError"}),
        ("workflow_run_duration_seconds_count", {"workflow": "orders"}),
        ("workflow_steps_total", {"workflow": "orders", "status": "success"}),
        ("workflow_steps_total", {"workflow": "parcels", "status": "success"}),
    ):
        found = [
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        if sum(found) < 1000:
            raise SystemExit(f"flowgauge counted {found} of {name} {labels}")


def _finishing(finish: Callable[[str, float], None]) -> Decorator:
    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            try:
                result = function(*args, **kwargs)
            except BaseException:
                finish("failed", perf_counter() - began)
                raise
            finish("success", perf_counter() - began)
            return result

        return wrapper

    return decorate


def _finishing_async(finish: Callable[[str, float], None]) -> Decorator:
    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            began = perf_counter()
            try:
                result = await function(*args, **kwargs)
            except BaseException:
                finish("failed", perf_counter() - began)
                raise
            finish("success", perf_counter() - began)
            return result

        return wrapper

    return decorate
