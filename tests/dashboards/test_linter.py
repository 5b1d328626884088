"""Grafana's dashboard-linter over every dashboard, and each of its rules over one that it must refuse."""

import dataclasses
import functools
import json
from collections.abc import Callable

import pytest
from boards import GROUPS, group, of_profile
from linter import RULES, Finding, lint


@dataclasses.dataclass(frozen=True)
class Allowed:
    """Findings that are as they must be, and why."""

    rule: str
    excepts: Callable[[object, Finding], bool]
    reason: str


def is_recorded(board, finding):
    return finding.about in board.recorded


def is_of_prometheus(_, finding):
    return finding.about in ("ALERTS", "ALERTS_FOR_STATE")


def is_shared(board, _):
    return board.workflow is None


def is_pushed(board, _):
    return board.spec is not None and board.spec.scrape.mode == "Push"


def is_of_no_target(board, _):
    return "$instance" not in board.text


def is_over_what_is_shown(_, finding):
    return finding.about == "now" and f"[{RANGE}]" in finding.reason


def is_whether_it_was_there(_, finding):
    return f"offset {RANGE} is" in finding.reason


def is_whether_it_is_there(_, finding):
    return finding.where == "Metrics of runs A"


# How a parser writes the value that the linter puts in the place of `$__range`.
RANGE = "1h7s"
_LABELS = ("target-job-rule", "target-instance-rule")
EXCEPTIONS = [
    Allowed(
        "target-rate-interval-rule",
        is_over_what_is_shown,
        "a number or a row of a table is about all of the time shown, and is asked for once",
    ),
    Allowed(
        "target-counter-agg-rule",
        is_whether_it_was_there,
        "a series that was not there before counts from zero; its rate would not have its first event",
    ),
    Allowed(
        "target-counter-agg-rule",
        is_whether_it_is_there,
        "it asks for the series and not for its value",
    ),
    *(
        Allowed(rule, is_recorded, "what is recorded is summed over targets, and has no such label")
        for rule in _LABELS
    ),
    *(Allowed(rule, is_of_prometheus, "an alert of a workflow has no target") for rule in _LABELS),
    *(
        Allowed(rule, is_shared, "they are about workflows and not about targets")
        for rule in ("template-job-rule", "template-instance-rule", *_LABELS)
    ),
    *(
        Allowed(rule, is_of_no_target, "nobody scrapes the program, and no query asks for a target")
        for rule in ("template-job-rule", "template-instance-rule")
    ),
    *(
        Allowed(rule, is_pushed, "what is pushed has no instance, and .+ does not match it")
        for rule in ("template-job-rule", "template-instance-rule")
    ),
]


@functools.cache
def linted(chosen):
    """The findings about the dashboards of a group."""
    return [(board, finding) for board in group(chosen) for finding in lint(board.body)]


def excepted(board, finding):
    return [
        each for each in EXCEPTIONS if each.rule == finding.rule and each.excepts(board, finding)
    ]


@pytest.mark.parametrize("chosen", GROUPS)
def test_the_linter_finds_nothing_but_what_has_a_reason(chosen):
    found = {
        (board.name, finding) for board, finding in linted(chosen) if not excepted(board, finding)
    }

    assert found == set()


def test_every_exception_is_needed():
    used = {
        (each.rule, each.excepts)
        for chosen in GROUPS
        for board, finding in linted(chosen)
        for each in excepted(board, finding)[:1]
    }

    assert {(each.rule, each.excepts) for each in EXCEPTIONS} - used == set()


def test_there_are_seventeen_rules():
    assert len(RULES) == 17


# -- each rule over what it must refuse -------------------------------------------------------------------------------

TARGET = {
    "refId": "A",
    "datasource": {"type": "prometheus", "uid": "${datasource}"},
    "expr": 'sum(rate(a_total{job=~"$job",instance=~"$instance"}[$__rate_interval]))',
}
GOOD = {
    "editable": False,
    "templating": {
        "list": [
            {
                "name": "datasource",
                "label": "Data source",
                "type": "datasource",
                "query": "prometheus",
            },
            *(
                {
                    "name": name,
                    "label": name.capitalize(),
                    "type": "query",
                    "datasource": {"uid": "${datasource}"},
                    "query": f'label_values(up{{namespace="shop"}}, {name})',
                    "multi": True,
                    "allValue": ".+",
                    "refresh": 2,
                }
                for name in ("job", "instance")
            ),
        ]
    },
    "panels": [
        {
            "type": "row",
            "title": "Closed",
            "panels": [
                {
                    "type": "timeseries",
                    "title": "Runs",
                    "description": "Runs a second.",
                    "datasource": {"type": "prometheus", "uid": "${datasource}"},
                    "targets": [TARGET],
                    "fieldConfig": {"defaults": {"unit": "cps"}, "overrides": []},
                }
            ],
        }
    ],
}


