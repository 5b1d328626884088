"""The cluster itself: API server, clocks, kinds, and what whoever asks may see. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from flowgauge_operator import crd, kinds, names
from flowgauge_operator.doctor import access
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Body, Snapshot, Unseen

_OLDEST = (1, 29)
_SKEW_SECONDS = 30
_APPLY = "kubectl apply --server-side -f crds/    # of flowgauge {version}"


def server(seen: Snapshot) -> Iterator[Finding]:
    """Whether the API server answers, and how old it is."""
    if isinstance(seen.server, Unseen):
        yield unseen("api-server", f"the version of {seen.address}", seen.server)
        return
    version = str(seen.server.get("gitVersion", ""))
    told = f"Kubernetes {version} answers at {seen.address}"
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    if numbers and tuple(map(int, numbers.groups())) < _OLDEST:
        yield warning("api-server", f"{told}; Flowgauge needs 1.29 or newer", "upgrade the cluster")
    else:
        yield ok("api-server", told)


def clock(seen: Snapshot) -> Iterator[Finding]:
    """Whether three clocks agree: this machine's, the API server's, Prometheus'."""
    clocks = {"the API server": seen.server_time.timestamp() if seen.server_time else None}
    told = seen.prometheus.answer("time")
    clocks["Prometheus"] = None if isinstance(told, Unseen) else float(told)
    here, known = seen.now.timestamp(), {k: v for k, v in clocks.items() if v is not None}
    if not known:
        yield unknown("clock", "no other clock could be read")
        return
    wrong = [
        f"{name} by {there - here:+.0f} s"
        for name, there in known.items()
        if abs(there - here) > _SKEW_SECONDS
    ]
    if wrong:
        remedy = "let all machines follow a time server (NTP)"
        yield warning("clock", f"clocks differ from this machine's: {listed(wrong)}", remedy)
    else:
        yield ok("clock", f"this machine and {' and '.join(known)} agree")


def definitions(seen: Snapshot) -> Iterator[Finding]:
    """Whether our CRDs are there, established, and have the fields of this version."""
    apply = _APPLY.format(version=seen.version)
    for ours in _ours(seen.version):
        name = ours["metadata"]["name"]
        found = seen.crds.get(name, Unseen("it was not asked for"))
        if isinstance(found, Unseen) and found.sort == "absent":
            yield error("crds", f"{name} is not installed", apply)
        elif isinstance(found, Unseen):
            yield unseen("crds", f"the CRD {name}", found)
        else:
            yield from _definition(name, found, ours, seen.version)


@functools.cache
def _ours(version: str) -> tuple[Body, ...]:
    return tuple(crd.definitions(version).values())


def _definition(name: str, found: Body, ours: Body, version: str) -> Iterator[Finding]:
    apply = _update(found, version)
    conditions = {c["type"]: c for c in (found.get("status") or {}).get("conditions") or []}
    established = conditions.get("Established", {})
    served = [v["name"] for v in found["spec"]["versions"] if v.get("served")]
    if established.get("status") != "True":
        why = established.get("message") or "the API server has not said yet"
        yield error("crds", f"{name} is not established: {why}", f"kubectl describe crd {name}")
        return
    if kinds.WORKFLOW.version not in served:
        told = f"{name} serves {listed(served) or 'no version'}, not {kinds.WORKFLOW.version}"
        yield error("crds", told, apply)
        return
    yield ok("crds", f"{name} is established and serves {kinds.WORKFLOW.version}")
    lacks, more = _difference(_fields(ours), _fields(found))
    if lacks:
        release = (found["metadata"].get("labels") or {}).get(names.RELEASE)
        of = f" (of {release})" if release else ""
        told = f"{name}{of} is older than this command line ({version}): it lacks {listed(lacks)}; the API server drops these"
        yield error("crd-fields", told, apply)
    if more:
        told = f"{name} is newer than this command line ({version}): it also has {listed(more)}"
        yield warning("crd-fields", told, "use the command line of the version that is installed")
    if not lacks and not more:
        yield ok("crd-fields", f"{name} has the fields of this version")


def _update(found: Body, version: str) -> str:
    """How the definition is brought up to date: by who brought it."""
    notes = found["metadata"].get("annotations") or {}
    release, space = (notes.get(f"meta.helm.sh/release-{part}") for part in ("name", "namespace"))
    if release and space:
        return f"helm upgrade {release} charts/flowgauge --namespace {space} --reuse-values    # of flowgauge {version}"
    return _APPLY.format(version=version)


def _fields(definition: Body) -> set[str]:
    for version in definition["spec"]["versions"]:
        if version["name"] == kinds.WORKFLOW.version:
            schema = (version.get("schema") or {}).get("openAPIV3Schema") or {}
            return set(_walk(schema, ""))
    return set()


