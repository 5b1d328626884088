"""The command as a user starts it, beside a real Prometheus."""

import json
import os
import re
import struct
import sys
from pathlib import Path

import pytest

from flowgauge_operator import cli
from flowgauge_operator.preview import arguments, browser

ROOT = Path(__file__).resolve().parents[2]
ORDERS = str(ROOT / "examples/orders/workflow.yaml")
NOWHERE = "http://127.0.0.1:1"


def run(*words):
    return cli.main(["preview", *map(str, words)], more=[arguments.register])


def wrong(*words):
    with pytest.raises(SystemExit) as left:
        run(*words)
    return left.value.code


DASHBOARD = {
    "title": "Own",
    "time": {"from": "now-1h"},
    "templating": {
        "list": [
            {"name": "datasource", "type": "datasource", "query": "prometheus"},
            {
                "name": "queue",
                "label": "Queue",
                "type": "query",
                "query": "label_values(depth, queue)",
            },
        ]
    },
    "annotations": {
        "list": [
            {"name": "Firing", "expr": "ALERTS", "titleFormat": "{{alertname}}", "step": "60s"}
        ]
    },
    "panels": [
        {
            "type": "timeseries",
            "title": "Depth",
            "gridPos": {"x": 0, "y": 0, "w": 12, "h": 8},
            "targets": [
                {"refId": "A", "expr": 'depth{queue="$queue"}', "legendFormat": "of {{queue}}"}
            ],
        },
        {
            "type": "stat",
            "title": "Targets",
            "gridPos": {"x": 12, "y": 0, "w": 6, "h": 8},
            "targets": [{"refId": "A", "expr": "sum(up)", "instant": True}],
        },
        {
            "type": "stat",
            "title": "Broken",
            "gridPos": {"x": 18, "y": 0, "w": 6, "h": 8},
            "targets": [{"refId": "B", "expr": "sum(", "instant": True}],
        },
    ],
}


@pytest.fixture(name="own")
def _own(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps(DASHBOARD), encoding="utf-8")
    return path


@pytest.mark.parts
def test_a_dashboard_is_drawn_with_real_data(history, own, tmp_path, capsys):
    url, end = history
    target = tmp_path / "new folder" / "own.html"

    code = run("--from-json", own, "--prometheus", url, "--until", end, "--html", target)

    html = target.read_text(encoding="utf-8")
    out, err = capsys.readouterr()
    assert (code, out) == (0, f"{target}\n")
    assert "of mails: last" in html
    assert ">1</span>" in html
    assert "Firing</b>" in html
    assert "<dt>Queue</dt><dd>mails</dd>" in html
    assert "query B failed" in html
    assert "own: Broken: warning: query B failed" in err


@pytest.mark.parts
def test_the_dashboard_of_a_workflow_is_the_one_that_would_be_applied(history, tmp_path):
    url, end = history

    assert (
        run("-f", ORDERS, "--prometheus", url, "--until", end, "--html", tmp_path / "o.html") == 0
    )
    html = (tmp_path / "o.html").read_text(encoding="utf-8")
    assert "<h1>orders · shop</h1>" in html
    assert "Targets up" in html
    assert not re.search(r"query \w+ failed", html)


@pytest.mark.parts
@pytest.mark.parametrize("mode", ["ConfigMap", "GrafanaDashboard"])
def test_however_a_dashboard_reaches_grafana_it_is_drawn(history, tmp_path, mode):
    url, end = history
    file = tmp_path / "w.yaml"
    given = Path(ORDERS).read_text(encoding="utf-8")
    file.write_text(
        given.replace("spec:\n", f"spec:\n  dashboard: {{mode: {mode}}}\n"), encoding="utf-8"
    )

    words = [
        "--logs-url",
        "https://logs.example/{{namespace}}?to={{to}}",
        "--html",
        tmp_path / "o.html",
    ]
    assert run("-f", file, "--prometheus", url, "--until", end, *words) == 0
    assert f"https://logs.example/shop?to={end}000" in (tmp_path / "o.html").read_text(
        encoding="utf-8"
    )


def test_a_workflow_without_a_dashboard_is_told(tmp_path, capsys):
    file = tmp_path / "w.yaml"
    given = Path(ORDERS).read_text(encoding="utf-8")
    file.write_text(
        given.replace("spec:\n", "spec:\n  dashboard: {mode: None}\n"), encoding="utf-8"
    )

    assert run("-f", file, "--prometheus", NOWHERE, "--html", tmp_path / "o.html") == 1
    assert "orders has no dashboard: spec.dashboard.mode is None" in capsys.readouterr().err


@pytest.mark.parts
def test_several_workflows_are_a_file_each(history, tmp_path):
    url, end = history
    contd = ROOT / "examples/contd/workflow.yaml"

    assert (
        run(
            "-f",
            ORDERS,
            "-f",
            contd,
            "--prometheus",
            url,
            "--until",
            end,
            "--html",
            tmp_path / "w.html",
        )
        == 0
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "w-durable-contd.html",
        "w-shop-orders.html",
    ]


@pytest.mark.parts
@pytest.mark.parametrize("kind", ["fleet", "slo"])
@pytest.mark.parametrize("files", [[], ["-f", ORDERS]])
def test_the_dashboards_of_a_namespace_and_of_all_are_drawn_too(
    history, tmp_path, kind, files, capsys
):
    url, end = history

    assert (
        run(
            "--dashboard",
            kind,
            *files,
            "--prometheus",
            url,
            "--until",
            end,
            "--html",
            tmp_path / "f.html",
        )
        == 0
    )
    assert "failed" not in capsys.readouterr().err


