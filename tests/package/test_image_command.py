"""What `make image` makes of its flags; the image itself is tested where podman is."""

from __future__ import annotations

import sys

import pytest

from image import __main__ as command


def test_wheels_are_for_the_python_of_the_base_and_not_for_the_one_that_asks(monkeypatch):
    monkeypatch.setattr(command, "_here", lambda: "3.14")

    assert command.python_of("", "") == "3.11"
    assert command.python_of("localhost/mine", "") == "3.14"
    assert command.python_of("localhost/mine", "3.12") == "3.12"


@pytest.mark.parametrize("name", ["flowgauge:1", "registry:5000/flowgauge:1", "a/b@sha256:0"])
def test_a_name_with_a_tag_is_told_where_the_tag_goes(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", ["image", "build", f"--image={name}", "--engine=nothing"])

    with pytest.raises(SystemExit) as caught:
        command.main()

    assert caught.value.code == 2
    assert "give the tag by TAG=" in capsys.readouterr().err


def test_a_registry_with_a_port_is_no_tag(monkeypatch, capsys):
    argv = ["image", "build", "--image=registry:5000/flowgauge", "--engine=nothing"]
    monkeypatch.setattr(sys, "argv", argv)

    assert command.main() == 1
    assert "nothing is not installed" in capsys.readouterr().err
