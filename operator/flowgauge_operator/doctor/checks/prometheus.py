"""Prometheus objects: whether they would take in what the operator makes, and may find the pods. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowgauge_operator import kinds, names
from flowgauge_operator.doctor import access, selectors
from flowgauge_operator.doctor.checks.operator import change, escaped
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen
from flowgauge_operator.doctor.snapshot import Body, Snapshot, Unseen, title, where

_SELECTORS: dict[str, dict[str, str]] = {
    f"{what}{part}": {}
    for what in ("serviceMonitor", "podMonitor", "rule")
    for part in ("Selector", "NamespaceSelector")
}
_MADE = {
    "apiVersion": f"{kinds.MONITORING}/v1",
    "kind": "Prometheus",
    "metadata": {"name": "main", "namespace": "monitoring"},
    "spec": _SELECTORS,
}
_LIMITS = (
    "enforcedSampleLimit",
    "enforcedTargetLimit",
    "enforcedLabelLimit",
    "enforcedBodySizeLimit",
    "enforcedLabelValueLengthLimit",
)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object of ours that somebody has to select: real, or as the operator would make it."""

    title: str
    namespace: str
    labels: Mapping[str, str]


def objects(seen: Snapshot) -> Iterator[Finding]:
    """Whether there is a Prometheus object, and whether it is paused."""
    found = seen.prometheuses
    if isinstance(found, Unseen):
        if found.sort != "absent":
            yield unseen("prometheus-object", "the Prometheus objects", found)
        return
    scrapers = () if isinstance(seen.scrapers, Unseen) else seen.scrapers
    if not scrapers:
        told = "there is no Prometheus object: nothing is scraped and no rule is evaluated, whatever the operator makes"
        yield error("prometheus-object", told, f"echo '{json.dumps(_MADE)}' | kubectl apply -f -")
    for body in scrapers:
        name = title(body)
        if body["spec"].get("paused"):
            remedy = (
                f'kubectl patch {where(body)} --type=merge -p \'{{"spec":{{"paused":false}}}}\''
            )
            yield error(
                "prometheus-object",
                "it is paused: changes do not reach Prometheus",
                remedy,
                about=name,
            )
        else:
            yield ok(
                "prometheus-object",
                f"there, version {body['spec'].get('version', 'by default')}",
                about=name,
            )
        if limits := [f"{key} {body['spec'][key]}" for key in _LIMITS if body["spec"].get(key)]:
            yield ok("prometheus-limits", f"it enforces {listed(limits)}", about=name)


def monitors(seen: Snapshot) -> Iterator[Finding]:
    """Whether a Prometheus object selects our monitors."""
    for kind in ("ServiceMonitor", "PodMonitor"):
        made = _monitors(seen, kind)
        yield from _selected(seen, "monitor-selector", _field(kind), "monitorLabels", made)


def rules(seen: Snapshot) -> Iterator[Finding]:
    """Whether a Prometheus object selects our rules."""
    yield from _selected(seen, "rule-selector", "rule", "ruleLabels", _rules(seen))


def scraping(seen: Snapshot) -> list[Body]:
    """The Prometheus and PrometheusAgent objects that select the monitors that are made; all of them, where none does."""
    known = [] if isinstance(seen.scrapers, Unseen) else list(seen.scrapers)
    made = _scraped(seen)
    return [body for body in known if not _refused(seen, body, made)] or known


def nearest_first(seen: Snapshot) -> list[Body]:
    """All Prometheus objects, first those that select most of what is made."""
    known = () if isinstance(seen.prometheuses, Unseen) else seen.prometheuses
    made = [*_scraped(seen), *(("rule", thing) for thing in _rules(seen))]
    return sorted(known, key=lambda body: _refused(seen, body, made))


def _scraped(seen: Snapshot) -> list[tuple[str, Thing]]:
    return [
        (_field(kind), thing)
        for kind in ("ServiceMonitor", "PodMonitor")
        for thing in _monitors(seen, kind)
    ]


def _refused(seen: Snapshot, body: Body, made: Iterable[tuple[str, Thing]]) -> int:
    return sum(bool(refusals(seen, body, field, thing)) for field, thing in made)


def _field(kind: str) -> str:
    return f"{kind[0].lower()}{kind[1:]}"


