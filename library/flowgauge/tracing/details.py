"""What a span keeps of values and errors: plain and bounded, without a reference to the program's own objects.

An object that a span held would live as long as the span, and would change after it was looked at. Nothing here
raises: whatever the program's own `__str__` does, something short comes out.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from types import TracebackType
from typing import Any, Final, NamedTuple

Plain = (
    str
    | bool
    | int
    | float
    | None
    | tuple[str, ...]
    | tuple[bool, ...]
    | tuple[int, ...]
    | tuple[float, ...]
)

# Text up to this many characters is taken as it is; more is cut to what a span has room for.
SHORT: Final = 64
KEY_LENGTH: Final = 256
# Numbers outside of 64 bits break the encoders of trace formats, and may be as long as they like.
LARGEST: Final = 2**63 - 1
ITEMS: Final = 32  # items of a sequence
# Frames of a stack: a recursion shows how it began and where it ended.
FIRST_FRAMES: Final = 8
LAST_FRAMES: Final = 24
RELATED: Final = 4  # errors that are told of one: itself, causes, members of a group
STACK_LENGTH: Final = 8192  # characters

_SCALARS: Final = frozenset({str, bool, int, float})
_CONTAINERS: Final = (list, tuple, dict, set, frozenset, deque, bytes, bytearray)
# The wrappers of decorated functions, whose lines tell the reader nothing.
_LIBRARY: Final = __file__.rpartition(f"tracing{os.sep}details")[0]
_WRAPPERS: Final = frozenset(
    f"{_LIBRARY}{module}.py" for module in ("retrying", f"tracing{os.sep}__init__", "wrapping")
)


class Frame(NamedTuple):
    """A line of a stack: file, number of the line, function."""

    file: str
    line: int
    function: str


class Failure(NamedTuple):
    """An error without its objects. `relation` is how it belongs to the one told before; empty for the first."""

    relation: str
    kind: str
    message: str
    frames: tuple[Frame, ...]
    left_out: int


def text(value: Any, limit: int) -> str:
    """The value as text of at most `limit` characters."""
    try:
        if isinstance(value, str):
            # A part of an enumeration's member or of another subclass is plain text, also if it is all of it.
            return value[:limit]
        if isinstance(value, _CONTAINERS):
            return _outline(value, limit)
        return str(value)[:limit]
    except Exception:
        return f"<{type(value).__name__}>"[:limit]


def plain(value: Any, limit: int) -> Plain:
    """The value if it is a number, text or a sequence of one sort of these; else text. At most `limit` characters."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        return int(value) if -LARGEST <= value <= LARGEST else text(value, limit)
    if isinstance(value, list | tuple) and (sequence := _sequence(value, limit)) is not None:
        return sequence
    return text(value, limit) if isinstance(value, str) else _number(value, limit)


def size(value: Plain) -> int:
    """How many characters the value has."""
    if isinstance(value, str):
        return len(value)
    return sum(map(size, value)) if isinstance(value, tuple) else 0


def pairs(attributes: Mapping[str, Any], limit: int) -> Iterator[tuple[str, Any]]:
    """The first `limit` entries with their keys as text."""
    return ((text(key, KEY_LENGTH), value) for key, value in islice(attributes.items(), limit))


def type_name(error: BaseException) -> str:
    """The class of the error, with its module unless it is built in."""
    kind = type(error)
    return (
        kind.__qualname__
        if kind.__module__ == "builtins"
        else f"{kind.__module__}.{kind.__qualname__}"
    )


def is_cancellation(error: BaseException) -> bool:
    """Whether a task was told to stop. Who raised asyncio's error has imported asyncio; this need not."""
    asyncio = sys.modules.get("asyncio.exceptions")
    return asyncio is not None and isinstance(error, asyncio.CancelledError)


def failures(error: BaseException, limit: int) -> tuple[Failure, ...]:
    """The error, and the first few that caused it or that it groups; messages of at most `limit` characters."""
    found = []
    for relation, related in islice(_related(error), RELATED):
        frames, left_out = _frames(related.__traceback__)
        found.append(Failure(relation, type_name(related), text(related, limit), frames, left_out))
    return tuple(found)


