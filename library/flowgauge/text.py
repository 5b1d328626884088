"""Render metric families as text for Prometheus, in the plain format and in OpenMetrics. Pure.

What depends on the labels only is made once: the lines of a family as format strings with a hole for each
value, so that a scrape fills holes and joins. The bytes are those of prometheus_client for the same metrics;
a test compares them. A colon in a name is the exception: OpenMetrics of prometheus_client makes `_` of it.

Source of both formats: https://prometheus.io/docs/instrumenting/exposition_formats/ and
https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from flowgauge.metrics import Distribution, Exemplar, LabelValues, MetricFamily, Quantiles, Value

PLAIN: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# From here on Go writes an exponent, and so do we.
_EXPONENT: Final = 1_000_000
# Series that are rendered at once. Nothing else runs meanwhile, so this bounds how long a scrape stalls a program.
_CHUNK: Final = 512
# Types that the plain format calls otherwise.
_PLAIN_TYPES: Final = {"unknown": "untyped", "info": "gauge"}


class Renderer:
    """Renders families, and keeps the lines of those of the last page. For one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, Lines] = {}

    def render(self, families: Iterable[MetricFamily], *, openmetrics: bool = False) -> bytes:
        """The page; each name may appear once."""
        parts: list[bytes] = []
        known: dict[str, Lines] = {}
        for family in families:
            lines = self._known.get(family.name)
            if lines is None or not lines.are_of(family):
                lines = _SORTS.get(family.kind, Lines)(family)
            known[family.name] = lines
            head = lines.openmetrics if openmetrics else lines.plain
            parts.append(head.encode("utf-8", "replace"))
            bodies = lines.filled(family.values, exemplars=openmetrics)
            parts.extend(body.encode("utf-8", "replace") for body in bodies)
        self._known = known
        if openmetrics:
            parts.append(b"# EOF\n")
        return b"".join(parts)


class Lines:
    """The lines of a family of numbers, `_CHUNK` series to a format string."""

    def __init__(self, family: MetricFamily) -> None:
        self.plain, self.openmetrics = _heads(family)
        self.name = family.name
        self.labels = family.labels
        self.keys = family.keys
        self._count = len(family.keys)
        self._family = (family.kind, family.help, family.unit)
        self._formats: list[str] = []
        self.prepare()

    def are_of(self, family: MetricFamily) -> bool:
        """Whether these are the lines of `family`, whose values may have changed since."""
        return (
            self.keys is family.keys
            and self._count == len(family.keys)
            and self.labels == family.labels
            and self._family == (family.kind, family.help, family.unit)
        )

    def prepare(self) -> None:
        """Make the format strings."""
        lines = [f"{self.name}{_escaped(self.block(key))} %s\n" for key in self.keys]
        self._formats = ["".join(lines[i : i + _CHUNK]) for i in range(0, len(lines), _CHUNK)]

    def filled(self, values: Sequence[Value], *, exemplars: bool) -> Iterator[str]:
        """The lines with these values, in parts."""
        del exemplars  # numbers have none
        for i, lines in enumerate(self._formats):
            numbers: tuple[float, ...] = tuple(values[i * _CHUNK : (i + 1) * _CHUNK])  # type: ignore[arg-type]
            total = sum(numbers)
            if max(numbers) < _EXPONENT and total - total == 0:  # none of them is NaN or infinite
                yield lines % numbers
            else:
                yield lines % tuple([go(number) for number in numbers])

    def block(self, key: LabelValues, more: tuple[tuple[str, str], ...] = ()) -> str:
        """The labels in braces, by name; an empty value is no label."""
        pairs = [pair for pair in zip(self.labels, key, strict=True) if pair[1]]
        pairs.extend(more)
        inner = ",".join([f'{name}="{quoted(value)}"' for name, value in sorted(pairs)])
        return f"{{{inner}}}" if inner else ""


