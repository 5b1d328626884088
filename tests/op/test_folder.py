"""Generated files in a folder of somebody's: ours come and go, theirs stay."""

import json
import os
from pathlib import PurePosixPath

import pytest

from flowgauge_operator import folder
from flowgauge_operator.folder import FolderError

A, B = PurePosixPath("a/one.yaml"), PurePosixPath("b/two.yaml")


def found(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_files_are_written_and_recorded(tmp_path):
    told = folder.write(tmp_path / "new/out", {A: "1\n", B: "2\n"})

    root = tmp_path / "new/out"
    assert told == ["wrote a/one.yaml", "wrote b/two.yaml"]
    assert found(root) == [".flowgauge.json", "a/one.yaml", "b/two.yaml"]
    assert (root / A).read_text() == "1\n"
    assert (root / A).stat().st_mode & 0o777 == 0o644
    record = json.loads((root / ".flowgauge.json").read_text())
    assert record == {"files": ["a/one.yaml", "b/two.yaml"]}


def test_what_is_written_can_be_read_by_servers_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        folder.write(tmp_path / "new/out", {A: "1\n"})
    finally:
        os.umask(before)

    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "new").rglob("*")]
    assert sorted(modes) == [0o644, 0o644, 0o755, 0o755]


def test_what_cannot_take_its_place_is_told_by_its_place(tmp_path):
    folder.write(tmp_path, {A: "1\n"})
    (tmp_path / A).unlink()
    (tmp_path / A).mkdir()

    with pytest.raises(FolderError, match=r"a/one.yaml: Is a directory"):
        folder.write(tmp_path, {A: "1\n"})


def test_what_is_unchanged_stays_untouched(tmp_path):
    folder.write(tmp_path, {A: "1\n", B: "2\n"})
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}

    assert folder.write(tmp_path, {A: "1\n", B: "2\n"}) == []

    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_what_is_no_longer_wanted_goes_with_the_folders_that_are_empty_then(tmp_path):
    folder.write(tmp_path, {A: "1\n", B: "2\n"})
    (tmp_path / "b/theirs.yaml").write_text("theirs")

    assert folder.write(tmp_path, {}) == ["removed a/one.yaml", "removed b/two.yaml"]

    assert found(tmp_path) == [".flowgauge.json", "b/theirs.yaml"]
    assert not (tmp_path / "a").exists()


def test_what_somebody_has_removed_already_is_no_error(tmp_path):
    folder.write(tmp_path, {A: "1\n"})
    (tmp_path / A).unlink()

    assert folder.write(tmp_path, {}) == []


def test_a_file_of_somebody_else_is_not_overwritten_and_nothing_else_is_written(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / B).write_text("theirs")

    with pytest.raises(FolderError, match=r"two\.yaml exists and was not written by us; move it"):
        folder.write(tmp_path, {A: "1\n", B: "2\n"})

    assert found(tmp_path) == ["b/two.yaml"]
    assert (tmp_path / B).read_text() == "theirs"


def test_a_link_to_nothing_is_somebody_elses_too(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / A).symlink_to(tmp_path / "not-mounted-now")

    with pytest.raises(FolderError, match=r"one\.yaml exists and was not written by us"):
        folder.write(tmp_path, {A: "1\n"})


def test_a_changed_file_of_ours_is_put_right(tmp_path):
    folder.write(tmp_path, {A: "1\n"})
    (tmp_path / A).write_text("edited")

    assert folder.write(tmp_path, {A: "1\n"}) == ["wrote a/one.yaml"]


@pytest.mark.parametrize("path", ["../out", "a/../../out", "/etc/out", ".", ".."])
def test_nothing_is_written_outside(tmp_path, path):
    root = tmp_path / "root"

    with pytest.raises(FolderError):
        folder.write(root, {PurePosixPath(path): "x"})

    assert found(tmp_path) == []


def test_a_record_that_leads_outside_removes_nothing(tmp_path):
    root, victim = tmp_path / "root", tmp_path / "victim"
    root.mkdir()
    victim.write_text("theirs")
    (root / folder.RECORD).write_text('{"files": ["../victim"]}')

    with pytest.raises(FolderError, match="is not inside of"):
        folder.write(root, {})

    assert victim.read_text() == "theirs"


def test_a_link_that_leads_outside_is_not_followed(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    (root / "a").symlink_to(elsewhere)

    with pytest.raises(FolderError, match="remove the link"):
        folder.write(root, {A: "1\n"})

    assert found(elsewhere) == []


@pytest.mark.parametrize("text", ["", "[]", '{"files": 1}', "{}"])
def test_a_record_that_cannot_be_read_is_told(tmp_path, text):
    (tmp_path / folder.RECORD).write_text(text)

    with pytest.raises(FolderError, match="cannot be read"):
        folder.write(tmp_path, {A: "1\n"})


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "out").write_text("")

    with pytest.raises(FolderError, match="choose a folder that you may write"):
        folder.write(tmp_path / "out", {A: "1\n"})


def test_a_name_that_is_too_long_for_a_file_system_is_told(tmp_path):
    with pytest.raises(FolderError, match="File name too long"):
        folder.write(tmp_path, {PurePosixPath("ä" * 128) / "a.json": "1\n"})


def test_a_run_that_was_killed_leaves_nothing_that_the_next_one_does_not_know(
    tmp_path, monkeypatch
):
    replace, calls = folder._replace, []

    def dies(target, text):
        calls.append(target)
        if len(calls) == 3:
            raise KeyboardInterrupt
        replace(target, text)

    monkeypatch.setattr(folder, "_replace", dies)
    with pytest.raises(KeyboardInterrupt):
        folder.write(tmp_path, {A: "1\n", B: "2\n"})
    monkeypatch.undo()

    assert folder.write(tmp_path, {B: "3\n"}) == ["wrote b/two.yaml", "removed a/one.yaml"]
