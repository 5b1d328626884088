"""A dashboard depends on what a spec says, not on how it is written or what was rendered before."""

import json
import subprocess
import sys

from boards import ROOT, known_profiles, of_workflow
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge_operator.render import template

NAME = st.from_regex(r"[a-z][a-z0-9]{0,9}", fullmatch=True)
OBJECTIVE = st.fixed_dictionaries(
    {
        "objective": st.sampled_from([90, 95, 99, 99.5, 99.9]),
        "window": st.sampled_from(["7d", "30d"]),
    }
)
KINDS = [
    {"success": {}},
    {"latency": {"threshold": "5s"}},
    {"freshness": {"maxAge": "2h"}},
    {"gauge": {"role": "queue.depth", "max": 100}},
]
SLOS = st.dictionaries(NAME, st.tuples(OBJECTIVE, st.sampled_from(KINDS)), max_size=5).map(
    lambda found: [{"name": name, **fields, **kind} for name, (fields, kind) in found.items()]
)
LABELS = st.dictionaries(st.sampled_from(["team", "area", "tier"]), NAME, max_size=3)
OVERRIDES = st.dictionaries(
    st.sampled_from(["HighErrorRate", "LongRunning"]),
    st.fixed_dictionaries({"for": st.just("10m"), "severity": st.just("critical")}),
)
SPECS = st.fixed_dictionaries(
    {
        "profile": st.sampled_from([*known_profiles()]),
        "selector": st.just({"matchLabels": {"app": "a", "tier": "b"}}),
        "slos": SLOS,
        "alerts": st.fixed_dictionaries({"labels": LABELS, "overrides": OVERRIDES}),
    },
    optional={
        "scrape": st.fixed_dictionaries(
            {"mode": st.sampled_from(["ServiceMonitor", "Push"]), "nativeHistograms": st.booleans()}
        ),
        "schedule": st.just({"cron": "0 * * * *", "timeZone": "UTC", "deadline": "20m"}),
        "suspend": st.booleans(),
    },
)


def turned(value):
    """The same value with the keys of every map the other way round."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(member) for member in value] if isinstance(value, list) else value


def text(name, namespace, spec):
    body = {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
    return of_workflow("generated", body, known_profiles()[spec["profile"]]).text


@settings(max_examples=40, deadline=None)
@given(name=NAME, namespace=NAME, spec=SPECS)
def test_the_same_spec_gives_the_same_bytes_however_it_is_written(name, namespace, spec):
    first = text(name, namespace, spec)
    template._rendered.cache_clear()

    assert text(name, namespace, spec) == first
    assert text(name, namespace, turned(spec)) == first


@settings(max_examples=20, deadline=None)
@given(name=NAME, spec=SPECS)
def test_a_dashboard_is_the_same_whoever_was_rendered_before(name, spec):
    template._rendered.cache_clear()
    alone = text(name, "shop", spec)
    template._rendered.cache_clear()
    text("other", "elsewhere", spec)

    assert text(name, "shop", spec) == alone


PROGRAM = """
import sys
sys.path[:0] = ["tests/dashboards", "tests"]
import boards
for profile in ("workflow", "contd"):
    for made in boards.of_profile(profile):
        print(made.text)
"""


def test_another_order_of_hashes_gives_the_same_bytes():
    told = [
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            check=True,
            capture_output=True,
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    ]

    assert told[0] == told[1]
    assert all(json.loads(line) for line in told[0].splitlines())
