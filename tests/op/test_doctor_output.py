"""What the doctor prints and how it ends: text, document, exit codes, wrong use."""

from __future__ import annotations

import json
import sys

import doctor_scene as scene
import pytest
from doctor_monitoring_cases import KPS
from doctor_scene import snapshot

from flowgauge_operator import command
from flowgauge_operator.doctor import arguments, diagnosis, report
from flowgauge_operator.doctor import command as doctor
from flowgauge_operator.doctor.finding import Level


def test_the_text_keeps_commands_whole_and_terminals_safe():
    seen = snapshot(scene.workflow(faults=("spec.x: \x1b[31mred\x07" + "long " * 60,)))

    text = report.text(seen, diagnosis.examine(seen), width=80, quiet=True)

    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[31mred" in text
    assert "→ kubectl -n shop edit mwf orders" in text
    assert (
        max(
            len(line)
            for line in text.splitlines()
            if "→ kubectl" not in line and "  kubectl" not in line and "doctor 0.1.0" not in line
        )
        <= 80
    )
    assert "1 error, 0 warnings, 0 unknown" in text
    painted = report.text(seen, diagnosis.examine(seen), colour=True)
    assert "\x1b[1;31mERROR" in painted


def test_the_document_has_the_same_findings():
    seen = snapshot(prometheuses=[scene.prometheus(ruleSelector=KPS)])
    findings = diagnosis.examine(seen)

    document = json.loads(report.as_json(seen, findings))

    assert document["schema"] == 1
    assert document["workflow"] == "shop/orders"
    assert document["summary"] == {"ok": len(findings) - 1, "warning": 0, "error": 1, "unknown": 0}
    (told,) = [f for f in document["findings"] if f["level"] == "error"]
    assert set(told) == {"check", "group", "level", "about", "seen", "remedy"}
    assert (told["check"], told["group"]) == ("rule-selector", "Prometheus and Alertmanager")


@pytest.mark.parametrize(
    ("level", "plain", "strict"),
    [("ok", 0, 0), ("warning", 0, 1), ("unknown", 0, 1), ("error", 1, 1)],
)
def test_the_exit_code_follows_the_worst_finding(level, plain, strict):
    findings = [diagnosis.Finding("crds", Level(level), "x")]

    assert diagnosis.exit_code(findings, strict=False) == plain
    assert diagnosis.exit_code(findings, strict=True) == strict


def test_without_the_official_client_one_line_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "kubernetes", None)
    parser = arguments.argparse.ArgumentParser()
    arguments.register(parser.add_subparsers())

    parsed = parser.parse_args(["doctor"])

    assert parsed.run(parsed) == 2
    assert capsys.readouterr().err.splitlines() == [
        "kubernetes is not installed: flowgauge doctor needs the extra [cli]; pip install 'flowgauge[cli]'"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["a/b/c"],
        ["/b"],
        ["a/"],
        ["a/b", "-n", "c"],
        ["Orders"],
        ["shop/../x"],
        ["shop/.."],
        ["orders", "-n", "a/b"],
        ["--operator-namespace=../x"],
        ["--timeout=0"],
        ["--timeout=inf"],
        ["--prometheus=p:9090"],
        ["-o", "wide"],
    ],
)
def test_wrong_use_is_told_with_its_remedy(words, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["flowgauge", "doctor", *words])

    with pytest.raises(SystemExit) as end:
        command.flowgauge()

    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"\xff\x00", None])
def test_a_file_with_a_token_that_cannot_be_read_is_told(content, tmp_path, capsys, monkeypatch):
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setattr(sys, "argv", ["flowgauge", "doctor", f"--bearer-token-file={path}"])

    assert command.flowgauge() == 2
    assert str(path) in capsys.readouterr().err


def test_who_interrupts_it_sees_no_trace(capsys, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "_seen", interrupted)
    monkeypatch.setattr(sys, "argv", ["flowgauge", "doctor"])

    assert command.flowgauge() == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize("output", ["text", "json"])
def test_an_output_that_was_closed_is_no_fault(output, monkeypatch):
    monkeypatch.setattr(doctor, "_seen", lambda _: snapshot())
    monkeypatch.setattr(sys, "argv", ["flowgauge", "doctor", "-o", output])
    monkeypatch.setattr(sys, "stdout", None)

    assert command.flowgauge() == 0
