"""Decorators with five metrics of prometheus_client: the best that one can write, and what its documentation shows."""

# ruff: noqa: PLC0415 - where the others are measured it is not installed

from __future__ import annotations

import functools
from collections.abc import Callable
from time import perf_counter
from typing import Any

# 15 with the one above all, as prometheus_client has them.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)

Function = Callable[..., Any]
Decorator = Callable[[Function], Function]


class Metrics:
    """Five metrics of prometheus_client, as its users declare them."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        registry = CollectorRegistry()
        self.started = Counter(
            "runs_started", "Started.", ["workflow", "trigger"], registry=registry
        )
        self.finished = Counter("runs", "Finished.", ["workflow", "status"], registry=registry)
        self.errors = Counter("run_errors", "Errors.", ["workflow", "type"], registry=registry)
        self.duration = Histogram(
            "run_seconds", "Durations.", ["workflow"], buckets=BUCKETS, registry=registry
        )
        self.active = Gauge(
            "active_runs", "Active.", ["workflow"], registry=registry, multiprocess_mode="livesum"
        )


class _Bound:
    """The children that a decorator can know beforehand, and the errors that came so far."""

    def __init__(self, metrics: Metrics, workflow: str) -> None:
        self.started = metrics.started.labels(workflow, "manual").inc
        self.good = metrics.finished.labels(workflow, "success").inc
        self.failed = metrics.finished.labels(workflow, "failed").inc
        self.observe = metrics.duration.labels(workflow).observe
        active = metrics.active.labels(workflow)
        self.enter, self.leave = active.inc, active.dec
        self._metrics, self._workflow = metrics, workflow
        self._errors: dict[str, Callable[[], None]] = {}

    def error(self, name: str) -> None:
        found = self._errors.get(name)
        if found is None:
            found = self._errors[name] = self._metrics.errors.labels(self._workflow, name).inc
        found()


def bound(metrics: Metrics, workflow: str = "orders") -> Decorator:
    """The best that one can do: all children made at decoration."""
    made = _Bound(metrics, workflow)
    started, enter, leave = made.started, made.enter, made.leave
    good, failed, observe, count_error = made.good, made.failed, made.observe, made.error

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started()
            enter()
            began = perf_counter()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                observe(perf_counter() - began)
                failed()
                count_error(type(error).__name__)
                leave()
                raise
            observe(perf_counter() - began)
            good()
            leave()
            return result

        return wrapper

    return decorate


def bound_async(metrics: Metrics, workflow: str = "orders") -> Decorator:
    made = _Bound(metrics, workflow)
    started, enter, leave = made.started, made.enter, made.leave
    good, failed, observe, count_error = made.good, made.failed, made.observe, made.error

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            started()
            enter()
            began = perf_counter()
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                observe(perf_counter() - began)
                failed()
                count_error(type(error).__name__)
                leave()
                raise
            observe(perf_counter() - began)
            good()
            leave()
            return result

        return wrapper

    return decorate


def looked_up(metrics: Metrics) -> Decorator:
    """What its documentation shows: labels at each call."""
    started, finished, errors = metrics.started, metrics.finished, metrics.errors
    duration, active = metrics.duration, metrics.active

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started.labels(workflow="orders", trigger="manual").inc()
            active.labels(workflow="orders").inc()
            began = perf_counter()
            status = "success"
            try:
                return function(*args, **kwargs)
            except BaseException as error:
                status = "failed"
                errors.labels(workflow="orders", type=type(error).__name__).inc()
                raise
            finally:
                duration.labels(workflow="orders").observe(perf_counter() - began)
                finished.labels(workflow="orders", status=status).inc()
                active.labels(workflow="orders").dec()

        return wrapper

    return decorate


def looked_up_async(metrics: Metrics) -> Decorator:
    started, finished, errors = metrics.started, metrics.finished, metrics.errors
    duration, active = metrics.duration, metrics.active

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            started.labels(workflow="orders", trigger="manual").inc()
            active.labels(workflow="orders").inc()
            began = perf_counter()
            status = "success"
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                status = "failed"
                errors.labels(workflow="orders", type=type(error).__name__).inc()
                raise
            finally:
                duration.labels(workflow="orders").observe(perf_counter() - began)
                finished.labels(workflow="orders", status=status).inc()
                active.labels(workflow="orders").dec()

        return wrapper

    return decorate
