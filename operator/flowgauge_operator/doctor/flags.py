"""The operator's settings, read from its Deployment: arguments and environment of the container. Pure.

Lenient, since the operator may be of another version: a flag that this version does not know is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgauge_operator.doctor import places
from flowgauge_operator.settings import FLAGS, Settings


def read(container: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """The settings, and a sentence for each flag that cannot be read."""
    given = _environment(container) | _arguments(container)
    known = {flag.name: flag for flag in FLAGS if flag.name != "listen-address"}
    found: dict[str, Any] = {}
    faults = []
    for name, text in given.items():
        flag = known.get(name)
        # $(POD_IP) and the like are filled in by the kubelet.
        if flag is None or not text or "$(" in text:
            continue
        try:
            found[flag.field] = flag.read(text)
        except ValueError as error:
            faults.append(f"--{name} {places.shown(text)!r}: {error}")
    return Settings(**found), faults


def _arguments(container: Mapping[str, Any]) -> dict[str, str]:
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    switches = {flag.name for flag in FLAGS if flag.is_switch}
    found = {}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if not str(word).startswith("--"):
            continue
        name, equals, value = str(word)[2:].partition("=")
        if equals:
            found[name] = value
        elif name in switches and _is_flag(following):
            found[name] = "true"
        else:
            found[name] = str(following)
    return found


def _is_flag(word: Any) -> bool:
    return not word or str(word).startswith("--")


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    variables = {flag.variable: flag.name for flag in FLAGS}
    return {
        variables[item["name"]]: str(item.get("value") or "")
        for item in container.get("env") or []
        if item["name"] in variables
    }
