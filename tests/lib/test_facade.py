import importlib.metadata
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


def test_every_public_name_can_be_loaded():
    for name in flowgauge.__all__:
        assert getattr(flowgauge, name) is not None
    assert set(flowgauge.__all__) <= set(dir(flowgauge))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'worflow'"):
        _ = flowgauge.worflow


def test_the_version_is_that_of_the_distribution():
    assert flowgauge.__version__ == importlib.metadata.version("flowgauge")
