"""The one function that every way in shares: a workflow and a profile in, manifests out. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flowgauge.profiles import Profile
from flowgauge_operator import cron, duration, measure, names
from flowgauge_operator.model import Workflow
from flowgauge_operator.render import (
    annotated,
    grafana,
    maintenance,
    notify,
    schedule,
    scrape,
    shared,
    template,
)
from flowgauge_operator.render.manifest import Manifest, child
from flowgauge_operator.render.options import RULES_LABEL, Capabilities, Options, Problem, SloView


@dataclass(frozen=True, slots=True)
class Rendered:
    """Everything that one workflow asks for.

    `children` are the objects that the workflow owns, without owner reference and digest. `shares` names
    the objects that it needs of those that its namespace has once. `delivery` is how the dashboard reaches Grafana. `revision` changes with the rules; Prometheus shows it as a label of
    the info rule, so that "loaded" means these rules and not yesterday's. `pool` is the scrape pool's name, `cronjob` the
    CronJob whose plan must be seen, if any. Where it `is_intermittent`, having no target is no fault; where it `is_annotated`, its
    pods are found by annotation. `problems` are parts of the spec that were left out; `warnings` are what was
    done otherwise than its owner may expect; `notes` say what the cluster lacks.
    """

    children: tuple[Manifest, ...]
    shares: tuple[shared.Share, ...]
    revision: str
    rule_groups: tuple[str, ...]
    pool: str | None
    is_scraped: bool
    required: tuple[str, ...]
    slos: tuple[SloView, ...]
    native: bool = False
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    cronjob: str = ""
    delivery: str = grafana.NONE
    is_intermittent: bool = False
    is_annotated: bool = False


def render(
    workflow: Workflow, profile: Profile, capabilities: Capabilities, options: Options
) -> Rendered:
    """Render one workflow. What cannot be rendered is a problem and is left out; the rest stands."""
    workflow = grafana.resolved(workflow, options)
    problems = [
        *_check_scrape(workflow),
        *_check_schedule(workflow),
        *_check_watched(workflow, profile),
        *maintenance.problems(workflow),
    ]
    look = template.template(workflow, profile, options)
    problems += look.bound_problems(workflow)
    groups = look.bound_groups(workflow)
    is_annotated = workflow.spec.scrape.mode == "AnnotatedPods"
    scraping = _by_annotation(workflow, capabilities) if is_annotated else None
    by, pool, monitors, notes = scraping or _scraping(workflow, profile, capabilities, options)
    children = [] if by is None else [scrape.service(workflow, profile, by=by)]
    children += monitors
    children.append(_rule_object(workflow, groups, capabilities, options))
    shares = [shared.MONITOR] if by == "shared" else []
    if is_annotated and pool is not None:
        shares.append(shared.pod_monitor(annotated.pods(workflow, profile)))
    wanted = workflow.spec.dashboard.mode or grafana.NONE
    delivery = grafana.possible(wanted, capabilities)
    if delivery != grafana.NONE:
        text = look.bound_dashboard(workflow)
        children.append(_dashboard(workflow, delivery, text, options))
        shares += shared.dashboards(capabilities, options)
    if delivery != wanted:
        notes = (
            *notes,
            f"{wanted} is not available: the dashboard is in a {delivery} for Grafana's sidecar",
        )
    if workflow.spec.notify is not None:
        if capabilities.has("AlertmanagerConfig"):
            labels = options.alertmanager_config_labels
            children.append(notify.alertmanager_config(workflow, workflow.spec.notify, labels))
        else:
            notes = (*notes, "AlertmanagerConfig is not available: spec.notify notifies nobody")
    if not capabilities.has("PrometheusRule"):
        notes = (
            *notes,
            "PrometheusRule is not available: rules are in a ConfigMap for the packaged stack's sidecar",
        )
    return Rendered(
        children=tuple(children),
        shares=tuple(shares),
        revision=look.revision,
        rule_groups=tuple(group["name"] for group in groups),
        pool=pool,
        is_scraped=by is not None or bool(monitors) or is_annotated,
        required=_required(profile, native=workflow.spec.scrape.native_histograms),
        slos=look.slos,
        native=workflow.spec.scrape.native_histograms,
        problems=tuple(problems),
        warnings=(*look.warnings, *annotated.unused(workflow)),
        notes=notes,
        cronjob=schedule.cronjob(workflow),
        delivery=delivery,
        is_intermittent=workflow.spec.scrape.intermittent,
        is_annotated=is_annotated,
    )


def _required(profile: Profile, *, native: bool) -> tuple[str, ...]:
    required = (family for family in profile.families if family.required)
    return tuple(sorted({measure.probe(family, native=native) for family in required}))


def _by_annotation(
    workflow: Workflow, capabilities: Capabilities
) -> tuple[str | None, str | None, list[Manifest], tuple[str, ...]]:
    """What `_scraping` returns, for pods that are found by annotation."""
    if capabilities.has("PodMonitor"):
        return None, f"podMonitor/{workflow.namespace}/{names.SHARED_PODS}/0", [], ()
    return None, None, [], (annotated.FALLBACK,)


def _scraping(
    workflow: Workflow, profile: Profile, capabilities: Capabilities, options: Options
) -> tuple[str | None, str | None, list[Manifest], tuple[str, ...]]:
    """Who the Service is scraped by, the scrape pool's name, monitors of the workflow's own, and notes."""
    mode, labels = workflow.spec.scrape.mode, dict(options.monitor_labels)
    if mode in ("Push", "None") or workflow.spec.selector is None:
        return None, None, [], ()
    if mode == "Annotations":
        return "annotations", None, [], ()
    own = names.child(workflow.name, "flowgauge")
    if mode == "PodMonitor" and capabilities.has("PodMonitor"):
        pool = f"podMonitor/{workflow.namespace}/{own}/0"
        return None, pool, [scrape.pod_monitor(workflow, profile, labels)], ()
    if mode == "ServiceMonitor" and capabilities.has("ServiceMonitor"):
        if not scrape.needs_own_monitor(workflow.spec.scrape):
            return "shared", f"serviceMonitor/{workflow.namespace}/{names.SHARED_MONITOR}/0", [], ()
        pool = f"serviceMonitor/{workflow.namespace}/{own}/0"
        return "own", pool, [scrape.own_monitor(workflow, profile, labels)], ()
    note = f"{mode} is not available: the Service carries prometheus.io annotations instead"
    return "annotations", None, [], (note,)


def _check_scrape(workflow: Workflow) -> list[Problem]:
    problems = annotated.problems(workflow)
    for index, regex in enumerate(workflow.spec.scrape.drop_metrics):
        if error := scrape.regex_error(regex):
            message = (
                f"{regex!r} is no regular expression that Prometheus takes (RE2): {error}; mend it"
            )
            problems.append(Problem(f"spec.scrape.dropMetrics[{index}]", "InvalidRegex", message))
    if duration.seconds(scrape.timeout(workflow.spec.scrape)) > duration.seconds(
        workflow.spec.scrape.interval
    ):
        message = "must not be above the interval; raise interval or lower timeout"
        problems.append(Problem("spec.scrape.timeout", "InvalidSpec", message))
    return problems


def _check_schedule(workflow: Workflow) -> list[Problem]:
    given = workflow.spec.schedule
    if given is None or given.cron is None:
        return []
    zone = schedule.zone(given)
    try:
        cron.planned(given.cron, zone)
    except cron.CronError as error:
        return [Problem("spec.schedule.cron", "InvalidSpec", f"{error}; mend the field")]
    except (KeyError, ValueError, OSError):
        message = f"{zone!r} is no time zone of the IANA database; write for example Europe/Zurich"
        return [Problem("spec.schedule.timeZone", "UnknownTimeZone", message)]
    return []


def _check_watched(workflow: Workflow, profile: Profile) -> list[Problem]:
    """Silence would pass for success where nothing can be heard."""
    if profile.families or schedule.cronjob(workflow):
        return []
    message = f"the profile {profile.name} has no metrics; name the CronJob that starts the program"
    return [Problem("spec.schedule.cronJob", "InvalidSpec", message)]


def _rule_object(
    workflow: Workflow, groups: list[dict[str, Any]], capabilities: Capabilities, options: Options
) -> Manifest:
    name = names.child(workflow.name, "rules")
    if capabilities.has("PrometheusRule"):
        return child(
            workflow,
            scrape.MONITORING,
            "PrometheusRule",
            name,
            labels=options.rule_labels,
            spec={"groups": groups},
        )
    # JSON is YAML, and its bytes do not depend on a library's taste in line breaks.
    text = json.dumps({"groups": groups}, sort_keys=True, ensure_ascii=False, indent=1)
    return child(
        workflow,
        "v1",
        "ConfigMap",
        name,
        labels={RULES_LABEL: "true"},
        data={f"{workflow.namespace}_{workflow.name}.yaml": text},
    )


def _dashboard(workflow: Workflow, kind: str, text: str, options: Options) -> Manifest:
    folder = workflow.spec.dashboard.folder or options.folder(workflow.namespace)
    files = {grafana.file_name(workflow.namespace, workflow.name): text}
    return child(
        workflow,
        grafana.api_version(kind),
        kind,
        names.child(workflow.name, "dashboard"),
        labels=grafana.labels(kind, options),
        **grafana.content(kind, files, folder, options),
    )
