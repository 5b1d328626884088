import dataclasses

import pytest

from flowgauge_operator import settings
from flowgauge_operator.settings import FLAGS, Settings


def test_without_flags_the_defaults_hold():
    assert settings.parse([], {}) == Settings()


def test_every_setting_has_a_flag():
    fields = {field.name for field in dataclasses.fields(Settings)}
    flags = {flag.field for flag in FLAGS}

    assert flags - {"listen_address"} == fields - {"listen_host", "listen_port"}


def test_a_variable_sets_a_flag():
    assert settings.parse([], {"FLOWGAUGE_WORKERS": "3"}).workers == 3


def test_the_command_line_beats_the_environment():
    assert settings.parse(["--workers=4"], {"FLOWGAUGE_WORKERS": "3"}).workers == 4


def test_an_empty_variable_means_the_default():
    assert settings.parse([], {"FLOWGAUGE_RESYNC": ""}).resync == 900.0


@pytest.mark.parametrize(
    ("argv", "expected"),
    [([], False), (["--leader-elect"], True), (["--leader-elect=false"], False)],
)
def test_a_switch_works_with_and_without_a_value(argv, expected):
    assert settings.parse(argv, {}).leader_elect is expected


def test_labels_are_read_by_commas_and_sorted():
    found = settings.parse(["--monitor-labels", "team=a, example.com/release=stack"], {})

    assert found.monitor_labels == (("example.com/release", "stack"), ("team", "a"))


def test_namespaces_are_read_once_each():
    assert settings.parse(["--namespaces", "shop, bank,shop"], {}).namespaces == ("shop", "bank")


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [(":9", "", 9), ("[::1]:8080", "::1", 8080), ("127.0.0.1:0", "127.0.0.1", 0)],
)
def test_an_address_is_host_and_port(text, host, port):
    found = settings.parse(["--listen-address", text], {})

    assert (found.listen_host, found.listen_port) == (host, port)


@pytest.mark.parametrize(
    ("argv", "remedy"),
    [
        (["--workers=0"], "--workers '0': write a whole number above 0"),
        (["--resync=5m"], "--resync '5m': write a number of seconds above 0"),
        (["--resync=-1"], "--resync '-1': write a number of seconds above 0"),
        (["--verify-interval=nan"], "--verify-interval 'nan': write a number of seconds"),
        (["--kube-api-qps=-1"], "--kube-api-qps '-1': write a number, 0 or above"),
        (
            ["--kube-api-qps=100", "--kube-api-burst=1"],
            "--kube-api-burst 1 is below --kube-api-qps 100",
        ),
        (["--lease-duration=3"], "--lease-duration '3': write whole seconds from 4"),
        (["--lease-duration=10.5"], "--lease-duration '10.5': write whole seconds"),
        (["--listen-address=8080"], "write HOST:PORT"),
        (["--listen-address=x:99999"], "write HOST:PORT"),
        (["--log-level=loud"], "write one of debug, info, warning, error"),
        (["--log-format=xml"], "write one of text, json"),
        (["--leader-elect=maybe"], "write true or false"),
        (["--prometheus-url=prometheus:9090"], "write a whole URL"),
        (["--runbook-base-url=runbooks"], "such as https://example.com/runbooks"),
        (["--runbook-base-url=ftp://x/{alert}"], "such as https://example.com/runbooks"),
        (["--runbook-base-url=https://x/{name}"], "write {alert} in the place of a page's name"),
        (["--runbook-base-url=https://x/{{alert}}"], "and no other braces"),
        (['--grafana-url=https://x/{{ query "up" }}'], "without braces and spaces"),
        (["--logs-url=javascript:alert(1)//{{workflow}}"], "write a whole URL"),
        (["--logs-url=//logs.example/{{workflow}}"], "write a whole URL"),
        (["--traces-url=https://x/?q={{pod}}"], "no other pair of braces"),
        (["--traces-url=https://x/?q={{workflow}} or 1"], "no spaces"),
        (["--namespaces=Shop"], "write a name of lower-case letters"),
        (["--monitor-labels=team"], "write a label as key=value"),
        (["--rule-labels=a=1,a=2"], "a is there twice"),
        (["--folder-annotation=-x"], "write a key such as"),
        (["--dashboard-mode=configmap"], "write one of ConfigMap, GrafanaDashboard, None"),
        (["--dashboard-folder=../{namespace}"], "write names of folders"),
        (["--dashboard-folder=a//b"], "write names of folders"),
        (["--dashboard-resync=10"], "write a length of time, such as 10m"),
        (["--worker=3"], "unrecognized arguments"),
    ],
)
def test_a_mistake_is_refused_with_flag_and_remedy(argv, remedy, capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(argv, {})

    assert caught.value.code == 2
    assert remedy in capsys.readouterr().err


def test_a_mistake_in_the_environment_names_the_variable(capsys):
    with pytest.raises(SystemExit):
        settings.parse([], {"FLOWGAUGE_WORKERS": "many"})

    assert "FLOWGAUGE_WORKERS 'many'" in capsys.readouterr().err


def test_the_version_is_printed(capsys):
    with pytest.raises(SystemExit) as caught:
        settings.parse(["--version"], {})

    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("flowgauge-operator 0.")
