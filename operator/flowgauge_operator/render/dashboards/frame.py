"""What is around the panels of a dashboard: variables, annotations and links. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from flowgauge_operator import names, promql
from flowgauge_operator.render.dashboards.panel import DATASOURCE
from flowgauge_operator.render.options import Options

_SCHEMA = 41
# Grafana's own names of the ends of the time that is shown, in milliseconds.
_PLACES = {"{{from}}": "${__from}", "{{to}}": "${__to}"}


def dashboard(
    uid: str,
    title: str,
    description: str,
    panels: Sequence[dict[str, Any]],
    *,
    tags: Sequence[str] = (),
    variables: Sequence[dict[str, Any]] = (),
    annotations: Sequence[dict[str, Any]] = (),
    links: Sequence[dict[str, Any]] = (),
    since: str = "now-6h",
    refresh: str = "1m",
) -> str:
    """The whole dashboard as JSON text."""
    made = {
        "uid": uid,
        "title": title,
        "description": description,
        "tags": ["flowgauge", *tags],
        "schemaVersion": _SCHEMA,
        "editable": False,
        "graphTooltip": 1,
        "timezone": "browser",
        "refresh": refresh,
        "time": {"from": since, "to": "now"},
        "annotations": {"list": [*annotations]},
        "templating": {"list": [_datasource(), *variables]},
        "links": [*links],
        "panels": [*panels],
    }
    return orjson.dumps(made, option=orjson.OPT_SORT_KEYS).decode()


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "options": [],
        "refresh": 1,
        "regex": "",
        "skipUrlSync": False,
    }


def variable(
    name: str, label: str, values_of: str, *, every: str = ".+", is_one: bool = False
) -> dict[str, Any]:
    """A variable whose values are those of a label: `values_of` is `selector, label`.

    `every` is the regular expression that All stands for; one value alone has no All.
    """
    query = f"label_values({values_of})"
    made: dict[str, Any] = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": DATASOURCE,
        "query": query,
        "definition": query,
        # Not only on opening: what ran in another time had other names.
        "refresh": 2,
        "sort": 1,
        "multi": not is_one,
        "includeAll": not is_one,
        "current": {} if is_one else {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "options": [],
        "regex": "",
        "skipUrlSync": False,
    }
    return made if is_one else {**made, "allValue": every}


def marks(matchers: str) -> list[dict[str, Any]]:
    """Marks on every time graph: alerts, deployments, and changes of what is monitored."""
    info, up = f"{names.INFO}{{{matchers}}}", f"up{{{matchers}}}"
    owner = f"{names.NAMESPACE_LABEL}, {names.WORKFLOW_LABEL}"
    return [
        _annotation(
            "Firing alerts",
            "red",
            f'ALERTS{{{matchers},alertstate="firing"}}',
            "{{alertname}}",
            "{{severity}} {{monitored_workflow}} {{slo}}",
        ),
        # Targets that nobody knew in the ten minutes before: a deployment, a scaling, a pod that was moved.
        _annotation(
            "Deployments",
            "blue",
            f"count by ({owner}) ({_new(up)})",
            "New targets",
            "{{monitored_workflow}}",
        ),
        _annotation(
            "Monitoring changed",
            "purple",
            f"count by ({owner}, spec, revision) ({_new(info)})",
            "Spec or rules changed",
            "{{monitored_workflow}} spec {{spec}}, rules {{revision}}",
        ),
    ]


def _new(selector: str) -> str:
    return f"{selector} unless last_over_time({selector}[10m] offset 1m)"


def _annotation(name: str, color: str, expr: str, title: str, detail: str) -> dict[str, Any]:
    return {
        "name": name,
        "datasource": DATASOURCE,
        "enable": True,
        "hide": False,
        "iconColor": color,
        "expr": expr,
        "titleFormat": title,
        "textFormat": detail,
        "step": "60s",
        "useValueForTime": False,
    }


def link(
    title: str, url: str, *, keeps_time: bool = True, icon: str = "dashboard"
) -> dict[str, Any]:
    """A link at the top of a dashboard; it keeps the time that is shown where that means something."""
    return {
        "title": title,
        "type": "link",
        "icon": icon,
        "url": url,
        "tooltip": "",
        "tags": [],
        "asDropdown": False,
        "includeVars": False,
        "keepTime": keeps_time,
        "targetBlank": icon != "dashboard",
    }


def path(uid: str, **variables: str) -> str:
    """The path of a dashboard on the same Grafana, with the data source that is chosen here."""
    chosen = {"datasource": "${datasource}", **variables}
    return f"/d/{uid}?" + "&".join(f"var-{name}={value}" for name, value in chosen.items())


def outside(options: Options, namespace: str, workflow: str) -> list[dict[str, Any]]:
    """Links out of Grafana's dashboards: runbooks, logs and traces, where the administrator said where they are."""
    made = []
    if options.runbook_url:
        made.append(link("Runbooks", options.runbooks, keeps_time=False, icon="doc"))
    for title, template in (("Logs", options.logs_url), ("Traces", options.traces_url)):
        if template:
            url = template.replace("{{namespace}}", namespace).replace("{{workflow}}", workflow)
            for place, ours in _PLACES.items():
                url = url.replace(place, ours)
            made.append(link(title, url, keeps_time=False, icon="external link"))
    return made


def owner(namespace: str, workflow: str) -> str:
    """The two matchers that every selector of a workflow carries."""
    return promql.matchers(promql.owner(namespace, workflow))
