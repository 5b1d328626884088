"""What importing costs, and what works without prometheus_client."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest

import flowgauge

HEAVY = {
    *("inspect", "asyncio", "ssl", "dataclasses", "typing", "http", "urllib", "logging"),
    *("prometheus_client", "yaml", "boto3", "datadog", "opentelemetry", "threading", "socket"),
}
LIGHT = [
    "import flowgauge",
    "from flowgauge import workflow, step",
    "from flowgauge import run, stepping",
    "import flowgauge\n@flowgauge.workflow\ndef work():\n    return part()\n"
    "@flowgauge.step\ndef part():\n    return 1\nassert work() == 1",
    "import flowgauge\nwith flowgauge.run('a'), flowgauge.stepping('b'):\n    pass",
]


def python(code, *arguments):
    """What a fresh interpreter prints, which writes and uses compiled files as usual."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("statement", LIGHT)
def test_importing_and_decorating_load_nothing_heavy(statement):
    code = (
        "import sys\nbefore = {*sys.modules}\n"
        f"{statement}\n"
        f"loaded = {{name.partition('.')[0] for name in {{*sys.modules}} - before}}\n"
        f"assert {{*sys.modules}} - before, 'it was loaded already'\n"
        f"print(*sorted(loaded & {HEAVY!r}))"
    )

    assert python(code).split() == []


def test_what_is_heavy_is_not_loaded_by_the_interpreter_itself():
    # Else the tests above would show nothing.
    assert set(python("import sys\nprint(*sys.modules)").split()) & HEAVY == set()


def test_importing_the_profiles_and_the_engine_loads_no_client():
    code = (
        "import flowgauge.view, flowgauge.exposition, flowgauge.records, flowgauge.declared, sys\n"
        "print(*sorted({'prometheus_client', 'http', 'ssl', 'asyncio'} & {*sys.modules}))"
    )

    assert python(code).split() == []


# Each name in a process of its own, so that it does not live on what another one has loaded.
EACH = """
import os
import flowgauge

for name in flowgauge.__all__:
    pid = os.fork()
    if pid == 0:
        try:
            assert getattr(flowgauge, name) is not None
            os._exit(0)
        except BaseException as error:
            print(name, repr(error), flush=True)
            os._exit(1)
    os.waitpid(pid, 0)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_every_name_can_be_loaded_first():
    assert python(EACH) == "done\n"


def test_every_name_is_one_object_wherever_it_comes_from():
    for name in flowgauge.__all__:
        assert getattr(flowgauge, name) is getattr(flowgauge, name)
    assert len(set(flowgauge.__all__)) == len(flowgauge.__all__)


# No import of prometheus_client succeeds, whoever tries.
BLOCK = """
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError("no prometheus_client here", name=name)

sys.meta_path.insert(0, Block())
"""

WITHOUT = (
    BLOCK
    + """
import urllib.request
import flowgauge
from flowgauge import records

@flowgauge.step
def part():
    pass

@flowgauge.workflow(name="orders")
def orders():
    part()

counter = flowgauge.counter("own_total", "Own.", labels=["a"])
summary = flowgauge.summary("own_size", quantiles=[0.5])
handle = flowgauge.setup_observability(host="127.0.0.1", port=0, native_histograms=True, exemplars=True)
orders()
counter.inc(a="1")
summary.observe(2.0)
records.count("lease.failed", workflow="orders")
accepts = (
    "text/plain",
    "application/openmetrics-text",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
)
for accept in accepts:
    request = urllib.request.Request(handle.address, headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as response:
        body = response.read()
        print(response.status, response.headers["Content-Type"].partition(";")[0], b"own_total" in body)
print(handle.value("workflow_runs_total", workflow="orders", status="success"))
collector = flowgauge.MetricsCollector()
collector.gauge("x").set(1)
print([family.name for family in collector.collect_all()], len(handle.collect()) > 10)
handle.close()
try:
    flowgauge.setup_observability(registry=object(), serve=False)
except ModuleNotFoundError as error:
    print(error)
with flowgauge.setup_observability(serve=False, profile="contd") as again:
    print(again.value("contd_workflows_completed_total", workflow_name="orders", status="completed"))
print("prometheus_client" in sys.modules)
"""
)


def test_everything_but_a_registry_works_without_prometheus_client():
    assert python(WITHOUT).splitlines() == [
        "200 text/plain True",
        "200 application/openmetrics-text True",
        "200 application/vnd.google.protobuf True",
        "1.0",
        "['x'] True",
        "no prometheus_client here",
        "1.0",
        "False",
    ]


# These are for a registry of prometheus_client, or for a framework that may not be here.
NEED = {"flowgauge.collector"}


def test_only_what_is_for_prometheus_client_needs_it():
    names = [
        module.name
        for module in pkgutil.walk_packages(flowgauge.__path__, "flowgauge.")
        if not module.ispkg
    ]
    code = (
        f"{BLOCK}\nimport importlib\nfor name in {names!r}:\n    try:\n        importlib.import_module(name)\n"
        "    except ModuleNotFoundError as error:\n"
        "        if error.name.partition('.')[0] == 'prometheus_client':\n            print(name)\n"
    )

    assert set(python(code).split()) == NEED


def test_the_metrics_of_the_package_are_not_in_the_global_registry_of_prometheus_client():
    code = (
        "import prometheus_client\nbefore = {*prometheus_client.REGISTRY._names_to_collectors}\n"
        "import flowgauge\nflowgauge.setup_observability(serve=False)\n"
        "print({*prometheus_client.REGISTRY._names_to_collectors} == before)"
    )

    assert python(code) == "True\n"