def stack(told: tuple[Failure, ...]) -> str:
    """The stacks of the errors with their lines of source, as Python shows them, the outermost error first."""
    return "\n".join(map(_shown, told))[:STACK_LENGTH]


def exception(told: tuple[Failure, ...]) -> dict[str, Plain]:
    """The attributes of an event that tells of an error, in the names of OpenTelemetry's conventions."""
    first = told[0]
    return {
        "exception.type": first.kind,
        "exception.message": first.message,
        "exception.stacktrace": stack(told),
    }


def readable(attributes: dict[str, Plain]) -> dict[str, Plain]:
    """The attributes with keys that are text, and without numbers that would break the encoders of trace formats."""
    return {text(key, KEY_LENGTH): _in_range(value) for key, value in attributes.items()}


def _in_range(value: Plain) -> Plain:
    return (
        text(value, SHORT) if isinstance(value, int) and not -LARGEST <= value <= LARGEST else value
    )


def _outline(value: Any, limit: int) -> str:
    """A container's text without going through all of it: it may hold millions of items."""
    import reprlib  # noqa: PLC0415 - what most programs never need

    outline = reprlib.Repr()
    outline.maxlevel = 3
    outline.maxlist = outline.maxtuple = outline.maxset = outline.maxfrozenset = ITEMS
    outline.maxdict = outline.maxdeque = ITEMS
    outline.maxstring = outline.maxother = limit
    if isinstance(value, bytes | bytearray):
        value = value[:limit]
    return outline.repr(value)[:limit]


def _sequence(value: list[Any] | tuple[Any, ...], limit: int) -> Plain:
    items = tuple(islice(value, ITEMS))
    kinds = {type(item) for item in items}
    if len(kinds) != 1 or not kinds <= _SCALARS:
        return None
    if kinds == {str}:
        return tuple(item[: limit // len(items)] for item in items)
    if kinds == {int} and not all(-LARGEST <= item <= LARGEST for item in items):
        return None
    return items


def _number(value: Any, limit: int) -> Plain:
    """A number of a type of its own, such as NumPy's, as Python's; else text."""
    from numbers import Integral, Real  # noqa: PLC0415 - what most programs never need

    try:
        if isinstance(value, Integral):
            return plain(int(value), limit)
        if isinstance(value, Real):
            return float(value)
    except Exception:
        return text(value, limit)
    return text(value, limit)


def _related(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """The error and then, level by level, its causes and the members of groups, each once."""
    waiting: deque[tuple[str, BaseException]] = deque([("", error)])
    seen: set[int] = set()
    while waiting:
        relation, found = waiting.popleft()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield relation, found
        if isinstance(found, BaseExceptionGroup):
            waiting.extend(("one of the group", member) for member in found.exceptions[:RELATED])
        if found.__cause__ is not None:
            waiting.append(("caused by", found.__cause__))
        elif found.__context__ is not None and not found.__suppress_context__:
            waiting.append(("while handling", found.__context__))


def _frames(traceback: TracebackType | None) -> tuple[tuple[Frame, ...], int]:
    first: list[Frame] = []
    last: deque[Frame] = deque(maxlen=LAST_FRAMES)
    count = 0
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename not in _WRAPPERS:
            count += 1
            frame = Frame(code.co_filename, traceback.tb_lineno, code.co_name)
            (first if len(first) < FIRST_FRAMES else last).append(frame)
        traceback = traceback.tb_next
    return (*first, *last), count - len(first) - len(last)


def _shown(failure: Failure) -> str:
    import linecache  # noqa: PLC0415 - source is read by who looks at an error, not by who has it

    lines = [f"\n{failure.relation}:\n"] if failure.relation else []
    lines.append("Traceback (most recent call last):")
    for number, (file, line, function) in enumerate(failure.frames):
        if failure.left_out and number == FIRST_FRAMES:
            lines.append(f"  ... {failure.left_out} more ...")
        lines.append(f'  File "{file}", line {line}, in {function}')
        if source := linecache.getline(file, line).strip():
            lines.append(f"    {source}")
    lines.append(f"{failure.kind}: {failure.message}" if failure.message else failure.kind)
    return "\n".join(lines)