class _HistogramLines(Lines):
    """The lines of a family of histograms, one format string for each label set."""

    def prepare(self) -> None:
        self._small: dict[int, tuple[tuple[float, ...], str]] = {}
        self._large: dict[int, tuple[tuple[float, ...], str]] = {}

    def filled(self, values: Sequence[Value], *, exemplars: bool) -> Iterator[str]:
        parts: list[str] = []
        for i, value in enumerate(values):
            if isinstance(value, Distribution):
                parts.append(self._one(i, value, exemplars=exemplars))
            if len(parts) == _CHUNK // 16:
                yield "".join(parts)
                parts.clear()
        yield "".join(parts)

    def _one(self, i: int, value: Distribution, *, exemplars: bool) -> str:
        if exemplars and value.exemplars:
            return self._with_exemplars(i, value)
        total = [*accumulate(value.counts)]
        count, sum_ = total[-1], value.sum
        if count < _EXPONENT and sum_ < _EXPONENT and sum_ - sum_ == 0:
            known = self._small.get(i)
            if known is None or known[0] != value.bounds:
                known = self._small[i] = (value.bounds, self._format(i, value.bounds, "%d.0"))
            return known[1] % (*total, count, sum_)
        known = self._large.get(i)
        if known is None or known[0] != value.bounds:
            self._small.pop(i, None)  # counts only grow
            known = self._large[i] = (value.bounds, self._format(i, value.bounds, "%s"))
        numbers = [f"{n}.0" if n < _EXPONENT else go(n) for n in total]
        return known[1] % (*numbers, numbers[-1], go(sum_))

    def _format(self, i: int, bounds: tuple[float, ...], hole: str) -> str:
        key, name = self.keys[i], self.name
        lines = [f"{_escaped(prefix)}{hole}\n" for prefix in self._prefixes(i, bounds)]
        block = _escaped(self.block(key))
        return "".join((*lines, f"{name}_count{block} {hole}\n", f"{name}_sum{block} %s\n"))

    def _prefixes(self, i: int, bounds: tuple[float, ...]) -> list[str]:
        key = self.keys[i]
        return [
            f"{self.name}_bucket{self.block(key, (('le', go(b)),))} " for b in (*bounds, math.inf)
        ]

    def _with_exemplars(self, i: int, value: Distribution) -> str:
        total = [*accumulate(value.counts)]
        lines = [
            f"{prefix}{go(n)}{_exemplar(value.exemplars.get(k))}\n"
            for k, (prefix, n) in enumerate(
                zip(self._prefixes(i, value.bounds), total, strict=True)
            )
        ]
        block = self.block(self.keys[i])
        ends = f"{self.name}_count{block} {go(total[-1])}\n{self.name}_sum{block} {go(value.sum)}\n"
        return "".join((*lines, ends))


class _SummaryLines(Lines):
    """The lines of a family of summaries."""

    def prepare(self) -> None:
        self._blocks = [self.block(key) for key in self.keys]

    def filled(self, values: Sequence[Value], *, exemplars: bool) -> Iterator[str]:
        del exemplars  # summaries have none
        for i, value in enumerate(values):
            if isinstance(value, Quantiles):
                yield "".join(self._one(i, value))

    def _one(self, i: int, value: Quantiles) -> Iterator[str]:
        for q, v in value.quantiles:
            yield f"{self.name}{self.block(self.keys[i], (('quantile', go(q)),))} {go(v)}\n"
        yield f"{self.name}_count{self._blocks[i]} {go(value.count)}\n"
        yield f"{self.name}_sum{self._blocks[i]} {go(value.sum)}\n"


_SORTS: Final[dict[str, type[Lines]]] = {"histogram": _HistogramLines, "summary": _SummaryLines}


def go(number: float) -> str:
    """A number as Go writes it."""
    number = float(number)
    if number - number != 0:
        return "NaN" if number != number else "+Inf" if number > 0 else "-Inf"  # noqa: PLR0124
    text = repr(number)
    if number < _EXPONENT:
        return text
    if "e" in text:  # from 1e16 on Python writes an exponent too
        return text
    whole, _, rest = text.partition(".")
    return f"{whole[0]}.{whole[1:]}{rest}".rstrip("0.") + f"e+{len(whole) - 1:02d}"


def typed(family: MetricFamily) -> tuple[str, str]:
    """The name of the family as OpenMetrics has it, and its type.

    OpenMetrics insists that counters end in `_total` and infos in `_info`; one that does not is of a type
    that may have any name.
    """
    for kind, suffix, otherwise in (("counter", "_total", "unknown"), ("info", "_info", "gauge")):
        if family.kind == kind:
            if family.name.endswith(suffix) and family.name != suffix:
                return family.name.removesuffix(suffix), kind
            return family.name, otherwise
    return family.name, family.kind


def unit(family: MetricFamily) -> str:
    """The unit of the family if its name ends with it, as OpenMetrics demands; else nothing."""
    return family.unit if family.unit and typed(family)[0].endswith(f"_{family.unit}") else ""


def quoted(value: str) -> str:
    """The value of a label between its quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _heads(family: MetricFamily) -> tuple[str, str]:
    name, kind = typed(family)
    text = family.help.replace("\\", r"\\").replace("\n", r"\n")
    plain = f"# HELP {family.name} {text}\n# TYPE {family.name} {_PLAIN_TYPES.get(kind, kind)}\n"
    text = quoted(family.help)
    openmetrics = f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    of = unit(family)
    return plain, f"{openmetrics}# UNIT {name} {of}\n" if of else openmetrics


def _exemplar(exemplar: Exemplar | None) -> str:
    if exemplar is None:
        return ""
    pairs = ",".join(f'{name}="{quoted(value)}"' for name, value in sorted(exemplar.labels))
    return f" # {{{pairs}}} {go(exemplar.value)} {exemplar.timestamp}"


def _escaped(text: str) -> str:
    """The text within a format string."""
    return text.replace("%", "%%")
