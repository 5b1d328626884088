"""Prove that an installed operator works: make a small MonitoredWorkflow, wait for its status, remove it.

`helm test` runs it as `flowgauge-operator-test` in a pod of its own, with permission for that one object. It needs nothing
that a user has not: what it waits for is what `kubectl describe` shows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from flowgauge_operator import credentials, errors, kinds
from flowgauge_operator.cluster import Cluster
from flowgauge_operator.credentials import CredentialsError
from flowgauge_operator.kinds import Ref

# What the operator can bring about by itself; the others depend on a Prometheus and on pods.
_NEEDED = ("Accepted", "Provisioned")
_PAUSE_SECONDS = 0.5
_UNSEEN = (
    "it has no status: no operator has seen it. Do its pods run, does one of them lead (flowgauge_leader), and does it serve"
    " this namespace? Its log says what it may not watch."
)


class SmokeError(Exception):
    """Report that the operator does not work; the message names the remedy."""


def main(argv: Sequence[str]) -> int:
    """Run the test; 0 when the operator works, 1 when it does not, 2 for wrong flags."""
    parser = argparse.ArgumentParser(
        prog="flowgauge-operator-test",
        description="Make a small MonitoredWorkflow, wait until the operator has made what belongs to it, and remove it.",
    )
    parser.add_argument("--namespace", required=True, help="a namespace that the operator serves")
    parser.add_argument("--name", required=True, help="name of the workflow that is made")
    parser.add_argument(
        "--timeout", type=float, default=60, help="seconds to wait (default: 60)", metavar="SECONDS"
    )
    chosen = parser.parse_args(argv)
    try:
        found = credentials.load(os.environ)
        asyncio.run(_run(found, chosen.namespace, chosen.name, chosen.timeout))
    except (CredentialsError, SmokeError, errors.ApiError) as error:
        print(f"FAILED: {error}", flush=True)
        return 1
    print("passed: the operator works", flush=True)
    return 0


async def _run(
    found: credentials.Credentials, namespace: str, name: str, timeout_seconds: float
) -> None:
    ref = Ref(kinds.WORKFLOW, namespace, name)
    async with Cluster(found) as cluster:
        # One that an interrupted test left behind would tell of an operator of before.
        await _allowed("delete", cluster.delete(ref))
        try:
            await _allowed("create", cluster.create(workflow(namespace, name)))
            print(f"created {ref}; waiting at most {timeout_seconds:g} s", flush=True)
            await _wait(cluster, ref, timeout_seconds)
        finally:
            await cluster.delete(ref)
            print(f"removed {ref}", flush=True)


def workflow(namespace: str, name: str) -> dict[str, Any]:
    """The workflow that is made: one that no pod belongs to."""
    return {
        "apiVersion": kinds.WORKFLOW.api_version,
        "kind": kinds.WORKFLOW.kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"flowgauge.dev/test": name}}},
    }


async def _allowed(verb: str, request: Any) -> None:
    try:
        await request
    except errors.NotFound as error:
        raise SmokeError(
            f"cannot {verb} a MonitoredWorkflow: {error}. Is the CRD installed (crds.enabled, or kubectl apply -f crds/),"
            " and does the namespace exist?"
        ) from error
    except errors.Forbidden as error:
        raise SmokeError(f"the account of the test may not {verb} it: {error}") from error


async def _wait(cluster: Cluster, ref: Ref, timeout_seconds: float) -> None:
    started, said, missing = time.monotonic(), _UNSEEN, _UNSEEN
    while time.monotonic() - started < timeout_seconds:
        missing = lacking(await cluster.get(ref))
        if not missing:
            print(f"{' and '.join(_NEEDED)} after {time.monotonic() - started:.1f} s", flush=True)
            return
        if missing != said:
            print(f"  {missing}", flush=True)
            said = missing
        await asyncio.sleep(_PAUSE_SECONDS)
    raise SmokeError(f"{ref} after {timeout_seconds:g} s: {missing}")


def lacking(body: Mapping[str, Any]) -> str:
    """Say what a MonitoredWorkflow's status lacks, in words for whoever runs the test; empty when nothing is."""
    status = body.get("status") or {}
    if status.get("observedGeneration") != body["metadata"]["generation"]:
        return _UNSEEN
    by_type = {condition["type"]: condition for condition in status.get("conditions") or ()}
    for kind in _NEEDED:
        found = by_type.get(kind) or {"status": "missing"}
        if found["status"] != "True":
            return f"{kind} is {found['status']} ({found.get('reason', '')}): {found.get('message', '')}"
    return ""
