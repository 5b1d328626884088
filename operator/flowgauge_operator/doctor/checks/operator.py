"""Our operator: whether it is there, alone, of the right version, well configured and allowed to work. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping

from flowgauge_operator.doctor import access, places
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Access, Held, Installed, Snapshot, Unseen

_INSTALL = "helm upgrade --install flowgauge charts/flowgauge --namespace flowgauge-system --create-namespace"
_UPGRADE = "helm upgrade {name} charts/flowgauge --namespace {namespace} --reuse-values"
# A leader renews six times in the duration of the Lease, which is 10 s by default; clocks may differ.
_FRESH_SECONDS = 30


def about(operator: Installed) -> str:
    """How a finding names an operator."""
    return f"Deployment {operator.namespace}/{operator.name}"


def upgrade(operator: Installed, *settings: str) -> str:
    """The command that changes values of its release."""
    labels = operator.deployment["metadata"].get("labels") or {}
    name = labels.get("app.kubernetes.io/instance") or operator.name
    command = _UPGRADE.format(name=name, namespace=operator.namespace)
    return " ".join((command, *(f"--set {shlex.quote(setting)}" for setting in settings)))


def change(seen: Snapshot, *settings: str) -> str:
    """The same for the first operator that was seen; where none was, what to say to helm."""
    if seen.operators:
        return upgrade(seen.operators[0], *settings)
    return f"helm upgrade … {' '.join(f'--set {shlex.quote(setting)}' for setting in settings)}"


def escaped(key: str) -> str:
    """A label's key as a part of a path of helm's."""
    return key.replace(".", r"\.")


def there(seen: Snapshot) -> Iterator[Finding]:
    """Whether an operator is installed and its replicas are ready."""
    if not seen.operators:
        if isinstance(seen.workloads, Unseen):
            yield unseen("operator", "the Deployments of the cluster", seen.workloads)
        else:
            told = "no Deployment runs flowgauge-operator: nothing is made and no status is written"
            yield error("operator", told, _INSTALL)
    for operator in seen.operators:
        yield _ready(operator)


def _ready(operator: Installed) -> Finding:
    wanted = operator.deployment["spec"].get("replicas", 1)
    status = operator.deployment.get("status") or {}
    ready = status.get("readyReplicas") or 0
    look = f"kubectl -n {operator.namespace} describe deployment {operator.name}"
    if wanted == 0:
        told = "scaled to 0 replicas: nothing is made, repaired or verified"
        return error(
            "operator",
            told,
            f"kubectl -n {operator.namespace} scale deployment {operator.name} --replicas=1",
            about=about(operator),
        )
    if not ready:
        told = f"none of its {wanted} replicas is ready{_why(operator)}"
        remedy = (
            f"{look}\nkubectl -n {operator.namespace} logs deployment/{operator.name} --tail=30"
        )
        return error("operator", told, remedy, about=about(operator))
    if ready < wanted:
        return warning(
            "operator",
            f"{ready} of {wanted} replicas are ready{_why(operator)}",
            look,
            about=about(operator),
        )
    return ok("operator", f"{ready} of {wanted} replicas are ready", about=about(operator))


def _why(operator: Installed) -> str:
    if isinstance(operator.pods, Unseen):
        return ""
    if not operator.pods:
        conditions = (operator.deployment.get("status") or {}).get("conditions") or []
        # What keeps pods from being made says more than that there are none.
        failed = [c for c in conditions if c["type"] == "ReplicaFailure" and c["status"] == "True"]
        lacking = [c for c in conditions if c["status"] == "False"]
        told = [str(c.get("message", "")) for c in (*failed, *lacking)]
        return f"; it has no pods{f': {told[0]}' if told else ''}"
    states = [
        f"{state['reason']}: {state.get('message', '')}".rstrip(": ")
        for pod in operator.pods
        for container in (pod.get("status") or {}).get("containerStatuses") or []
        for state in [(container.get("state") or {}).get("waiting") or {}]
        if state.get("reason")
    ]
    return f"; {listed(states, 2)}" if states else ""


def version(seen: Snapshot) -> Iterator[Finding]:
    """Whether the operator is of this command line's version, by its label and the tag of its image."""
    for operator in seen.operators:
        container = places.container_of(operator.deployment) or {}
        labels = operator.deployment["metadata"].get("labels") or {}
        tag = str(container.get("image", "")).partition("@")[0].rpartition("/")[2].partition(":")[2]
        label = str(labels.get("app.kubernetes.io/version", ""))
        told = tag if re.match(r"v?\d+\.\d+", tag) else label
        name = about(operator)
        if not told:
            yield unknown(
                "operator-version",
                f"neither label nor image ({container.get('image')}) tell its version",
                about=name,
            )
        elif told.removeprefix("v") != seen.version.removeprefix("v"):
            text = f"the operator is {told}, this command line {seen.version}; what is rendered may differ"
            remedy = f"pip install 'flowgauge[cli]=={told.removeprefix('v')}', or upgrade: {upgrade(operator)}"
            yield warning("operator-version", text, remedy, about=name)
        else:
            yield ok(
                "operator-version", f"operator and command line are {seen.version}", about=name
            )


