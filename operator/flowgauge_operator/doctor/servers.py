"""Find and ask Prometheus and Alertmanager: by their URL, else through the API server. Asks by `asking`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge_operator import duration, names, promql, verify
from flowgauge_operator.doctor import places
from flowgauge_operator.doctor.asking import Api, Outside, together
from flowgauge_operator.doctor.checks import pods, rules
from flowgauge_operator.doctor.checks.prometheus import nearest_first
from flowgauge_operator.doctor.places import Way
from flowgauge_operator.doctor.snapshot import Server, Snapshot, Unseen, Workflow
from flowgauge_operator.render import Rendered
from flowgauge_operator.verify import Observation

Query = Mapping[str, str | Sequence[str]]
# `ask(path, query)`: decoded JSON or an `Unseen`.
Ask = Callable[[str, Query], Any]

_MOST_PODS = 50


@dataclass(frozen=True, slots=True)
class Reach:
    """How to reach the servers where somebody says it; empty: through the API server."""

    prometheus: str = ""
    alertmanager: str = ""
    token: str = ""
    ca_file: str = ""
    timeout: float = 10.0


def prometheus(
    api: Api, reach: Reach, seen: Snapshot, url: str, home: str
) -> tuple[Server, Observation | None]:
    """What Prometheus answers, and of it what the operator would observe of the workflow.

    `url` is the operator's own, `home` its namespace.
    """
    known = nearest_first(seen)
    ways = places.once(
        [places.by_url(url, home) if url else None, *map(places.of_prometheus, known)]
    )
    way, ask, error = _found(
        api, reach, reach.prometheus, ways, "/api/v1/status/buildinfo", "--prometheus", _data
    )
    if ask is None:
        return Server(error=error), Observation(error="Prometheus does not answer")
    flow = seen.workflow
    asked: dict[str, tuple[str, Query]] = {
        "build": ("/api/v1/status/buildinfo", {}),
        "time": ("/api/v1/query", {"query": "time()"}),
        "alertmanagers": ("/api/v1/alertmanagers", {}),
        "notifications": ("/api/v1/query", {"query": _NOTIFICATIONS}),
    }
    if flow is not None and flow.rendered is not None:
        asked |= _of_workflow(flow)
    answers = together({n: functools.partial(_asked, ask, n, *q) for n, q in asked.items()})
    return Server(way, None, answers), _observation(flow, answers)


_NOTIFICATIONS = "sum by (integration) (increase(alertmanager_notifications_failed_total[1h]))"


def _of_workflow(flow: Workflow) -> dict[str, tuple[str, Query]]:
    rendered = flow.rendered
    if rendered is None:
        return {}
    owner = promql.matchers(promql.owner(flow.namespace, flow.name))
    named = [pod["metadata"]["name"] for pod in pods.own(flow)[:_MOST_PODS]]
    of_pods = promql.matchers(
        [("namespace", "=", flow.namespace), ("pod", "=~", promql.any_of(named))]
    )
    # The target of a Pushgateway has a namespace of its own and no workflow, so only the pushed namespace is renamed.
    renamed = [("exported_namespace", "=", flow.namespace), ("monitored_workflow", "=", flow.name)]
    clash = (
        promql.matchers(renamed)
        if flow.mode == "Push"
        else f'{owner},exported_monitored_workflow!=""'
    )
    asked = verify.questions([rendered])
    oldest = {"oldest": _age(rendered, owner)} if rendered.slos else {}
    pool = {"scrapePool": rendered.pool} if rendered.pool else {}
    queries = {
        "observed": asked.targets,
        "families": asked.families,
        "firing": asked.firing,
        "up": f"up{{{of_pods}}}",
        "names": f"count by (__name__) ({{{owner}}})",
        "clash": f"count by (__name__) ({{{clash}}})",
        "pushed": f"push_time_seconds{{{owner}}}",
        **oldest,
    }
    return {
        **{name: ("/api/v1/query", {"query": query}) for name, query in queries.items()},
        "rules": ("/api/v1/rules", {"rule_group[]": list(rendered.rule_groups)}),
        "pools": ("/api/v1/scrape_pools", {}),
        "targets": ("/api/v1/targets", {"state": "active", **pool}),
        "runtime": ("/api/v1/status/runtimeinfo", {}),
    }


def _age(rendered: Rendered, owner: str) -> str:
    """How many seconds ago the workflow's rules were first evaluated, as far as its objectives look back."""
    back = max(duration.seconds(view.window) for view in rendered.slos)
    # The first of the steps at which there was something, so the answer is at most a step too low; a step is due at
    # times that it divides, perhaps none yet.
    every = duration.text(rules.step_of(back))
    seen = f"timestamp({names.INFO}{{{owner}}})"
    return f"time() - min(min_over_time({seen}[{duration.text(back)}:{every}]) or {seen})"


