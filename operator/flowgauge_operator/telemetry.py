"""The operator's own metrics, on a registry of their own."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector


class Telemetry:
    """Counters, gauges and histograms; times are in seconds."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        PlatformCollector(self.registry)
        ProcessCollector(registry=self.registry)
        self.reconciles = self._counter("reconcile", "Turns of the queue, by result.", "result")
        self.reconcile_seconds = Histogram(
            "flowgauge_reconcile_duration_seconds",
            "Time that one turn took.",
            registry=self.registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.requests = self._counter(
            "api_requests", "Requests to the API server.", "verb", "kind", "code"
        )
        self.drifts = self._counter(
            "drifts_repaired", "Changes by others that were undone.", "kind"
        )
        self.events = self._counter("watch_events", "Events of watches.", "kind", "type")
        self.restarts = self._counter("watch_restarts", "Restarts of the watches.")
        self.looks = self._counter("verifications", "Looks at Prometheus, by result.", "result")
        self.ghosts = self._counter("ghosts_purged", "Objects that vanished without an event.")
        self.queue_wait = Histogram(
            "flowgauge_queue_wait_seconds",
            "Time that a key waited for its turn.",
            ("lane",),
            registry=self.registry,
            buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300),
        )
        self.forbidden = self._labelled(
            "kind_forbidden",
            "1 while RBAC keeps the operator from a kind that the cluster has.",
            "kind",
        )
        build = self._labelled("build_info", "1, with the version of the operator.", "version")
        build.labels(metadata.version("flowgauge")).set(1)
        self.is_leader = self._gauge("leader", "1 while this replica leads.")
        self.last_success = self._gauge(
            "last_successful_reconcile_timestamp_seconds", "When a turn last ended well."
        )

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"flowgauge_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"flowgauge_{name}", text, registry=self.registry)

    def _labelled(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(f"flowgauge_{name}", text, labels, registry=self.registry)

    def follow(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Expose what a function returns at each scrape."""
        self._gauge(name, text).set_function(value)

    def observe_request(self, verb: str, kind: str, code: str, _seconds: float) -> None:
        """Count one request to the API server."""
        self.requests.labels(verb, kind, code).inc()

    def expose(self) -> bytes:
        """All metrics as Prometheus text."""
        return generate_latest(self.registry)
