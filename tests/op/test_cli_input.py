"""What the command line reads and prints in other circumstances than those of whoever wrote it."""

import argparse
import io
import json
import os
import subprocess
import sys

import pytest

from flowgauge_operator import cli
from flowgauge_operator.preview import arguments as preview

BODY = {
    "apiVersion": "flowgauge.dev/v1alpha1",
    "kind": "MonitoredWorkflow",
    "metadata": {"name": "orders", "namespace": "shop"},
    "spec": {
        "selector": {"matchLabels": {"app": "orders"}},
        "alerts": {"extra": [{"name": "Try", "expr": "vector(1)", "summary": "Prüfen 🎉"}]},
    },
}
HEAD = "apiVersion: flowgauge.dev/v1alpha1\nkind: MonitoredWorkflow\n"
JSON = json.dumps(BODY, ensure_ascii=False)
MERGED = f"""{HEAD}metadata: {{name: orders, namespace: shop, labels: &labels {{app: a, tier: &tier b}}}}
spec:
  selector: {{matchLabels: {{<<: *labels, app: orders, old: *tier}}}}
"""


@pytest.fixture(name="file")
def _file(tmp_path):
    def write(data, name="w.yaml"):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


@pytest.mark.parametrize(
    "data",
    [
        JSON.encode("utf-16"),
        JSON.encode("utf-8-sig"),
        MERGED.replace("\n", "\r\n"),
        json.dumps(BODY, indent="\t"),
        json.dumps(BODY, ensure_ascii=True),
        f"{HEAD}metadata: {{name: a, namespace: null, uid: 1, generation: x}}\nspec: {{scrape: {{mode: Push}}}}\n",
    ],
)
def test_what_kubectl_reads_is_read(file, capsys, data):
    assert cli.main(["validate", "-f", file(data)]) == 0
    assert capsys.readouterr().out.endswith((": shop/orders: valid\n", ": default/a: valid\n"))


def test_objects_of_json_may_follow_each_other(file, capsys):
    other = JSON.replace('"orders"', '"bills"', 1)

    assert cli.main(["validate", "-f", file(f"{JSON}\n{other}")]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{this}: &{this} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: y}\n" + "".join(
    f"{this}: &{this} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, this in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (LAUGHS, "its aliases stand for more than 1000000 values"),
        (MERGES, "its aliases stand for more than 1000000 values"),
        ("&a [*a, *a]", "its aliases stand for more than 1000000 values"),
        (f"a: {'1' * 5000}", "line 1, column 4"),
        ("a: !!int x", "invalid literal for int()"),
        ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (f"{HEAD}# é".encode("latin-1"), "save it as UTF-8"),
        (f"{HEAD}metadata: {{name: no}}\n", "False is no text, put it in quotes"),
        (f"{HEAD}metadata: {{name: a, namespace: 007}}\n", "7 is no text, put it in quotes"),
        (f"{HEAD}metadata: {{generateName: a-}}\n", "generateName alone gives none"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(file, capsys, data, message):
    path = file(data)

    assert cli.main(["validate", "-f", path]) == 1
    error = capsys.readouterr().err
    assert path in error
    assert message in error


def test_files_may_be_named_as_a_shell_expands_them(file, capsys):
    files = [file(JSON.replace("orders", name), f"{name}.json") for name in ("a", "b", "c")]

    assert cli.main(["validate", "-f", *files[:2], "-f", files[2]]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_preview_takes_files_in_the_same_way():
    parser = argparse.ArgumentParser()
    preview.register(parser.add_subparsers())

    words = ["preview", "-f", "a", "b", "-f", "c", "--prometheus", "http://x", "--html", "x.html"]
    assert parser.parse_args(words).filename == ["a", "b", "c"]


def test_a_folder_is_told_to_be_one(tmp_path, capsys):
    assert cli.main(["validate", "-f", str(tmp_path)]) == 1
    assert f"{tmp_path} is a folder; name the files in it" in capsys.readouterr().err


def test_a_file_that_is_none_hides_no_other(file, capsys):
    assert cli.main(["validate", "-f", file("a: [", "bad.yaml"), file(JSON)]) == 1
    out, error = capsys.readouterr()
    assert "bad.yaml is not valid YAML" in error
    assert out.endswith("shop/orders: valid\n")


@pytest.mark.parametrize("command", ["generate", "validate"])
def test_of_two_workflows_with_one_name_neither_wins(command, file, capsys):
    assert cli.main([command, "-f", file(JSON), file(JSON, "again.yaml")]) == 1
    assert "again.yaml: shop/orders is there twice" in capsys.readouterr().err


def test_a_profile_is_shown_from_standard_input(monkeypatch, capsys):
    text = "apiVersion: flowgauge.dev/v1alpha1\nkind: WorkflowProfile\nmetadata: {name: mine}\nspec: {title: Mine, description: Of mine.}\n"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert cli.main(["profile", "show", "-"]) == 0
    assert "mine" in capsys.readouterr().out


def program(*arguments, **options):
    environment = {**os.environ, "PYTHONUTF8": "0"}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.Popen(
        [sys.executable, "-m", "flowgauge_operator.cli", *arguments],
        env={**environment, **options.pop("env", {})},
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_the_locale_changes_nothing(file):
    expected, _ = program("generate", "-f", file(JSON), stdout=subprocess.PIPE).communicate()
    ascii_only = {"PYTHONIOENCODING": "ascii"}
    running = program("generate", "-f", "-", env=ascii_only, stdout=subprocess.PIPE)
    found, error = running.communicate(JSON.encode())

    assert (running.returncode, error, found) == (0, b"", expected)
    assert "Prüfen".encode() in found


def test_an_output_that_cannot_be_written_is_told(file):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        running = program("validate", "-f", file(JSON), stdout=full)
        _, error = running.communicate()

    assert (running.returncode, error) == (1, b"error: [Errno 28] No space left on device\n")


def test_a_reader_that_is_gone_is_no_error(file):
    reading, writing = os.pipe()
    os.close(reading)
    running = program("validate", "-f", file(JSON), stdout=writing)
    os.close(writing)
    _, error = running.communicate()

    assert (running.returncode, error) == (0, b"")


def test_whoever_interrupts_sees_no_traceback(monkeypatch, capsys):
    class Typing:
        buffer = property(lambda self: self)

        def read(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("sys.stdin", Typing())

    assert cli.main(["validate", "-f", "-"]) == 130
    assert capsys.readouterr() == ("", "")
