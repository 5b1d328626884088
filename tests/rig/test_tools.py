"""The cache of tools: what its key depends on, and that nothing half done counts."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rig import builds, parts, tools

pytestmark = pytest.mark.unit


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> parts.GoTool:
    folder = tmp_path / "tools" / "toy"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text("module toy\n\nrequire example.invalid/toy v1.2.3\n")
    (folder / "go.sum").write_text("")
    monkeypatch.setattr(parts, "FOLDER", folder.parent)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(builds, "go_version", lambda: "go version go1.26.8 linux/amd64")
    return parts.GoTool(
        name="toy", module="example.invalid/toy", binaries={"toy": "example.invalid/toy"}, seconds=1
    )


def test_a_changed_requirement_changes_the_hash(tool):
    before = builds.digest(tool)

    (tool.folder / "go.mod").write_text("module toy\n\nrequire example.invalid/toy v1.2.4\n")

    assert builds.digest(tool) != before


def test_a_changed_sum_changes_the_hash(tool):
    before = builds.digest(tool)

    (tool.folder / "go.sum").write_text("example.invalid/toy v1.2.3 h1:abc=\n")

    assert builds.digest(tool) != before


def test_a_changed_source_changes_the_hash(tool):
    before = builds.digest(tool)

    (tool.folder / "main.go").write_text("package main\n")

    assert builds.digest(tool) != before


def test_a_replay_evaluates_as_the_prometheus_that_is_tested():
    assert parts.find("replay").version == parts.find("prometheus").version


def test_what_a_module_lacks_is_empty_beside_its_own(tool, tmp_path, monkeypatch):
    module = tmp_path / "module"
    module.mkdir()
    (module / "main.go").write_text("package main\n")
    module.chmod(0o555)
    (tool.folder / "go.mod").write_text("module toy\n\nrequire example.invalid/toy v1.2.3\n")
    answers = {"download": f'{{"Dir": "{module}"}}'}
    commands = []

    def run(command, tool, *, cwd):
        commands.append(command)
        return answers.get(command[2], "")

    monkeypatch.setattr(builds, "_run", run)

    modfile = builds._completed(replace(tool, lacks=("ui/index.html",)), tmp_path)

    copy = modfile.parent / "module"
    assert (copy / "ui/index.html").read_text() == ""
    assert (copy / "main.go").read_text() == "package main\n"
    assert commands[-1][3:] == [f"-replace=example.invalid/toy={copy}", str(modfile)]


def test_another_go_changes_the_hash(tool, monkeypatch):
    before = builds.digest(tool)

    monkeypatch.setattr(builds, "go_version", lambda: "go version go1.27.3 linux/amd64")

    assert builds.digest(tool) != before


def test_the_version_is_the_one_of_go_mod(tool):
    assert tool.version == "1.2.3"


@pytest.mark.parametrize(
    ("module", "release"), [("0.314.0", "3.14.0"), ("0.305.5", "3.5.5"), ("0.400.1", "4.0.1")]
)
def test_module_versions_of_prometheus_stand_for_releases(module, release):
    assert parts.prometheus_release(module) == release


@pytest.mark.parametrize("tool", [*parts.TOOLS, *parts.OPTIONAL], ids=lambda tool: tool.name)
def test_every_go_tool_is_pinned_and_summed(tool):
    if isinstance(tool, parts.GoTool):
        assert tool.version
        assert (tool.folder / "go.sum").stat().st_size > 0


def test_the_kubernetes_stamp_is_a_release():
    ldflags = parts.find("kube-apiserver").ldflags

    assert "version.gitVersion=v1." in ldflags


def test_an_interrupted_build_leaves_nothing(tool, monkeypatch):
    def interrupt(tool, scratch):
        (scratch / "toy").write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setattr(builds, "_compile", interrupt)

    with pytest.raises(KeyboardInterrupt):
        builds.build(tool)

    assert not builds.is_cached(tool)
    assert [path.name for path in builds.cache_root().iterdir() if path.is_dir()] == []


def test_two_builds_at_the_same_time_are_one(tool, monkeypatch):
    calls = []

    def compile_slowly(tool, scratch):
        calls.append(scratch)
        time.sleep(0.2)
        (scratch / "toy").write_text("whole")

    monkeypatch.setattr(builds, "_compile", compile_slowly)
    threads = [threading.Thread(target=builds.build, args=(tool,)) for _ in range(2)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(calls) == 1
    assert (builds.home(tool) / "toy").read_text() == "whole"


def test_a_missing_binary_names_the_command_that_builds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    tools.path.cache_clear()

    with pytest.raises(tools.MissingTool, match="Run `make tools`"):
        tools.path("kubectl")

    tools.path.cache_clear()


def test_an_unknown_name_is_an_error_and_no_traceback(capsys):
    assert tools.main(["nonsense"]) == 1

    assert "no tool called nonsense" in capsys.readouterr().err