def variable(board, index):
    return board["templating"]["list"][index]


def panel(board):
    return board["panels"][0]["panels"][0]


def asks(expr, **others):
    return lambda board: panel(board).update(targets=[TARGET | {"expr": expr} | others])


BROKEN = [
    ("template-datasource-rule", lambda board: variable(board, 0).update(label="Source")),
    ("template-datasource-rule", lambda board: variable(board, 0).update(query="loki")),
    ("template-datasource-rule", lambda board: board["templating"]["list"].pop(0)),
    ("template-job-rule", lambda board: variable(board, 1).update(multi=False)),
    ("template-job-rule", lambda board: variable(board, 1).update(datasource={"uid": "fixed"})),
    ("template-instance-rule", lambda board: board["templating"]["list"].pop(2)),
    ("template-instance-rule", lambda board: variable(board, 2).update(allValue=".*")),
    ("template-label-promql-rule", lambda b: variable(b, 1).update(query="label_values(up{, job)")),
    ("template-label-promql-rule", lambda b: variable(b, 1).update(query="label_values(job)")),
    ("template-on-time-change-reload-rule", lambda board: variable(board, 2).update(refresh=1)),
    ("panel-datasource-rule", lambda board: panel(board).update(datasource={"uid": "P1809F7CD"})),
    ("panel-title-description-rule", lambda board: panel(board).update(description="")),
    ("panel-title-description-rule", lambda board: panel(board).pop("title")),
    ("panel-units-rule", lambda b: panel(b).update(fieldConfig={"defaults": {"unit": "runs"}})),
    (
        "panel-units-rule",
        lambda board: panel(board)["fieldConfig"]["overrides"].append(
            {"matcher": {}, "properties": [{"id": "unit", "value": "percentage"}]}
        ),
    ),
    ("panel-no-targets-rule", lambda board: panel(board).update(targets=[])),
    ("target-promql-rule", asks("sum(rate(a_total[5m])")),
    ("target-logql-rule", asks('{app="a"} |= "x"', datasource={"type": "loki"})),
    ("target-logql-auto-rule", asks('rate({app="a"}[5m])', datasource={"type": "loki"})),
    ("target-rate-interval-rule", asks(TARGET["expr"].replace("$__rate_interval", "5m"))),
    ("target-job-rule", asks(TARGET["expr"].replace('job=~"$job",', ""))),
    ("target-job-rule", asks(TARGET["expr"].replace("job=~", "job!~"))),
    ("target-instance-rule", asks(TARGET["expr"].replace('instance=~"$instance"', 'instance="a"'))),
    ("target-counter-agg-rule", asks('sum(a_total{job=~"$job",instance=~"$instance"})')),
    ("uneditable-dashboard", lambda board: board.update(editable=True)),
]


def test_a_good_dashboard_has_no_findings():
    assert lint(GOOD) == []


@pytest.mark.parametrize(("rule", "spoil"), BROKEN)
def test_a_rule_refuses_what_it_is_for(rule, spoil):
    board = json.loads(json.dumps(GOOD))

    spoil(board)

    assert rule in {finding.rule for finding in lint(board)}


def test_no_rule_goes_without_a_dashboard_that_it_refuses():
    assert {rule for rule, _ in BROKEN} == set(RULES)


def test_a_panel_with_words_for_its_values_needs_no_unit():
    board = json.loads(json.dumps(GOOD))

    panel(board)["fieldConfig"]["defaults"] = {"mappings": [{"type": "value", "options": {}}]}

    assert lint(board) == []


def test_the_linter_sees_panels_in_closed_rows():
    board = json.loads(json.dumps(of_profile("workflow")[0].body))
    row = next(each for each in board["panels"] if each["type"] == "row")
    row["panels"] = [{"type": "stat", "title": "x"}]

    assert "panel-no-targets-rule" in {finding.rule for finding in lint(board)}
