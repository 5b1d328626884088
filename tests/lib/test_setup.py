import http.client
import socket
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, Counter

import flowgauge
from flowgauge import profiles, settings


def resolve(environment, **arguments):
    defaults = {"profile": None, "host": None, "port": None, "serve": True, "registry": None}
    return settings.resolve(**defaults | arguments, environment=environment)


def test_arguments_beat_the_environment_which_beats_the_defaults():
    environment = {
        "FLOWGAUGE_PROFILE": "tta-dev",
        "FLOWGAUGE_HOST": "10.0.0.7",
        "FLOWGAUGE_PORT": "8000",
    }

    default, ambient = resolve({}), resolve(environment)
    explicit = resolve(environment, profile="contd", host="127.0.0.1", port=7000)

    assert (default.profile.name, default.host, default.port) == ("workflow", "", 9090)
    assert (ambient.profile.name, ambient.host, ambient.port) == ("tta-dev", "10.0.0.7", 8000)
    assert (explicit.profile.name, explicit.host, explicit.port) == ("contd", "127.0.0.1", 7000)


def test_an_empty_variable_counts_as_not_set():
    chosen = resolve({"FLOWGAUGE_PROFILE": "", "FLOWGAUGE_HOST": "", "FLOWGAUGE_PORT": ""})

    assert (chosen.profile.name, chosen.host, chosen.port) == ("workflow", "", 9090)


def test_what_kubernetes_sets_for_a_service_called_flowgauge_is_no_port():
    # The operator's Service has this name by default, and the workflow may run in its namespace.
    assert resolve({"FLOWGAUGE_PORT": "tcp://10.96.0.7:8080"}).port == 9090


@pytest.mark.parametrize("port", ["nine", "-1", "65536", "9090 ", "\u0663"])
def test_a_port_that_is_none_is_refused_by_the_name_of_its_source(port):
    with pytest.raises(ValueError, match=r"FLOWGAUGE_PORT is .* must be a number from 0 to 65535"):
        resolve({"FLOWGAUGE_PORT": port})


def test_a_profile_may_be_a_file_a_name_or_a_record(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(
        "apiVersion: flowgauge.dev/v1alpha1\nkind: WorkflowProfile\nmetadata: {name: own}\n"
        "spec: {title: Own, description: Own., scrape: {port: 8888}}\n",
    )

    assert resolve({}, profile=file).profile.name == "own"
    assert resolve({"FLOWGAUGE_PROFILE": str(file)}).port == 8888
    assert resolve({}, profile=profiles.builtin("contd")).profile.name == "contd"


def test_an_unknown_profile_is_refused_with_those_that_exist():
    with pytest.raises(flowgauge.ProfileError, match="built in are airflow"):
        flowgauge.setup_observability(profile="cont", port=0)


def test_the_same_settings_give_the_same_handle_and_others_an_error(observe):
    first = observe()

    assert observe() is first
    with pytest.raises(
        RuntimeError, match=r"set up already \(profile 'workflow', host '127.0.0.1', port 0\)"
    ):
        observe(profile="contd")


def test_after_close_it_can_be_set_up_otherwise(observe, read, name):
    with flowgauge.run(name):
        pass
    first = observe()
    address = first.address
    first.close()
    first.close()

    with pytest.raises(OSError):
        read(address)
    page = read(observe(profile="contd").address)
    assert (
        page.value("contd_workflows_completed_total", workflow_name=name, status="completed") == 1
    )


def test_a_port_in_use_is_reported_with_the_remedy_and_the_workflow_goes_on(observe, name, caplog):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        handle = observe(port=port)

    with flowgauge.run(name):
        pass

    assert (handle.serving, handle.port, handle.address) == (False, None, None)
    assert handle.value("workflow_runs_total", workflow=name, status="success") == 1
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert f"port {port} of 127.0.0.1: Address already in use" in record.getMessage()
    assert "choose another with FLOWGAUGE_PORT or port=" in record.getMessage()


def test_a_port_in_use_is_an_error_if_asked_for_and_leaves_nothing_behind(observe):
    registry = CollectorRegistry()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(flowgauge.EndpointError, match=f"port {port}"):
            observe(port=port, strict=True, registry=registry)

    assert observe(port=port, strict=True, registry=registry).port == port


def test_an_address_of_another_machine_is_reported_with_the_remedy(observe, caplog):
    handle = observe(host="192.0.2.1")

    assert not handle.serving
    assert "set FLOWGAUGE_HOST" in caplog.records[0].getMessage()


def test_a_registry_of_the_user_is_served_with_what_it_has(observe, read, name):
    registry = CollectorRegistry()
    Counter("own", "A counter of the user.", registry=registry).inc(3)
    with flowgauge.run(name):
        pass

    page = read(observe(registry=registry).address)

    assert page.value("own_total") == 3
    assert page.value("workflow_runs_total", workflow=name, status="success") == 1
    assert page.value("process_resident_memory_bytes") is None


def test_a_name_that_the_registry_has_already_is_refused(observe):
    registry = CollectorRegistry()
    Counter("workflow_runs", "Taken.", registry=registry)

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        observe(registry=registry)
    assert observe().serving


def test_without_serving_no_port_is_opened(observe, name):
    handle = observe(serve=False)

    assert (handle.serving, handle.port) == (False, None)
    assert handle.value("flowgauge_library_info", version=flowgauge.__version__) == 1


def test_all_addresses_are_listened_on_by_default(observe, read):
    handle = observe(host="")

    assert read(handle.address).samples
    assert read(f"http://127.0.0.1:{handle.port}/metrics").samples


def test_the_global_registry_gets_nothing():
    # In a process of its own: other tests put their metrics there.
    program = """
import flowgauge
from prometheus_client import REGISTRY, generate_latest

with flowgauge.setup_observability(host="127.0.0.1", port=0):
    print(b"flowgauge" in generate_latest(REGISTRY))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "False\n"


def test_readiness_tls_and_credentials_come_from_the_set_up(observe, tmp_path, monkeypatch):
    secret = tmp_path / "token"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("FLOWGAUGE_AUTH_TOKEN_FILE", str(secret))
    ready = []
    handle = observe(ready=lambda: bool(ready))

    def status(path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", handle.port, timeout=5)
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    assert status("/metrics") == 401
    assert status("/metrics", Authorization="Bearer s3cret") == 200
    assert status("/readyz") == 503
    ready.append(True)
    assert status("/readyz") == 200


def test_a_variable_that_names_no_file_is_told(observe, monkeypatch):
    monkeypatch.setenv("FLOWGAUGE_TLS_CERTIFICATE", "/no/such.pem")
    with pytest.raises(ValueError, match="tls key is missing"):
        observe()
