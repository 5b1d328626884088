"""What a scrape or an exporter sees: metric families with their series, at one instant. Pure data.

Everything that measures makes these; everything that exposes, pushes or sends takes them. Series are two
parallel lists, so that a renderer can keep what depends on the label values only: while a source gives the
same list object and it has not grown, its label sets are the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["counter", "gauge", "histogram", "summary", "info", "unknown"]
LabelValues = tuple[str, ...]

_NONE: Final[Mapping[int, Exemplar]] = {}


class Exemplar(NamedTuple):
    """An observation that links to its trace: `value` in the family's unit, `timestamp` in Unix seconds."""

    labels: tuple[tuple[str, str], ...]
    value: float
    timestamp: float


class Exponential(NamedTuple):
    """Counts in buckets of equal relative width: index i covers (2**((i-1) / 2**schema), 2**(i / 2**schema)].

    `zero_count` counts the observations of at most `zero_threshold`; `counts` has no empty buckets.
    """

    schema: int
    zero_threshold: float
    zero_count: int
    counts: Mapping[int, int]


class Distribution(NamedTuple):
    """A histogram: `counts` for each of the ascending `bounds` and one above all, not cumulative.

    `exemplars` is by index of the bucket. `exponential` are the same observations for a native histogram.
    """

    bounds: tuple[float, ...]
    counts: Sequence[int]
    sum: float
    exemplars: Mapping[int, Exemplar] = _NONE
    exponential: Exponential | None = None

    @property
    def count(self) -> int:  # type: ignore[override]  # nobody counts the items of this tuple
        """How many observations."""
        return sum(self.counts)


class Quantiles(NamedTuple):
    """A summary: `quantiles` are pairs of the quantile, 0 to 1, and its value, NaN without observations."""

    count: int  # type: ignore[assignment]  # see above
    sum: float
    quantiles: tuple[tuple[float, float], ...]


# Numbers are floats, also whole ones: their text is made without looking.
Value = float | Distribution | Quantiles


class MetricFamily(NamedTuple):
    """One metric with its series. `keys[i]` are the values of `labels` for `values[i]`; an empty one is no label.

    `name` is that of a scrape: with `_total` for counters that have it, without `_bucket` and the like.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    keys: Sequence[LabelValues]
    values: Sequence[Value]
    unit: str = ""


class Source(Protocol):
    """Something that measures."""

    def collect(self) -> Iterable[MetricFamily]:
        """The families of this instant. Two families may share a name if they share kind and help."""
        ...


class Receiver(Protocol):
    """Something that sends families elsewhere, such as an exporter."""

    def export(self, families: Iterable[MetricFamily]) -> None:
        """Send, or raise an error that says what failed."""
        ...

    def close(self) -> None:
        """Send what is left and let go of connections. May be called twice."""
        ...