def single(seen: Snapshot) -> Iterator[Finding]:
    """Whether two operators serve the same namespace."""
    if isinstance(seen.workloads, Unseen):
        yield unseen("operator-single", "whether there are more operators", seen.workloads)
        return
    clashes = [
        (one, other)
        for index, one in enumerate(seen.operators)
        for other in seen.operators[index + 1 :]
        if _overlap(one, other)
    ]
    for one, other in clashes:
        told = f"{about(one)} and {about(other)} serve the same namespaces: each undoes what the other writes"
        remedy = f"remove one (helm uninstall), or give each its own: {upgrade(other, 'namespaces={team-a}')}"
        yield error("operator-single", told, remedy)
    replicas = [o for o in seen.operators if o.deployment["spec"].get("replicas", 1) > 1]
    for operator in replicas:
        if not operator.settings.leader_elect:
            told = "several replicas without --leader-elect: all of them work at once"
            yield error("operator-single", told, upgrade(operator), about=about(operator))
    if seen.operators and not clashes:
        yield ok("operator-single", "no two operators serve the same namespace")


def _overlap(one: Installed, other: Installed) -> bool:
    if 0 in (o.deployment["spec"].get("replicas", 1) for o in (one, other)):
        return False
    mine, theirs = set(one.settings.namespaces), set(other.settings.namespaces)
    return not mine or not theirs or bool(mine & theirs)


def lease(seen: Snapshot) -> Iterator[Finding]:
    """Whether the Lease is held by a pod that lives, and fresh."""
    for operator in seen.operators:
        name = about(operator)
        if operator.deployment["spec"].get("replicas", 1) == 0:
            continue
        if not operator.settings.leader_elect:
            yield ok("operator-lease", "one replica, which needs none", about=name)
            continue
        body = operator.lease
        if body is None or isinstance(body, Unseen):
            absent = body is None or body.sort == "absent"
            told = f"the Lease {operator.settings.leader_election_id}"
            if absent:
                yield error(
                    "operator-lease",
                    f"{told} is not there: no replica works",
                    f"kubectl -n {operator.namespace} logs deployment/{operator.name} --tail=30",
                    about=name,
                )
            elif isinstance(body, Unseen):
                yield unseen("operator-lease", told, body, about=name)
            continue
        yield _held(operator, body, seen)


def _held(operator: Installed, held: Held, seen: Snapshot) -> Finding:
    name = about(operator)
    logs = f"kubectl -n {operator.namespace} logs deployment/{operator.name} --tail=30"
    if not held.holder:
        return error("operator-lease", "nobody holds the Lease: no replica works", logs, about=name)
    now = seen.server_time or seen.now
    age = (now - held.renewed).total_seconds() if held.renewed else None
    if age is None or age > max(_FRESH_SECONDS, operator.settings.lease_duration):
        told = f"{held.holder} holds the Lease, but has not renewed it for {age or 0:.0f} s"
        return error("operator-lease", told, logs, about=name)
    if isinstance(operator.pods, Unseen):
        return unseen("operator-lease", "whether its holder lives", operator.pods, about=name)
    known = {str(pod["metadata"][key]) for pod in operator.pods for key in ("uid", "name")}
    if not any(part in held.holder for part in known):
        told = f"{held.holder} holds the Lease, which is no pod of this Deployment"
        remedy = (
            "if its pod has just gone, another replica leads within 15 s; else another operator uses the same Lease: give"
            " each its --leader-election-id"
        )
        return error("operator-lease", told, remedy, about=name)
    return ok(
        "operator-lease", f"held by {held.holder}, renewed {max(age, 0):.0f} s ago", about=name
    )


