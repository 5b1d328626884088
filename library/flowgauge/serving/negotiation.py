"""Choose what a client likes best, by the weights in its headers. Pure: text in, a decision out.

Called by the renderer for `Accept` and by everything that serves for `Accept-Encoding`.
Source: RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

# What a scraper says about its own reading; it does not make another format.
_INDIFFERENT: Final = frozenset({"charset", "escaping"})


class Range(NamedTuple):
    """One item of an `Accept` header: a type such as `text/plain`, `text/*` or `*/*`, and its weight from 0 to 1."""

    name: str
    parameters: Mapping[str, str]
    weight: float


def media_type(accept: str, offers: Sequence[str]) -> str:
    """The one of `offers` that the client likes best; without a preference, or if it likes none, the first.

    Offers are content types with their parameters. The most specific range decides the weight of an offer. Among
    equal weights the order of the header decides, then the order of the offers. A parameter counts where both
    sides name it.
    """
    ranges = list(_ranges(accept))
    best, best_rank = offers[0], (0.0, 0)
    for offer in offers:
        rank = _rank(offer, ranges)
        if rank > best_rank:
            best, best_rank = offer, rank
    return best


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header allows gzip, and likes it no less than no packing at all."""
    weights: dict[str, float] = {}
    for coding in _ranges(accept_encoding):
        weights.setdefault(coding.name, coding.weight)
    gzip = weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0)))
    return gzip > 0 and gzip >= weights.get("identity", 0.0)


def _rank(offer: str, ranges: Sequence[Range]) -> tuple[float, int]:
    # Weight, then how early the range stands; the rank of what is not wanted is below every other.
    wanted = next(_ranges(offer))
    best = (-1, 0.0, 0)
    for place, item in enumerate(ranges):
        specific = _specificity(item, wanted)
        if specific > best[0]:
            best = (specific, item.weight, -place)
    return (best[1], best[2]) if best[1] > 0 else (0.0, -len(ranges) - 1)


def _specificity(item: Range, offer: Range) -> int:
    """How closely a range fits an offer: -1 not at all, 0 for */*, 1 for type/*, more for the type itself."""
    if item.name == "*/*":
        return 0
    if item.name.endswith("/*"):
        return 1 if offer.name.startswith(item.name[:-1]) else -1
    if item.name != offer.name:
        return -1
    common = item.parameters.keys() & offer.parameters.keys() - _INDIFFERENT
    if any(item.parameters[name] != offer.parameters[name] for name in common):
        return -1
    return 2 + len(common)


def _ranges(header: str) -> Iterator[Range]:
    for item in header.split(","):
        name, *rest = (part.strip() for part in item.split(";"))
        if name:
            pairs = (part.partition("=") for part in rest)
            parameters = {
                key.strip().lower(): value.strip().strip('"').lower() for key, _, value in pairs
            }
            weight = _weight(parameters.pop("q", "1"))
            yield Range(name.lower(), parameters, weight)


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return min(weight, 1.0) if weight > 0 else 0.0  # a NaN is not above 0