@pytest.mark.parts
def test_a_password_in_the_url_is_shown_to_nobody(history, own, tmp_path, capsys):
    url, end = history
    secret = url.replace("http://", "http://user:hunter2@")

    assert (
        run(
            "--from-json",
            own,
            "--prometheus",
            secret,
            "--until",
            end,
            "--html",
            tmp_path / "o.html",
        )
        == 0
    )
    assert "hunter2" not in (tmp_path / "o.html").read_text(encoding="utf-8") + "".join(
        capsys.readouterr()
    )


@pytest.mark.parts
def test_a_variable_can_be_chosen(history, own, tmp_path):
    url, end = history

    run(
        "--from-json",
        own,
        "--prometheus",
        url,
        "--until",
        end,
        "--var",
        "queue=none",
        "--html",
        tmp_path / "o.html",
    )
    assert ">No data<" in (tmp_path / "o.html").read_text(encoding="utf-8")


def test_a_prometheus_that_is_not_there_is_an_error_without_its_password(own, tmp_path, capsys):
    secret = NOWHERE.replace("//", "//user:hunter2@")

    assert run("--from-json", own, "--prometheus", secret, "--html", tmp_path / "o.html") == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {NOWHERE} cannot be asked")
    assert "hunter2" not in err
    assert not (tmp_path / "o.html").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-f", "missing.yaml"], "missing.yaml cannot be read"),
        (["--from-json", "missing.json"], "missing.json cannot be read"),
        (["--from-json", ORDERS], "is not valid JSON"),
        (["-f", ORDERS, "--until", "tomorrow"], "--until: 'tomorrow' is no instant"),
        (["-f", ORDERS, "--ca-file", "missing.pem"], "missing.pem"),
        (["-f", ORDERS, "--bearer-token-file", "missing"], "missing"),
    ],
)
def test_bad_input_is_told_with_its_place(words, message, tmp_path, capsys):
    assert run(*words, "--prometheus", NOWHERE, "--html", tmp_path / "o.html") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-f", ORDERS, "--prometheus", NOWHERE], "one of --html FILE and --png DIR is required"),
        (
            ["--prometheus", NOWHERE, "--html", "x"],
            "one of -f FILE and --from-json FILE is required",
        ),
        (["-f", ORDERS, "--html", "x"], "--prometheus"),
        (["-f", ORDERS, "--html", "x", "--prometheus", "localhost"], "write a whole URL"),
        (["-f", ORDERS, "--html", "x", "--prometheus", ""], "write a whole URL"),
        (
            ["-f", ORDERS, "--html", "x", "--prometheus", NOWHERE, "--since", "soon"],
            "is no duration",
        ),
        (["-f", ORDERS, "--html", "x", "--prometheus", NOWHERE, "--width", "300"], "769 to 4000"),
        (["-f", ORDERS, "--html", "x", "--prometheus", NOWHERE, "--var", "x"], "name=value"),
    ],
)
def test_wrong_use_is_told_with_the_remedy(words, message, capsys):
    assert wrong(*words) == 2
    assert message in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.delattr("flowgauge_operator.preview.command", raising=False)
    monkeypatch.setitem(sys.modules, "flowgauge_operator.preview.command", None)

    assert run("-f", ORDERS, "--prometheus", NOWHERE, "--html", "x") == 2
    assert "pip install 'flowgauge[preview]'" in capsys.readouterr().err


def test_without_a_browser_a_picture_is_refused_with_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROME", raising=False)

    assert run("-f", ORDERS, "--prometheus", NOWHERE, "--png", tmp_path) == 1
    assert "apt-get install chromium" in capsys.readouterr().err


def test_a_browser_that_is_no_program_is_told_by_its_name(tmp_path, capsys):
    assert (
        run("-f", ORDERS, "--prometheus", NOWHERE, "--png", tmp_path, "--browser", "no-such") == 1
    )
    assert "no-such is no program" in capsys.readouterr().err


@pytest.fixture(name="browser_path")
def _browser_path():
    try:
        return browser.found("", os.environ)
    except browser.BrowserError as error:
        pytest.skip(str(error))


@pytest.mark.parts
def test_pictures_are_as_wide_as_a_desk_and_as_a_phone(history, own, tmp_path, browser_path):
    url, end = history

    assert (
        run("--from-json", own, "--prometheus", url, "--until", end, "--png", tmp_path / "p") == 0
    )
    assert {path.name: size(path)[0] for path in (tmp_path / "p").iterdir()} == {
        "own-1280.png": 1280,
        "own-390.png": 390,
    }
    assert size(tmp_path / "p/own-390.png")[1] > size(tmp_path / "p/own-1280.png")[1]
    # As high as the page, which is less than a window.
    assert 300 < size(tmp_path / "p/own-1280.png")[1] < 600


def size(path):
    return struct.unpack(">II", path.read_bytes()[16:24])


@pytest.mark.parts
def test_a_browser_that_ends_at_once_is_told(history, own, tmp_path, capsys):
    url, end = history
    fake = tmp_path / "fake"
    fake.write_text("#!/bin/sh\necho no display >&2\nexit 1\n")
    fake.chmod(0o755)

    assert (
        run(
            "--from-json",
            own,
            "--prometheus",
            url,
            "--until",
            end,
            "--png",
            tmp_path,
            "--browser",
            fake,
        )
        == 1
    )
    assert "no display" in capsys.readouterr().err