def flags(seen: Snapshot) -> Iterator[Finding]:
    """Whether its flags can be read, and whether it has a Prometheus to ask."""
    for operator in seen.operators:
        name = about(operator)
        for fault in operator.faults:
            yield error(
                "operator-flags", f"a flag cannot be read: {fault}", upgrade(operator), about=name
            )
        if not operator.settings.prometheus_url:
            told = "no --prometheus-url: nothing is verified, Loaded and Healthy stay Unknown"
            yield warning(
                "operator-flags",
                told,
                upgrade(operator, f"prometheus.url={_url(seen)}"),
                about=name,
            )
        elif not operator.faults:
            yield ok(
                "operator-flags",
                f"it asks {places.shown(operator.settings.prometheus_url)}",
                about=name,
            )


def _url(seen: Snapshot) -> str:
    if isinstance(seen.prometheuses, Unseen) or not seen.prometheuses:
        return "http://PROMETHEUS:9090"
    way = places.of_prometheus(seen.prometheuses[0])
    return f"{way.scheme}://{way.service}.{way.namespace}:9090{way.prefix}"


def namespaces(seen: Snapshot) -> Iterator[Finding]:
    """Whether an operator serves the namespace that is asked for."""
    space = seen.workflow.namespace if seen.workflow else seen.namespace
    if not space or not seen.operators:
        return
    serving = [
        o for o in seen.operators if not o.settings.namespaces or space in o.settings.namespaces
    ]
    if serving:
        yield ok("operator-namespaces", f"{space} is served", about=about(serving[0]))
        return
    operator = seen.operators[0]
    served = operator.settings.namespaces
    told = f"it serves {listed(served)}, not {space}"
    value = ",".join((*served, space))
    yield error(
        "operator-namespaces",
        told,
        upgrade(operator, f"namespaces={{{value}}}"),
        about=about(operator),
    )


def rights(seen: Snapshot) -> Iterator[Finding]:
    """Whether its ServiceAccount may do what it does."""
    for operator in seen.operators:
        answers = {r: a for r, a in seen.reviews.items() if r.user == operator.account}
        yield from _judged(operator, answers)


def _left_out(answers: Mapping[Access, bool | Unseen]) -> list[str]:
    """Kinds on which all rights are missing that the chart can leave out: that is somebody's choice."""
    return [
        resource
        for resource in access.BY_CHOICE
        if (of_it := [a for right, a in answers.items() if right.resource == resource])
        and all(answer is False for answer in of_it)
    ]


def _judged(operator: Installed, answers: dict[Access, bool | Unseen]) -> Iterator[Finding]:
    name = about(operator)
    failed = [answer for answer in answers.values() if isinstance(answer, Unseen)]
    refused = [right for right, answer in answers.items() if answer is False]
    left_out = _left_out(answers)
    denied = [right for right in refused if right.resource not in left_out]
    for resource in left_out:
        told = f"without rights on {resource}, as {access.BY_CHOICE[resource]}=false of the chart has it"
        yield ok("operator-rights", told, about=name)
    if denied:
        told = listed(
            (f"{r.spelled}{f' in {r.namespace}' if r.namespace else ''}" for r in denied), 6
        )
        first = denied[0]
        space = f"-n {first.namespace}" if first.namespace else "--all-namespaces"
        resource = f"{first.resource}.{first.group}" if first.group else first.resource
        check = f"kubectl auth can-i {first.verb} {resource} --as={operator.account} {space}"
        if first.subresource:
            check += f" --subresource={first.subresource}"
        remedy = f"{upgrade(operator)}    # brings the chart's RBAC back\n{check}"
        yield error("operator-rights", f"{operator.account} may not {told}", remedy, about=name)
    elif failed:
        yield unseen("operator-rights", f"what {operator.account} may do", failed[0], about=name)
    elif answers:
        yield ok(
            "operator-rights",
            f"{operator.account} has all {len(answers)} rights that it uses",
            about=name,
        )