def _walk(schema: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, part in (schema.get("properties") or {}).items():
        here = f"{path}.{name}" if path else name
        if path or name in ("spec", "status"):
            yield here
            yield from _walk(part, here)
    for nested in (schema.get("items"), schema.get("additionalProperties")):
        if isinstance(nested, Mapping):
            yield from _walk(nested, f"{path}[]")


def _difference(ours: set[str], theirs: set[str]) -> tuple[list[str], list[str]]:
    """What each side lacks; what is within something that is missing is not told."""

    def only(one: set[str], other: set[str]) -> list[str]:
        missing = one - other
        return sorted(
            f for f in missing if not any(f.startswith((f"{m}.", f"{m}[")) for m in missing)
        )

    return only(ours, theirs), only(theirs, ours)


_PROMETHEUS_OPERATOR = tuple(
    kind.resource for kind in (kinds.SERVICE_MONITOR, kinds.POD_MONITOR, kinds.PROMETHEUS_RULE)
)


def others(seen: Snapshot) -> Iterator[Finding]:
    """Whether the kinds of Prometheus Operator and grafana-operator are there."""
    absent = [n for n in _PROMETHEUS_OPERATOR if _is_absent(seen.crds.get(n))]
    hidden = [n for n in _PROMETHEUS_OPERATOR if _is_hidden(seen.crds.get(n))]
    if absent:
        told = f"{listed(absent)} of Prometheus Operator: not installed"
        remedy = (
            "install Prometheus Operator; until then rules are in ConfigMaps and Services carry prometheus.io annotations"
            " (docs/workflow.md#without-prometheus-operator)"
        )
        yield warning("prometheus-operator", told, remedy)
    elif hidden:
        yield unseen("prometheus-operator", f"the CRD {hidden[0]}", _hidden(seen, hidden[0]))
    else:
        version = _version(seen.crds.get(_PROMETHEUS_OPERATOR[0]))
        yield ok("prometheus-operator", f"its kinds are installed{version}")
    board = seen.crds.get(kinds.GRAFANA_DASHBOARD.resource)
    wanted = _wants_grafana_operator(seen)
    if _is_absent(board) and wanted:
        told = f"{wanted} asks for GrafanaDashboards, but grafana-operator is not installed; a ConfigMap is made instead"
        yield warning("grafana-operator", told, "install it, or --set grafana.mode=ConfigMap")
    elif _is_absent(board):
        yield ok("grafana-operator", "not installed, and nothing asks for it")
    elif isinstance(board, Unseen):
        yield unseen("grafana-operator", "its CRD", board)
    else:
        yield ok("grafana-operator", f"its kinds are installed{_version(board)}")


def _wants_grafana_operator(seen: Snapshot) -> str:
    own = (seen.workflow.spec.get("dashboard") or {}).get("mode") if seen.workflow else None
    if own == "GrafanaDashboard":
        return "spec.dashboard.mode"
    if own is None and seen.options.dashboard_mode == "GrafanaDashboard":
        return "--dashboard-mode of the operator"
    return ""


def _is_absent(found: Body | Unseen | None) -> bool:
    return isinstance(found, Unseen) and found.sort == "absent"


def _is_hidden(found: Body | Unseen | None) -> bool:
    return found is None or isinstance(found, Unseen)


def _hidden(seen: Snapshot, name: str) -> Unseen:
    found = seen.crds.get(name)
    return found if isinstance(found, Unseen) else Unseen("it was not asked for")


def _version(found: Body | Unseen | None) -> str:
    if found is None or isinstance(found, Unseen):
        return ""
    told = (found["metadata"].get("annotations") or {}).get("operator.prometheus.io/version", "")
    return f", of version {told}" if told else ""


def own_rights(seen: Snapshot) -> Iterator[Finding]:
    """Whether whoever asks may see what the checks need."""
    space = seen.workflow.namespace if seen.workflow else ""
    wanted = access.of_reader(space)
    answers = {right: seen.reviews.get(right, Unseen("it was not asked")) for right in wanted}
    failed = next((a for a in answers.values() if isinstance(a, Unseen)), None)
    denied = [right for right, answer in answers.items() if answer is False]
    who = f" ({seen.user})" if seen.user else ""
    if denied:
        told = listed(
            (f"{r.spelled}{f' in {r.namespace}' if r.namespace else ''}" for r in denied), 12
        )
        remedy = "\n".join(
            f"kubectl auth can-i {r.verb} {r.resource}{f'.{r.group}' if r.group else ''}"
            f" {f'-n {r.namespace}' if r.namespace else '--all-namespaces'}{seen.asking_as}"
            for r in denied[:1]
        )
        yield unknown(
            "own-rights",
            f"you{who} may not {told}; what depends on it is unknown",
            f"{remedy}    # ask an administrator",
        )
    elif failed is not None:
        yield unseen("own-rights", "what you may do", failed)
    else:
        yield ok("own-rights", f"you{who} may see everything that the doctor looks at")
