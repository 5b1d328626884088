"""Durations as Prometheus and Kubernetes users write them: parse and print whole seconds. Pure."""

from __future__ import annotations

import re

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
_PART = re.compile(r"([0-9]+)(ms|[smhdwy])")


def seconds(text: str) -> float:
    """The seconds of a duration such as `90s`, `5m`, `1h30m` or `30d`.

    Raises:
        ValueError: the text is no duration.
    """
    parts = _PART.findall(text)
    if not parts or "".join(n + unit for n, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write for example 30s, 5m, 2h or 30d")
    return float(sum(int(n) * _SECONDS[unit] for n, unit in parts))


def text(total: float) -> str:
    """`total` seconds in the largest units that are exact: 5400 is `1h30m`, 0.5 is `500ms`.

    Weeks are not used: `28d` is what people expect to read.
    """
    if total <= 0:
        return "0s"
    if total < 1 or total != int(total):
        return f"{round(total * 1000)}ms"
    rest, parts = int(total), []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)
