"""Names that are made of data fill neither the program's memory nor the scrape."""

from __future__ import annotations

import subprocess
import sys

# In a process of its own: cells live as long as the process.
MANY = """
import logging
import flowgauge

logging.basicConfig(format="%(message)s")
handle = flowgauge.setup_observability(serve=False)
for number in range(2000):
    with flowgauge.run(f"order-{number}"):
        with flowgauge.stepping(f"step-{number}"):
            pass


families = {family.name: family for family in handle.collect()}


def value(name, **labels):
    family = families[name]
    wanted = tuple({"status": "success", **labels}.get(label, "") for label in family.labels)
    return dict(zip(family.keys, family.values))[wanted]


runs = families["workflow_runs_total"]
names = {dict(zip(runs.labels, key))["workflow"] for key in runs.keys}
print(len(names), "order-499" in names, "order-500" in names)
print(value("workflow_runs_total", workflow="order-0"), value("workflow_runs_total", workflow="other"))
print(value("workflow_steps_total", workflow="other", step="other"))
"""


def test_what_comes_after_the_limit_is_counted_together_and_told_once():
    done = subprocess.run(
        [sys.executable, "-c", MANY], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines() == ["501 True False", "1.0 1500.0", "1500.0"]
    told = done.stderr.splitlines()
    assert len(told) == 2
    assert (
        "more than 500 runs of different names; 'order-500' and others count as 'other'" in told[0]
    )


# One step that is called from ever new workflows keeps no entry for each of them.
SHARED = """
import flowgauge
from flowgauge.probes import StepProbe

probe = StepProbe("load", workflow="")
for number in range(2000):
    with flowgauge.run(f"order-{number}"):
        probe.leave(probe.enter())
print(len(probe.known))
"""


def test_a_step_keeps_no_more_workflows_than_there_are_cells():
    done = subprocess.run(
        [sys.executable, "-c", SHARED], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "500\n"
