"""Our side, in a process of its own: `python -m benchmarks.render.ours`; prints what it found as JSON."""

from __future__ import annotations

import functools
import hashlib
import json
import statistics
from collections.abc import Callable, Iterator
from time import process_time
from typing import Any

from flowgauge import profiles
from flowgauge_operator import model, promql
from flowgauge_operator.model import Workflow
from flowgauge_operator.render import Capabilities, Options, Rendered, render, rules, template
from flowgauge_operator.render.dashboards import fleet, objectives
from flowgauge_operator.render.dashboards import workflow as dashboard

OPTIONS = Options(runbook_url="https://runbooks.example", grafana_url="https://grafana.example")
SLOS = [
    {"name": "success", "objective": 99.5, "success": {}},
    {"name": "fast", "objective": 95, "latency": {"threshold": "5s"}},
]
SIXTEEN = [{"name": f"s{i}", "objective": 99, "success": {}} for i in range(16)]
MANY = 1000


def main() -> None:
    # What is read once is not rendering.
    for name in profiles.names():
        profiles.builtin(name)
    chosen = workflow("workflow", 0, slos=SLOS)
    found = {
        "first": _first(chosen),
        "new": _median(lambda: _new(chosen), 15),
        "known": _median(lambda: _manifests(chosen), 200),
        "many": _many(),
        "new dashboard": _median(functools.partial(_dashboard, *_prepared(chosen)), 15),
        "bound dashboard": _median(functools.partial(_bound, chosen), 200),
    }
    made = {"digest": _digest(), "sizes": dict(_sizes()), "board": _board(_manifests(chosen))}
    print(json.dumps({"seconds": found, **made}))


def workflow(profile: str, number: int, **spec: Any) -> Workflow:
    """A workflow of that profile; those of different numbers have different names."""
    name = f"orders{number}"
    given = {"profile": profile, "selector": {"matchLabels": {"app": name}}, **spec}
    if profile == "cronjob":
        given["schedule"] = {"cronJob": "nightly", "deadline": "20m"}
    return model.parse({"metadata": {"name": name, "namespace": "shop", "uid": "1"}, "spec": given})


def _manifests(chosen: Workflow) -> Rendered:
    return render(chosen, profiles.builtin(chosen.spec.profile), Capabilities(), OPTIONS)


def _first(chosen: Workflow) -> float:
    """Nothing was rendered before, in this process at least."""
    return _seconds(lambda: _manifests(chosen))


def _new(chosen: Workflow) -> None:
    """The spec has not been seen before; most of its expressions have, in others."""
    template._rendered.cache_clear()  # noqa: SLF001 - what an operator has not when it sees a new spec
    _manifests(chosen)


def _many() -> float:
    """The mean of many workflows of every profile, none of which was rendered before."""
    names = profiles.names()
    workflows = [workflow(names[i % len(names)], i, slos=SLOS) for i in range(MANY)]
    template._rendered.cache_clear()  # noqa: SLF001 - as when the operator starts
    promql.check.cache_clear()
    return _seconds(lambda: [_manifests(each) for each in workflows]) / MANY


def _prepared(chosen: Workflow) -> tuple[Any, ...]:
    made = rules.render(chosen, profiles.builtin(chosen.spec.profile), OPTIONS)
    return chosen, made.scope, made.slos


def _dashboard(chosen: Workflow, scope: Any, slos: Any) -> None:
    dashboard.render(chosen, scope, slos, OPTIONS)


def _bound(chosen: Workflow) -> None:
    look = template.template(chosen, profiles.builtin(chosen.spec.profile), OPTIONS)
    look.bound_dashboard(chosen)


def _median(run: Callable[[], Any], count: int) -> float:
    return statistics.median(_seconds(run) for _ in range(count))


def _seconds(run: Callable[[], Any]) -> float:
    began = process_time()
    run()
    return process_time() - began


def _board(made: Rendered) -> str:
    found = next(c for c in made.children if c["metadata"]["name"].endswith("-dashboard"))
    (text,) = found["data"].values()
    return str(text)


def _digest() -> str:
    """Of the manifests of a workflow of every profile, in the order of their keys."""
    every = [
        _manifests(workflow(name, number, slos=SLOS)).children
        for number, name in enumerate(profiles.names())
    ]
    return hashlib.sha256(json.dumps(every).encode()).hexdigest()


def _sizes() -> Iterator[tuple[str, int]]:
    for name in profiles.names():
        for what, slos in ("two objectives", SLOS), ("sixteen objectives", SIXTEEN):
            text = _board(_manifests(workflow(name, 0, slos=slos)))
            yield f"{name}, {what}", len(text.encode())
    for what, module in ("fleet", fleet), ("objectives", objectives):
        yield f"{what} of all namespaces", len(module.render(None, OPTIONS).encode())


if __name__ == "__main__":
    main()
