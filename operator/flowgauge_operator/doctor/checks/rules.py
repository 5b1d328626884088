"""Rules and metrics: whether Prometheus has the rules, can evaluate them, and has the metrics that they need. Pure.

Whether they are loaded is `verify`'s to say, which the operator asks as well; here it is explained.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator
from datetime import datetime

from flowgauge import profiles
from flowgauge.profiles import Profile
from flowgauge_operator import duration, measure, names, verify
from flowgauge_operator.doctor.finding import Finding, error, listed, ok, unknown, unseen, warning
from flowgauge_operator.doctor.snapshot import Snapshot, Unseen, Workflow
from flowgauge_operator.render import Rendered
from flowgauge_operator.verify import Observation

# A workflow that was made some time before its rules were loaded is nothing to talk about.
_LATE_SECONDS = 3600
_RECORDED = ("workflow:", "slo:", "ALERTS", "up", "scrape_")


def _observed(seen: Snapshot) -> tuple[Workflow, Rendered, Observation] | None:
    flow = seen.workflow
    if flow is None or flow.rendered is None or flow.observation is None:
        return None
    return flow, flow.rendered, flow.observation


def loaded(seen: Snapshot) -> Iterator[Finding]:
    """Whether Prometheus has loaded exactly these rules, and evaluates them."""
    known = _observed(seen)
    if known is None:
        return
    flow, rendered, observed = known
    verdict = verify.loaded(rendered, flow.owner, observed)
    is_of_job = verdict.reason in ("ScrapeJobNotLoaded", "ScrapeJobUnknown")
    if verdict.state is None and not is_of_job:
        yield unknown("rules", verdict.message, "see the finding prometheus-answers")
    elif verdict.state or is_of_job:
        yield ok(
            "rules", f"Prometheus has all {len(rendered.rule_groups)} groups, of this revision"
        )
    elif verdict.reason == "RulesNotLoaded":
        yield _not_loaded(flow, rendered, observed)
    elif verdict.reason == "RuleFailing":
        remedy = (
            "the expression meets data that it was not made for: often two targets with one identity, or a series that"
            " exists twice; see the finding scraped-once"
        )
        yield error("rules", verdict.message, remedy)
    elif _is_skewed(seen):
        told = "another revision of the rules, as it must be where operator and command line differ in version"
        yield unknown("rules", told, "see the finding operator-version")
    else:
        remedy = "Prometheus reloads within a minute as a rule; if it stays so, look at prometheus-operator and the config-reloader"
        yield warning("rules", verdict.message, remedy)


def _is_skewed(seen: Snapshot) -> bool:
    return any(
        (operator.deployment["metadata"].get("labels") or {}).get("app.kubernetes.io/version")
        != seen.version
        for operator in seen.operators
    )


def _not_loaded(flow: Workflow, rendered: Rendered, observed: Observation) -> Finding:
    missing = [group for group in rendered.rule_groups if group not in observed.groups]
    own = names.child(flow.name, "rules")
    told = f"Prometheus lacks {len(missing)} of {len(rendered.rule_groups)} rule groups: {listed(missing, 2)}"
    if not isinstance(flow.rules, Unseen) and not any(
        body["metadata"]["name"] == own for body in flow.rules
    ):
        told += f"; there is no PrometheusRule {own}"
        return error("rules", told, f"kubectl -n {flow.namespace} describe mwf {flow.name}")
    remedy = (
        "see the finding rule-selector; if a Prometheus selects the object, prometheus-operator or Prometheus has rejected it:\n"
        f"kubectl -n {flow.namespace} describe prometheusrule {own}\n"
        "kubectl logs --all-namespaces -l app.kubernetes.io/name=prometheus-operator --tail=200 | grep -i "
        f"{own}"
    )
    return error("rules", told, remedy)


def families(seen: Snapshot) -> Iterator[Finding]:
    """Whether every metric that the profile requires has series; else what there is instead."""
    known = _observed(seen)
    if known is None:
        return
    flow, rendered, observed = known
    if observed.error:
        yield unknown("families", observed.error, "see the finding prometheus-answers")
        return
    missing = verify.missing_families(rendered, flow.owner, observed)
    if not missing:
        count = len(rendered.required)
        yield ok("families", f"all {count} metrics that the profile requires have series")
        return
    answer = seen.prometheus.answer("names")
    if isinstance(answer, Unseen):
        yield unseen("families", f"what there is instead of {listed(missing)}", answer)
        return
    present = sorted({series["metric"].get("__name__", "") for series in answer})
    own = [name for name in present if not name.startswith(_RECORDED)]
    yield _missing(flow, missing, own)


def _missing(flow: Workflow, missing: list[str], own: list[str]) -> Finding:
    told = f"no series of {listed(missing)}"
    if not own:
        remedy = "is the target up (finding targets), and does the program measure anything?"
        return error("families", f"{told}; the workflow has no series of its own at all", remedy)
    used = flow.spec.get("profile", "workflow")
    better = [name for name in profiles_of(own) if name != used]
    if better:
        told += f", but there are those of the profile {listed(better, 2)} ({listed(own, 3)})"
        patch = f"kubectl -n {flow.namespace} patch mwf {flow.name} --type=merge -p"
        remedy = f'{patch} \'{{"spec":{{"profile":"{better[0]}"}}}}\''
        if flow.is_discovered:
            remedy = f"give the template of the pods the annotation {names.PROFILE}: {better[0]}"
        return error("families", f"{told}; did you mean that profile?", remedy)
    near = [match for name in missing for match in _near(name, own)]
    hint = (
        f"; there is {listed(near, 3)}: another prefix?" if near else f"; there is {listed(own, 4)}"
    )
    remedy = (
        "let the program speak the profile's names (flowgauge profile show"
        f" {used}), or describe its own in a WorkflowProfile (docs/writing-profiles.md)"
    )
    return error("families", told + hint, remedy)


def profiles_of(present: Iterable[str]) -> list[str]:
    """The built-in profiles all of whose required families are among these names, the most telling first."""
    known = set(present)
    found = [(_required(profiles.builtin(name)), name) for name in profiles.names()]
    fitting = [(len(needed), name) for needed, name in found if needed and needed <= known]
    return [name for _, name in sorted(fitting, key=lambda item: (-item[0], item[1]))]


def _required(profile: Profile) -> set[str]:
    return {measure.probe(f, native=False) for f in profile.families if f.required}


def _near(name: str, own: Iterable[str]) -> list[str]:
    """Names that end alike, or are spelled alike."""
    listed_ = list(own)
    ending = name.partition("_")[2]
    alike = [one for one in listed_ if ending and one.endswith(ending)]
    return alike or difflib.get_close_matches(name, listed_, 2, 0.75)


def history(seen: Snapshot) -> Iterator[Finding]:
    """Whether data is kept for as long as the objectives look back, and whether it is there for so long."""
    known = _observed(seen)
    if known is None or not known[1].slos or known[2].error:
        return
    flow, rendered, observed = known
    # Whatever else keeps the rules from being loaded has a finding of its own.
    only = dataclasses.replace(rendered, rule_groups=(), pool=None)
    alone = Observation(retention=observed.retention, revisions={flow.owner: rendered.revision})
    verdict = verify.loaded(only, flow.owner, alone)
    longest = max((view.window for view in rendered.slos), key=duration.seconds)
    kept = (
        "for ever, or does not say"
        if observed.retention is None
        else f"for {duration.text(observed.retention)}"
    )
    if verdict.reason == "RetentionTooShort":
        told = f"Prometheus keeps data {kept}, and objectives look back {longest}"
        yield warning("history", told, f"in the Prometheus object: spec.retention: {longest}")
        return
    told = f"Prometheus keeps data {kept}; objectives look back {longest}"
    yield _filled(seen, flow, rendered, told) or ok("history", told)


def step_of(seconds: float) -> int:
    """How exactly it is asked since when there is data, over so many seconds; both in seconds."""
    return max(int(seconds) // 100, 60)


def _filled(seen: Snapshot, flow: Workflow, rendered: Rendered, told: str) -> Finding | None:
    """The finding where there is less data than the objectives look back; None where there is enough, or nobody knows."""
    answer = seen.prometheus.answer("oldest")
    if isinstance(answer, Unseen) or not answer:
        return None
    age = float(answer[0]["value"][1])
    back = max(duration.seconds(view.window) for view in rendered.slos)
    slack = 2 * step_of(back)
    short = [v.name for v in rendered.slos if duration.seconds(v.window) > age + slack]
    if not short:
        return None
    told = f"{told}, but the rules of the workflow have run for {_rounded(age)}: {listed(short)} speak of no more than that"
    lived = _lived(seen, flow)
    if lived is None or min(lived, back) <= age + slack + _LATE_SECONDS:
        return ok("history", f"{told}; that fills up by itself")
    remedy = (
        "if Prometheus lost its data, give it a volume (spec.storage of the Prometheus object); else nothing: it fills up by"
        " itself"
    )
    return warning("history", f"{told}, although it was made {_rounded(lived)} ago", remedy)


def _lived(seen: Snapshot, flow: Workflow) -> float | None:
    """How many seconds ago the workflow was made."""
    made = "" if isinstance(flow.body, Unseen) else flow.body["metadata"].get("creationTimestamp")
    if not made:
        return None
    return ((seen.server_time or seen.now) - datetime.fromisoformat(made)).total_seconds()


def _rounded(seconds: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