def _asked(ask: Ask, name: str, path: str, query: Query) -> Any:
    return _simple(name, _data(ask(path, query)))


def _no(what: str, answer: Any) -> Unseen:
    return Unseen(f"what answers is no {what}: {str(answer)[:100]}")


def _receivers(answer: Any) -> Any:
    return answer if isinstance(answer, (list, Unseen)) else _no("Alertmanager", answer)


def _data(answer: Any) -> Any:
    if isinstance(answer, Unseen):
        return answer
    data = answer.get("data") if isinstance(answer, dict) else None
    # Every answer that is asked for here is an object.
    return data if isinstance(data, dict) else _no("Prometheus", answer)


_WHOLE = ("build", "alertmanagers", "runtime")
_PARTS = {"pools": "scrapePools", "targets": "activeTargets", "rules": "groups"}


def _simple(name: str, data: Any) -> Any:
    """What a check wants of an answer: the list in it, or the number."""
    if isinstance(data, Unseen):
        return data
    if name in _WHOLE:
        return data
    part = data.get(_PARTS.get(name, "result")) or []
    if not isinstance(part, list):
        return _no("Prometheus", data)
    return part[1] if name == "time" else part


def _observation(flow: Workflow | None, answers: Mapping[str, Any]) -> Observation | None:
    """The same record as the operator's own look, so that the same code judges it."""
    if flow is None or flow.rendered is None:
        return None
    needed = ("observed", "families", "firing", "rules")
    lost = next((answers[n] for n in needed if isinstance(answers[n], Unseen)), None)
    if lost is not None:
        return Observation(error=lost.why)
    try:
        return _read(answers)
    except (AttributeError, LookupError, TypeError, ValueError):
        return Observation(error="what answers speaks another API than that of Prometheus")


def _read(answers: Mapping[str, Any]) -> Observation:
    seen = Observation()
    verify.read_targets(answers["observed"], seen)
    verify.read_families(answers["families"], seen)
    verify.read_firing(answers["firing"], seen)
    verify.read_rules(answers["rules"], seen)
    seen.pools = None if isinstance(answers["pools"], Unseen) else set(answers["pools"])
    if not isinstance(answers["runtime"], Unseen):
        verify.read_retention(answers["runtime"], seen)
    return seen


def alertmanager(api: Api, reach: Reach, seen: Snapshot) -> Server:
    """What Alertmanager answers."""
    known = () if isinstance(seen.alertmanagers, Unseen) else seen.alertmanagers
    ways = places.once(
        [*places.alertmanagers_of(seen.prometheuses), *map(places.of_alertmanager, known)]
    )
    way, ask, error = _found(
        api, reach, reach.alertmanager, ways, "/api/v2/receivers", "--alertmanager", _receivers
    )
    if ask is None:
        return Server(error=error, name="Alertmanager")
    if seen.workflow is None:
        return Server(way, name="Alertmanager")
    owner = [f'namespace="{seen.workflow.namespace}"', f'monitored_workflow="{seen.workflow.name}"']
    found = ask("/api/v2/alerts", {"filter": owner})
    answers = {"alerts": found if isinstance(found, (list, Unseen)) else _no("Alertmanager", found)}
    return Server(way, None, answers, "Alertmanager")


def _found(
    api: Api,
    reach: Reach,
    url: str,
    ways: Sequence[Way],
    probe: str,
    flag: str,
    judge: Callable[[Any], Any],
) -> tuple[str, Ask | None, Unseen | None]:
    """The first way that leads to an answer."""
    if url:
        outside = Outside(url, reach.token, reach.ca_file, reach.timeout)
        answer = judge(outside.get(probe, {}))
        if isinstance(answer, Unseen):
            return "", None, Unseen(f"{outside.way}: {answer.why}", f"mend {flag}")
        return outside.way, outside.get, None
    tried = []
    remedy = f"give its URL: {flag} URL, with kubectl port-forward if need be"
    for way in ways:
        answer = judge(api.through(way, probe, {}))
        if not isinstance(answer, Unseen):
            return str(way), _through(api, way), None
        tried.append(f"{way}: {answer.why}")
        remedy = f"{answer.remedy}\n{flag} URL" if answer.sort == "forbidden" else remedy
    told = "; ".join(tried) or "no object in the cluster tells where it is"
    return "", None, Unseen(told, remedy)


def _through(api: Api, way: Way) -> Ask:
    return lambda path, query: api.through(way, path, query)
