"""All checks over one snapshot. Pure; a check that fails says so and stops none of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flowgauge_operator.doctor import catalogue
from flowgauge_operator.doctor.checks import (
    alertmanager,
    alerts,
    cluster,
    grafana,
    network,
    operator,
    pods,
    prometheus,
    rules,
    scraping,
    workflow,
)
from flowgauge_operator.doctor.finding import Finding, Level, unknown
from flowgauge_operator.doctor.snapshot import Snapshot

Check = Callable[[Snapshot], Iterable[Finding]]

# Each with the name that its failure is told under.
CHECKS: tuple[tuple[str, Check], ...] = (
    ("api-server", cluster.server),
    ("clock", cluster.clock),
    ("crds", cluster.definitions),
    ("prometheus-operator", cluster.others),
    ("own-rights", cluster.own_rights),
    ("operator", operator.there),
    ("operator-version", operator.version),
    ("operator-single", operator.single),
    ("operator-lease", operator.lease),
    ("operator-flags", operator.flags),
    ("operator-namespaces", operator.namespaces),
    ("operator-rights", operator.rights),
    ("prometheus-object", prometheus.objects),
    ("monitor-selector", prometheus.monitors),
    ("rule-selector", prometheus.rules),
    ("prometheus-rights", prometheus.rights),
    ("prometheus-answers", alertmanager.answers),
    ("alertmanager-object", alertmanager.objects),
    ("dashboard-sidecar", grafana.sidecar),
    ("grafana-instances", grafana.instances),
    ("workflows", workflow.others),
    ("workflow", workflow.accepted),
    ("profile", workflow.profile),
    ("conditions", workflow.conditions),
    ("selector", pods.selected),
    ("pods", pods.running),
    ("port", pods.port),
    ("service", pods.service),
    ("monitor", scraping.monitor),
    ("targets", scraping.targets),
    ("network-policy", network.admitted),
    ("scraped-once", scraping.once),
    ("labels", scraping.labels),
    ("pushed", scraping.pushed),
    ("rules", rules.loaded),
    ("families", rules.families),
    ("history", rules.history),
    ("firing", alerts.firing),
    ("delivered", alerts.delivered),
    ("notifications", alerts.notifications),
)


def examine(seen: Snapshot, checks: Sequence[tuple[str, Check]] = CHECKS) -> list[Finding]:
    """What all checks find, by group and in their order."""
    found: list[Finding] = []
    for name, check in checks:
        try:
            found += check(seen)
        except Exception as problem:
            told = f"the check itself failed: {type(problem).__name__}: {problem}"
            found.append(unknown(name, told, "report this as a fault of flowgauge"))
    order = {
        check.name: (catalogue.GROUPS.index(check.group), i)
        for i, check in enumerate(catalogue.CHECKS)
    }
    return sorted(found, key=lambda finding: order[finding.check])


def counts(findings: Iterable[Finding]) -> dict[str, int]:
    """How many findings of each level there are."""
    levels = [finding.level for finding in findings]
    return {level.value: levels.count(level) for level in Level}


def exit_code(findings: Sequence[Finding], *, strict: bool) -> int:
    """0 or 1: errors fail; with `strict` also warnings, and what could not be seen."""
    failing = {Level.ERROR, Level.WARNING, Level.UNKNOWN} if strict else {Level.ERROR}
    return int(any(finding.level in failing for finding in findings))
