"""The rules of each tool for one objective, as the tool itself writes them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from benchmarks.rules.scraping import METRIC, OWNER

from flowgauge import profiles
from flowgauge_operator import duration, model, promql, slo
from flowgauge_operator.render import Capabilities, Options, render
from rig import tools

OBJECTIVE = 99.0
BUDGET = 0.01
OURS, SLOTH, PYRRA = "Flowgauge", "Sloth", "Pyrra"
SELECTOR = f"{METRIC}{{{promql.matchers([(key, '=', value) for key, value in OWNER.items()])}}}"
BAD = SELECTOR.replace("}", ',status!="success"}')
PERIOD_DAYS = 28
PERIOD = PERIOD_DAYS * 86400


@dataclass(frozen=True)
class Tool:
    """Rules of one tool, and how to read what they record: `ratios` is window in seconds -> record; `remaining` is the share of the budget that a record of that name says is left.

    What a rule says is true of a moment before its evaluation: `base` is the record that all others are made of, if there
    is one, and `behind` how many seconds old what it reads is at least.
    """

    name: str
    groups: list[dict[str, Any]]
    ratios: dict[int, str]
    remaining: tuple[str, Callable[[float], float]]
    behind: int = 0
    base: str = ""
    period: int = PERIOD

    @property
    def rules(self) -> list[dict[str, Any]]:
        return [rule for group in self.groups for rule in group["rules"]]

    def write(self, folder: Path) -> Path:
        path = folder / f"{self.name.lower()}.yaml"
        path.write_text(yaml.safe_dump({"groups": self.groups}, sort_keys=False), encoding="utf-8")
        return path


SHORT = {300: "5m", 1800: "30m", 3600: "1h", 7200: "2h", 21600: "6h", 86400: "1d"}


def ours(*, interval: int, window: str = f"{PERIOD_DAYS}d") -> Tool:
    """The objective of a workflow of ours; its other recordings and alerts are left out, since the peers have none."""
    body = {
        "profile": "workflow",
        "selector": {"matchLabels": {"app": "orders"}},
        "scrape": {"interval": f"{interval}s"},
        "slos": [{"name": "runs", "objective": OBJECTIVE, "window": window, "success": {}}],
    }
    metadata = {"name": OWNER["monitored_workflow"], "namespace": OWNER["namespace"]}
    workflow = model.parse({"metadata": metadata, "spec": body})
    made = render(workflow, profiles.builtin("workflow"), Capabilities(), Options())
    rules = next(child for child in made.children if child["kind"] == "PrometheusRule")
    groups = [group for group in rules["spec"]["groups"] if "/slo-runs-" in group["name"]]
    period = int(duration.seconds(window))
    timing = slo.timing(period, interval)
    windows = (*timing.short_windows, *timing.long_windows)
    return Tool(
        OURS,
        groups,
        {window: slo.ratio_record(window) for window in windows} | {period: slo.PERIOD},
        (slo.REMAINING, lambda value: value),
        behind=timing.delay,
        base=slo.TOTAL,
        period=period,
    )


def sloth(folder: Path) -> Tool:
    """What `sloth generate` makes of its own format."""
    spec = {
        "version": "prometheus/v1",
        "service": "orders",
        "slos": [
            {
                "name": "runs",
                "objective": OBJECTIVE,
                "sli": {
                    "events": {
                        "error_query": f"sum(rate({BAD}[{{{{.window}}}}]))",
                        "total_query": f"sum(rate({SELECTOR}[{{{{.window}}}}]))",
                    }
                },
                "alerting": {
                    "name": "Burn",
                    "page_alert": {"labels": {"severity": "page"}},
                    "ticket_alert": {"labels": {"severity": "ticket"}},
                },
            }
        ],
    }
    asked, made = folder / "sloth-objective.yaml", folder / "sloth-generated.yaml"
    asked.write_text(yaml.safe_dump(spec), encoding="utf-8")
    period = f"--default-slo-period={PERIOD_DAYS}d"
    _run(tools.path("sloth"), "generate", f"--input={asked}", f"--out={made}", period)
    groups = yaml.safe_load(made.read_text(encoding="utf-8"))["groups"]
    # Without an interval of their own, groups are evaluated at that of Prometheus; the others write 30 s.
    groups = [{**group, "interval": group.get("interval", "30s")} for group in groups]
    windows = SHORT | {259200: "3d", PERIOD: "4w"}
    ratios = {window: f"slo:sli_error:ratio_rate{text}" for window, text in windows.items()}
    return Tool(
        SLOTH, groups, ratios, ("slo:period_error_budget_remaining:ratio", lambda value: value)
    )


def pyrra(folder: Path) -> Tool:
    """What `pyrra generate` makes of its custom resource."""
    metric = METRIC.removesuffix("_total")
    spec = {
        "apiVersion": "pyrra.dev/v1alpha1",
        "kind": "ServiceLevelObjective",
        "metadata": {"name": "runs", "namespace": OWNER["namespace"]},
        "spec": {
            "target": str(OBJECTIVE),
            "window": f"{PERIOD_DAYS // 7}w",
            "indicator": {"ratio": {"errors": {"metric": BAD}, "total": {"metric": SELECTOR}}},
        },
    }
    asked, made = folder / "pyrra-objective", folder / "pyrra-generated"
    asked.mkdir()
    made.mkdir()
    (asked / "runs.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    files = f"--config-files={asked}/*.yaml"
    _run(tools.path("pyrra"), "generate", files, f"--prometheus-folder={made}", "--generic-rules")
    groups = [
        group
        for file in sorted(made.glob("*.yaml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    ]
    windows = SHORT | {345600: "4d"}
    ratios = {window: f"{metric}:burnrate{text}" for window, text in windows.items()}
    return Tool(
        PYRRA,
        groups,
        ratios,
        ("pyrra_availability", lambda value: 1 - (1 - value) / BUDGET),
    )


def _run(*command: object) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
