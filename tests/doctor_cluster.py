"""`flowgauge doctor` as a user of a real cluster runs it, and the healthy workflow there, of which a test changes one thing."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flowgauge_operator import command
from rig import waiting

ROOT = Path(__file__).resolve().parents[1]
FLOWGAUGE = str(ROOT / ".venv/bin/flowgauge")
SPACE = "doctor"
_MONITORING = "monitoring.coreos.com/v1"
_PATIENCE = 90
_marks = itertools.count(1)


@dataclass
class Doctor:
    """The command line, as one user of the cluster."""

    kubeconfig: Path

    def run(self, *arguments: str, env: dict[str, str] | None = None):
        """Run the real program and return what it did."""
        words = [FLOWGAUGE, "doctor", f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(words, capture_output=True, text=True, env=os.environ | (env or {}))

    def call(self, monkeypatch, capsys, *arguments: str):
        """The same without the seconds that Python needs to start it: exit code, output, errors."""
        words = ["flowgauge", "doctor", f"--kubeconfig={self.kubeconfig}", *arguments]
        monkeypatch.setattr(sys, "argv", words)
        return command.flowgauge(), *capsys.readouterr()

    def findings(self, monkeypatch, capsys, *arguments: str):
        """What it finds; the exit code always agrees."""
        code, out, _ = self.call(monkeypatch, capsys, "-o", "json", *arguments)
        found = json.loads(out)["findings"]
        assert code == int(any(f["level"] == "error" for f in found))
        return found


def of(findings, check, level=None):
    """The findings of a check."""
    return [f for f in findings if f["check"] == check and level in (None, f["level"])]


def the(findings, check, level):
    """The only finding of a check with a level."""
    found = of(findings, check, level)
    assert len(found) == 1, [f for f in findings if f["check"] == check]
    return found[0]


@dataclass
class Scene:
    """A healthy workflow, and a user who examines it."""

    orders: Any
    doctor: Doctor
    is_settled: bool = field(default=False)

    @property
    def cluster(self):
        return self.orders.operator.cluster

    @property
    def space(self):
        return self.orders.namespace

    @property
    def title(self):
        return f"{self.space}/orders"

    @property
    def where(self):
        return ("mwf", "orders", f"--namespace={self.space}")

    def patch(self, spec):
        """Change the workflow."""
        self._patch(self.where, "merge", {"spec": spec})

    @contextlib.contextmanager
    def patched(self, kind, name, namespace, spec):
        """Change some other object for a while."""
        where = (kind, name, f"--namespace={namespace}")
        with self.kept(where):
            self._patch(where, "merge", {"spec": spec})
            yield

    @contextlib.contextmanager
    def kept(self, where):
        """Leave a spec as it was."""
        before = self.cluster.get(*where)["spec"]
        try:
            yield
        finally:
            if self.cluster.get(*where)["spec"] != before:
                self._patch(where, "json", [{"op": "replace", "path": "/spec", "value": before}])

    def _patch(self, where, sort, body):
        self.is_settled = False
        self.cluster.kubectl("patch", *where, f"--type={sort}", f"--patch={json.dumps(body)}")

    @contextlib.contextmanager
    def applied(self, *objects):
        """Objects that are there for a while."""
        if any(one["apiVersion"] == _MONITORING for one in objects):
            self.is_settled = False
        self.cluster.apply(objects)
        try:
            yield
        finally:
            text = yaml.safe_dump_all(objects)
            self.cluster.kubectl("delete", "--ignore-not-found", "--filename=-", stdin=text)

    def settle(self):
        """Wait until all that was changed, and changed back, has arrived in Prometheus.

        What it answers may still be that of before, so a mark is sent after the changes along each of their ways: through
        the Service and its slices, through the monitors, through the rules. Each way keeps its order.
        """
        if self.is_settled:
            return
        operator, mark = self.orders.operator, f"mark-{next(_marks)}"
        operator.wait_condition("Ready", "True", self.space, timeout=_PATIENCE)
        service = ("service", "orders-metrics", f"--namespace={self.space}")
        self.cluster.kubectl("label", "--overwrite", *service, f"mark={mark}")
        self.cluster.apply(_marked(mark))
        operator.wait(lambda: self._has_arrived(mark), f"{mark} in Prometheus", _PATIENCE)
        # The operator's look may be older than what has just arrived.
        operator.wait_condition("Ready", "True", self.space, timeout=_PATIENCE)
        self.is_settled = True

    def _has_arrived(self, mark):
        ask = self.cluster.prometheus_get
        ours = f'{{namespace="{self.space}",monitored_workflow="orders"}}'
        told = [ask("status/config")["yaml"], ask("rules", **{"rule_group[]": mark})["groups"]]
        assert all(mark in str(text) for text in told), f"configuration and rules lack {mark}"
        targets = ask("targets", state="active")["activeTargets"]
        found = [t for t in targets if t["labels"].get("namespace") == self.space]
        assert [t["health"] for t in found] == ["up", "up"], found
        for sort in ("service", "endpointslice"):
            label = f"__meta_kubernetes_{sort}_label_mark"
            assert {t["discoveredLabels"].get(label) for t in found} == {mark}, label
        # Series of targets that went are there until Prometheus calls them stale; those of a job that went, for minutes.
        up = self.cluster.prometheus_query(f"up{ours}")
        assert [s["value"][1] for s in up] == ["1", "1"], up
        return self.cluster.prometheus_query(f"ALERTS{ours}") == []


def _marked(mark):
    meta = {"name": "mark", "namespace": SPACE}
    rules = [{"record": "doctor:mark", "expr": "vector(1)"}]
    selector = {"matchLabels": {"mark": "none"}}
    return [
        {
            "apiVersion": _MONITORING,
            "kind": "ServiceMonitor",
            "metadata": meta,
            "spec": {"selector": selector, "endpoints": [{"port": mark}]},
        },
        {
            "apiVersion": _MONITORING,
            "kind": "PrometheusRule",
            "metadata": meta,
            "spec": {"groups": [{"name": mark, "rules": rules}]},
        },
    ]


def wait_finding(examine, check, level, words=""):
    """The only such finding, once there is one: what was changed takes its time to reach Prometheus."""
    seen = []

    def ask():
        seen[:] = [f for f in examine() if f["check"] == check]
        found = [f for f in of(seen, check, level) if re.search(words, f["seen"])]
        return found[0] if len(found) == 1 else None

    try:
        return waiting.wait_for(ask, _PATIENCE, f"{level} of {check}: {words}", every=0.5)
    except TimeoutError as late:
        raise AssertionError(f"{late}; it says {seen}") from late


@contextlib.contextmanager
def removed(cluster, *deployments):
    """Be without some Deployments; their pods stay, since the tokens of their processes are bound to them."""
    for body in deployments:
        where = f"--namespace={body['metadata']['namespace']}"
        cluster.kubectl("delete", "deployment", body["metadata"]["name"], where, "--cascade=orphan")
    try:
        yield
    finally:
        kept = ("name", "namespace", "labels", "annotations")
        for body in deployments:
            body["metadata"] = {k: v for k, v in body["metadata"].items() if k in kept}
            body.pop("status", None)
        if deployments:
            cluster.apply(deployments)
