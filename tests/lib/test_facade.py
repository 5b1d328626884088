import importlib.metadata
import os
import subprocess
import sys

import pytest

import flowgauge

HEAVY = "prometheus_client yaml asyncio inspect ssl logging http.server opentelemetry boto3 datadog"


def loaded_by(statement, modules):
    code = f"{statement}\nimport sys\nprint(*sorted(set({modules.split()!r}) & set(sys.modules)))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import flowgauge", HEAVY) == []


def test_importing_the_profiles_does_not_load_prometheus_client():
    assert loaded_by("import flowgauge.profiles", "prometheus_client http.server") == []


def test_decorating_and_calling_loads_neither_prometheus_client_nor_yaml():
    code = "import flowgauge\n@flowgauge.workflow\ndef f(): pass\nf()"

    assert loaded_by(code, HEAVY) == []


def test_recording_by_role_reads_no_profile():
    code = "from flowgauge import records\nrecords.count('queue.enqueued', queue='a')"

    assert loaded_by(code, f"{HEAVY} flowgauge.profiles.loader flowgauge.profiles.types") == []


SLOWLY = """
import os, sys, threading, time
from importlib.machinery import PathFinder

begun = threading.Event()

class Slow(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == "flowgauge.instruments":
            begun.set()
            time.sleep(0.5)
        return None

sys.meta_path.insert(0, Slow)
import flowgauge

threading.Thread(target=lambda: flowgauge.counter).start()
assert begun.wait(10)
pid = os.fork()
if not pid:
    flowgauge.counter("a_total", "A.").inc()
    os._exit(0)
for _ in range(100):
    ended, status = os.waitpid(pid, os.WNOHANG)
    if ended:
        sys.exit(status)
    time.sleep(0.1)
os.kill(pid, 9)
sys.exit("the child waits for ever")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_that_is_forked_while_a_name_is_loaded_can_use_it():
    subprocess.run([sys.executable, "-W", "ignore", "-c", SLOWLY], check=True, timeout=60)


def test_every_public_name_can_be_loaded():
    for name in flowgauge.__all__:
        assert getattr(flowgauge, name) is not None
    assert set(flowgauge.__all__) <= set(dir(flowgauge))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'worflow'"):
        _ = flowgauge.worflow


def test_the_version_is_that_of_the_distribution():
    assert flowgauge.__version__ == importlib.metadata.version("flowgauge")