def _monitors(seen: Snapshot, kind: str) -> list[Thing]:
    shared = {names.MANAGED_BY: names.MANAGER, names.NAME: "flowgauge", names.SHARED: "true"}
    shared |= dict(seen.options.monitor_labels)
    if seen.workflow is None:
        made = _spaces(seen) if kind == "ServiceMonitor" else ()
        return [_shared(kind, space, names.SHARED_MONITOR, shared) for space in made]
    rendered = seen.workflow.rendered
    if rendered is None:
        return []
    named = [share.name for share in rendered.shares if share.kind == kind]
    own = [child for child in rendered.children if child["kind"] == kind]
    wanted = {*named, *(child["metadata"]["name"] for child in own)}
    existing = real(seen.workflow.monitors, kind)
    if present := [body for body in existing if body["metadata"]["name"] in wanted]:
        return [_object(body) for body in present]
    expected = [_shared(kind, seen.workflow.namespace, name, shared) for name in named]
    return [*expected, *(_object(body) for body in own)]


def _shared(kind: str, namespace: str, name: str, labels: Mapping[str, str]) -> Thing:
    return Thing(f"{kind} {namespace}/{name}", namespace, labels)


def _rules(seen: Snapshot) -> list[Thing]:
    if seen.workflow is None:
        labels = {names.MANAGED_BY: names.MANAGER, names.NAME: "flowgauge"}
        labels |= dict(seen.options.rule_labels)
        return [Thing(f"PrometheusRules in {space}", space, labels) for space in _spaces(seen)]
    if seen.workflow.rendered is None:
        return []
    own = [c for c in seen.workflow.rendered.children if c["kind"] == "PrometheusRule"]
    wanted = {child["metadata"]["name"] for child in own}
    existing = real(seen.workflow.rules, "PrometheusRule")
    present = [body for body in existing if body["metadata"]["name"] in wanted]
    return [_object(body) for body in (present or own)]


def real(bodies: Any, kind: str) -> list[Body]:
    """The objects of one kind among those that were seen."""
    if isinstance(bodies, Unseen):
        return []
    return [body for body in bodies if body.get("kind", kind) == kind]


def _object(body: Body) -> Thing:
    meta = body["metadata"]
    name = f"{body['kind']} {meta['namespace']}/{meta['name']}"
    return Thing(name, meta["namespace"], meta.get("labels") or {})


def _spaces(seen: Snapshot) -> Sequence[str]:
    if isinstance(seen.workflows, Unseen):
        return ()
    return sorted({body["metadata"]["namespace"] for body in seen.workflows})


def _selected(
    seen: Snapshot, check: str, field: str, value: str, made: Iterable[Thing]
) -> Iterator[Finding]:
    takers = _takers(seen, field)
    if takers is None:
        return
    alike: dict[Any, list[Thing]] = {}
    for thing in made:
        alike.setdefault(_outcome(seen, takers, field, thing), []).append(thing)
    for things in alike.values():
        yield _judged(seen, takers, check, field, value, things)


def _outcome(seen: Snapshot, takers: Sequence[Body], field: str, thing: Thing) -> Any:
    """What is the same for all things of which the same is to be said: in a large cluster these are many."""
    found = [refusals(seen, body, field, thing) for body in takers]
    return tuple(
        None
        if texts is None
        else tuple(text.replace(f"of the namespace {thing.namespace},", "") for text in texts)
        for texts in found
    )


def _judged(
    seen: Snapshot,
    takers: Sequence[Body],
    check: str,
    field: str,
    value: str,
    things: Sequence[Thing],
) -> Finding:
    thing, named = things[0], listed(thing.title for thing in things)
    if not takers:
        told = f"no Prometheus or ThanosRuler object evaluates {named}, agents only scrape; whether another ruler takes it in cannot be seen here"
        return unknown(check, told, "make a ThanosRuler, or have the ruler of what the agents write to read PrometheusRules")  # fmt: skip
    reasons = {title(body): refusals(seen, body, field, thing) for body in takers}
    taking = [name for name, refused in reasons.items() if refused == []]
    if taking:
        are = "are" if len(things) > 1 else "is"
        return ok(check, f"{named} {are} selected by {listed(taking)}")
    if any(refused is None for refused in reasons.values()):
        told = f"{named}: the labels of namespaces could not be seen, which a selector goes by"
        return unknown(check, told, "kubectl auth can-i list namespaces")
    told = "; ".join(f"{name}: {', '.join(r or [])}" for name, r in reasons.items())
    spaces = list(dict.fromkeys(thing.namespace for thing in things))
    return error(
        check,
        f"no Prometheus selects {named}: {told}",
        selecting(seen, takers[0], field, value, thing, spaces),
    )


def _takers(seen: Snapshot, field: str) -> Sequence[Body] | None:
    """Who may select an object of ours; None where nobody can be seen, which has a finding of its own."""
    if isinstance(seen.prometheuses, Unseen) or isinstance(seen.scrapers, Unseen):
        return None
    if field != "rule" or not seen.scrapers:
        return seen.scrapers or None
    # A ThanosRuler evaluates rules by the same fields.
    return [*seen.prometheuses, *(() if isinstance(seen.rulers, Unseen) else seen.rulers)]


