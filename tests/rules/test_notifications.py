"""What Alertmanager writes by the templates that we give it, asked of the real one."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from flowgauge_operator import model
from flowgauge_operator.render import notify
from rig.pytest_plugin import binary

PAGE = Path(__file__).resolve().parents[2] / "docs/notifications.md"
KEY = {"name": "alerts", "key": "url"}


def receiver(**receivers):
    """A receiver as it stands in the AlertmanagerConfig."""
    spec = {"scrape": {"mode": "Push"}, "notify": {"receiver": receivers}}
    workflow = model.parse({"metadata": {"name": "orders", "namespace": "shop"}, "spec": spec})
    (made,) = notify.alertmanager_config(workflow, workflow.spec.notify)["spec"]["receivers"]
    return made


def sent(template, *alerts):
    """What Alertmanager makes of a template: `alerts` are (labels, annotations)."""
    common = dict(set.intersection(*({*labels.items()} for labels, _ in alerts)))
    data = {
        "status": "firing",
        "commonLabels": common,
        "alerts": [
            {"status": "firing", "labels": labels, "annotations": annotations}
            for labels, annotations in alerts
        ],
    }
    done = subprocess.run(
        [
            binary("amtool"),
            "template",
            "render",
            "--template.glob=/dev/null",
            "--template.data=/dev/stdin",
            f"--template.text={template}",
        ],
        input=json.dumps(data),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_slack_is_told_what_it_means_and_where_to_read_on():
    made = receiver(slack={"apiURL": KEY})
    links = {"runbook_url": "https://r.example/x", "dashboard_url": "https://g.example/d"}

    text = sent(
        made["slackConfigs"][0]["text"],
        ({}, {"summary": "Dead.", "description": "All of it {{ .x }}.", **links}),
        ({}, {"summary": "Slow.", "description": "A bit."}),
    )

    assert text.split("\n") == [
        "*Dead.*",
        "All of it {{ .x }}.",
        "<https://r.example/x|Runbook>",
        "<https://g.example/d|Dashboard>",
        "*Slow.*",
        "A bit.",
    ]


@pytest.mark.parametrize(
    ("severities", "pagerduty", "opsgenie"),
    [
        (["critical"], "critical", "P1"),
        (["warning", "warning"], "warning", "P3"),
        (["critical", "warning"], "error", "P3"),
    ],
)
def test_the_pager_knows_how_severe_it_is(severities, pagerduty, opsgenie):
    made = receiver(pagerduty={"routingKey": KEY}, opsgenie={"apiKey": KEY})
    alerts = [({"severity": severity}, {}) for severity in severities]

    assert sent(made["pagerdutyConfigs"][0]["severity"], *alerts) == pagerduty
    assert sent(made["opsgenieConfigs"][0]["priority"], *alerts) == opsgenie


def test_the_rules_to_copy_are_those_that_notify_brings_and_alertmanager_takes_them(tmp_path):
    (block,) = re.findall(
        r"^```yaml\n(inhibit_rules:.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    copied = yaml.safe_load(block)["inhibit_rules"]
    file = tmp_path / "alertmanager.yml"
    file.write_text(f"route: {{receiver: nobody}}\nreceivers: [{{name: nobody}}]\n{block}")

    def written(matchers):
        return [f'{name}{sort}"{value}"' for name, sort, value in matchers]

    assert copied == [
        {
            "source_matchers": written(rule.source),
            "target_matchers": written(rule.target),
            "equal": list(rule.equal),
        }
        for rule in notify.INHIBITIONS
    ]
    subprocess.run([binary("amtool"), "check-config", file], check=True, capture_output=True)
