"""What a declaration must be. Each check raises `ValueError` with the metric, the field and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Final

_RESERVED: Final = {"histogram": "le", "summary": "quantile"}
# What methods call the number that they take: a label of this name could not be given beside it.
_NUMBERS: Final = {
    "counter": ("amount",),
    "gauge": ("amount", "value"),
    "histogram": ("value",),
    "summary": ("value",),
}


def checked(
    kind: str, name: str, help_text: str, labels: Iterable[str], unit: str
) -> tuple[str, ...]:
    """The names of the labels, if everything is what it must be."""
    if not _is_name(name, also=":"):
        raise ValueError(
            f"{name!r} is no name of a metric; use letters, digits and _, not a digit first"
        )
    for field, value in (("help_text", help_text), ("unit", unit)):
        if not isinstance(value, str):
            raise ValueError(f"{field} of {name} is {value!r}, must be text")  # noqa: TRY004 - one error for all
    names = _listed(labels)
    if names is None:
        raise ValueError(f"labels of {name} are {labels!r}, must be a list of names")
    _check_labels(kind, name, names)
    return names


def _check_labels(kind: str, name: str, labels: tuple[str, ...]) -> None:
    for label in labels:
        if not _is_name(label) or label.startswith("__"):
            raise ValueError(
                f"{label!r} of {name} is no name of a label; use letters, digits and _, not a digit first, not __ first"
            )
        if label in _NUMBERS.get(kind, ()):
            raise ValueError(
                f"{label!r} of {name} is what methods of a {kind} call their number; use another name"
            )
        if label == _RESERVED.get(kind):
            raise ValueError(
                f"{label!r} of {name} is a label that every {kind} has; use another name"
            )
    if len(set(labels)) != len(labels):
        raise ValueError(f"labels of {name} are {list(labels)}, must differ from each other")


def bounds_of(name: str, buckets: Iterable[float]) -> tuple[float, ...]:
    """The upper bounds of a histogram, without infinity, if they are finite and ascend."""
    given = _listed(buckets)
    bounds = _numbers(given)
    if bounds and bounds[-1] == math.inf:
        bounds.pop()  # every histogram has it
    if not bounds or not all(map(math.isfinite, bounds)) or bounds != sorted(set(bounds)):
        raise ValueError(
            f"buckets of {name} are {_shown(given, buckets)}, must be finite numbers that ascend"
        )
    return tuple(bounds)


def quantiles_of(name: str, quantiles: Iterable[float]) -> list[float]:
    """The quantiles of a summary, if each is from 0 to 1."""
    given = _listed(quantiles)
    found = _numbers(given)
    if given is None or len(found) != len(given) or not all(0 <= q <= 1 for q in found):
        raise ValueError(f"quantiles of {name} are {_shown(given, quantiles)}, must be from 0 to 1")
    return found


def _listed(given: Any) -> tuple[Any, ...] | None:
    """What was given as a list; None for what is none, such as text, whose letters nobody means."""
    if isinstance(given, str | bytes):
        return None
    try:
        return tuple(given)
    except TypeError:
        return None


def _numbers(given: tuple[Any, ...] | None) -> list[float]:
    """Floats; none at all if one of them cannot be one."""
    try:
        return [float(number) for number in given or ()]
    except (TypeError, ValueError, OverflowError):
        return []


def _shown(listed: tuple[Any, ...] | None, given: object) -> str:
    return repr(given if listed is None else list(listed))


def _is_name(name: object, *, also: str = "") -> bool:
    if not isinstance(name, str) or not name or name[0].isdigit():
        return False
    return all((c.isascii() and c.isalnum()) or c == "_" or c in also for c in name)