def refusals(seen: Snapshot, body: Body, field: str, thing: Thing) -> list[str] | None:
    """Why a Prometheus object does not take something in; None where that cannot be told."""
    spec = body["spec"]
    selector = spec.get(f"{field}Selector")
    found = [f"{field}Selector is not set, so nothing is selected"] if selector is None else []
    if selector is not None:
        found += [f"{field}Selector: {text}" for text in selectors.misfits(selector, thing.labels)]
    spaces = spec.get(f"{field}NamespaceSelector")
    if spaces is None:
        if thing.namespace != body["metadata"]["namespace"]:
            found.append(
                f"{field}NamespaceSelector is not set, so only its own namespace is looked into"
            )
    elif spaces:
        labels = seen.labels_of(thing.namespace)
        if labels is None:
            return found or None
        found += [
            f"{field}NamespaceSelector: of the namespace {thing.namespace}, {text}"
            for text in selectors.misfits(spaces, labels)
        ]
    return found


def selecting(
    seen: Snapshot, body: Body, field: str, value: str, thing: Thing, homes: Sequence[str]
) -> str:
    """What makes an object select a thing of ours, and its like in some namespaces.

    `value` is that of the chart for labels of such things.
    """
    selector = body["spec"].get(f"{field}Selector")
    lines = []
    patch = {}
    if selector is None:
        patch[f"{field}Selector"] = "{}"
    elif selectors.misfits(selector, thing.labels):
        wanted = {k: v for k, v in selectors.wanted(selector).items() if thing.labels.get(k) != v}
        if wanted:
            lines.append(change(seen, *(f"{value}.{escaped(k)}={v}" for k, v in wanted.items())))
        else:
            lines.append(
                f"kubectl edit {where(body)}    # {field}Selector excludes labels that it has"
            )
    spaces = body["spec"].get(f"{field}NamespaceSelector")
    if spaces is None and thing.namespace != body["metadata"]["namespace"]:
        patch[f"{field}NamespaceSelector"] = "{}"
    elif spaces and not selectors.matches(spaces, seen.labels_of(thing.namespace) or {}):
        labels = " ".join(f"{k}={v}" for k, v in selectors.wanted(spaces).items())
        lines.append(
            f"kubectl label namespace {' '.join(homes)} {labels}"
            if labels
            else f"kubectl edit {where(body)}    # {field}NamespaceSelector excludes labels of {thing.namespace}"
        )
    if patch:
        fields = ",".join(f'"{key}":{given}' for key, given in patch.items())
        lines.append(f"kubectl patch {where(body)} --type=merge -p '{{\"spec\":{{{fields}}}}}'")
    return "\n".join(lines)


def rights(seen: Snapshot) -> Iterator[Finding]:
    """Whether the ServiceAccount of each Prometheus may find targets where workflows are."""
    spaces = [seen.workflow.namespace] if seen.workflow else _spaces(seen)[:1]
    for body in scraping(seen):
        if body["spec"].get("apiserverConfig"):
            told = "it reaches the API server with credentials of its own (apiserverConfig), which cannot be judged here"
            yield unknown("prometheus-rights", told, about=title(body))
            continue
        yield from _may_discover(seen, body, spaces)


def _may_discover(seen: Snapshot, body: Body, spaces: Sequence[str]) -> Iterator[Finding]:
    wanted = access.of_prometheus(body, spaces)
    if not wanted:
        return
    answers = {right: seen.reviews.get(right, Unseen("it was not asked")) for right in wanted}
    denied = [right for right, answer in answers.items() if answer is False]
    failed = next((answer for answer in answers.values() if isinstance(answer, Unseen)), None)
    user, name = wanted[0].user, title(body)
    if denied:
        told = f"{user} may not {listed(r.spelled for r in denied)} in {listed(spaces)}: it finds no target there"
        space, account = user.split(":")[2:]
        remedy = (
            f"kubectl create clusterrole {account}-discovery --verb=get,list,watch"
            " --resource=pods,services,endpoints,endpointslices.discovery.k8s.io\n"
            f"kubectl create clusterrolebinding {account}-discovery --clusterrole={account}-discovery"
            f" --serviceaccount={space}:{account}"
        )
        yield error("prometheus-rights", told, remedy, about=name)
    elif failed is not None:
        yield unseen("prometheus-rights", f"what {user} may do", failed, about=name)
    else:
        yield ok("prometheus-rights", f"{user} may find targets in {listed(spaces)}", about=name)
