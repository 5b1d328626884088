"""Let counters go on where the group's last push left them, so that a job of one run has counters of all its runs.

Prometheus sees what a Pushgateway shows, and a counter that is 1 after every run never increases. Pure: bytes in,
bytes out; `push` asks the gateway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

# Of a gateway, that shows all its groups: bytes of the answer that are still read.
LARGEST_ANSWER: Final = 16_000_000
ADDRESS: Final = "/api/v1/metrics"

# The name of a sample, and its labels.
Key = tuple[str, frozenset[tuple[str, str]]]

_SAMPLE: Final = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?[ \t]+(\S+)[ \t]*")
_LABEL: Final = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPED: Final = re.compile(r"\\(.)")
_SUMS: Final = ("counter", "histogram", "summary")


class Family(NamedTuple):
    """The samples of one metric that go on: `kind` is that of a TYPE line."""

    kind: str
    values: Mapping[Key, float]


History = Mapping[str, Family]
NONE: Final[History] = {}


def parse(document: bytes, group: Mapping[str, str]) -> History:
    """What the group has, in the answer of a gateway to a request for `ADDRESS`; empty if there is no such group.

    Raises:
        ValueError: this is no such answer.

    """
    try:
        groups = json.loads(document)["data"]
        for found in groups:
            if found["labels"] == group:
                families = {name: item for name, item in found.items() if _is_family(item)}
                return {name: _family(name, item, group) for name, item in families.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"the answer has another form: {error!r}") from error
    return NONE


def added(page: bytes, history: History, group: Mapping[str, str]) -> bytes:
    """The page with what `history` has added to its counters, histograms and the totals of its summaries.

    Series that the page does not have are kept, for the metrics that it has. Of a gauge that is the time of
    an event (`..._timestamp_seconds`), the later one stays. A histogram with other buckets begins anew.
    """
    if not history:
        return page
    lines: list[str] = []
    for name, kind, block in _blocks(page.decode()):
        earlier = history.get(name)
        goes_on = earlier is not None and earlier.kind == kind
        lines += (
            _continued(kind, block, dict(earlier.values), group) if earlier and goes_on else block
        )
    return ("\n".join(lines) + "\n").encode()


def _is_family(item: object) -> bool:
    return isinstance(item, dict) and "metrics" in item


def _family(name: str, item: Mapping[str, Any], group: Mapping[str, str]) -> Family:
    kind = item["type"].lower()
    values: dict[Key, float] = {}
    if kind in _SUMS or _is_time(name, kind):
        for metric in item["metrics"]:
            for sample, le, value in _samples(name, metric):
                labels = metric.get("labels") or {}
                values[_key(sample, {**labels, **le}, group)] = float(value)
    return Family(kind, values)


def _samples(name: str, metric: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, str], str]]:
    if "value" in metric:
        yield name, {}, metric["value"]
        return
    for bound, value in metric.get("buckets", {}).items():
        yield f"{name}_bucket", {"le": bound}, value
    yield f"{name}_sum", {}, metric["sum"]
    yield f"{name}_count", {}, metric["count"]


def _is_time(name: str, kind: str) -> bool:
    return kind == "gauge" and name.endswith("_timestamp_seconds")


def _key(name: str, labels: Mapping[str, str], group: Mapping[str, str]) -> Key:
    """Without what the gateway sets, and with bounds in one spelling."""
    kept = {label: value for label, value in labels.items() if value and label not in group}
    if "le" in kept:
        kept["le"] = repr(float(kept["le"]))
    return name, frozenset(kept.items())


def _blocks(page: str) -> Iterator[tuple[str, str, list[str]]]:
    """The lines of one metric after the other, with its name and kind."""
    name = kind = ""
    block: list[str] = []
    for line in page.splitlines():
        words = line.split(None, 3)
        if line.startswith("#") and len(words) > 2 and words[1] in ("HELP", "TYPE"):
            if words[2] != name:
                yield name, kind, block
                name, kind, block = words[2], "", []
            if words[1] == "TYPE" and len(words) > 3:
                kind = words[3].strip()
        block.append(line)
    yield name, kind, block


def _continued(
    kind: str, block: list[str], earlier: dict[Key, float], group: Mapping[str, str]
) -> list[str]:
    parsed = [(line, *_parsed(line, group)) for line in block]
    if kind == "histogram" and _bounds(key for _, key, _ in parsed) not in (
        _bounds(earlier),
        set(),
    ):
        return block
    combined = max if kind == "gauge" else float.__add__
    lines = []
    for line, key, value in parsed:
        if key is None or key not in earlier:
            lines.append(line)
        else:
            start = line[: line.rindex(value)]
            lines.append(f"{start}{combined(float(value), earlier.pop(key))!r}")
    return lines + [_line(key, value) for key, value in earlier.items()]


def _parsed(line: str, group: Mapping[str, str]) -> tuple[Key | None, str]:
    found = None if line.startswith("#") else _SAMPLE.fullmatch(line)
    if found is None:
        return None, ""
    name, text, value = found.groups()
    labels = {label: _plain(raw) for label, raw in _LABEL.findall(text or "")}
    return _key(name, labels, group), value


def _bounds(keys: Any) -> set[str]:
    return {value for key in keys if key is not None for label, value in key[1] if label == "le"}


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: "\n" if found[1] == "n" else found[1], text)


def _line(key: Key, value: float) -> str:
    name, labels = key
    if not labels:
        return f"{name} {value!r}"
    pairs = ",".join(f'{label}="{_quoted(text)}"' for label, text in sorted(labels))
    return f"{name}{{{pairs}}} {value!r}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
