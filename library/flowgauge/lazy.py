"""Packages whose names are loaded when they are used, so that the cost of a name is paid by who uses it."""

from __future__ import annotations

from flowgauge.forks import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def names(
    package: str, homes: Mapping[str, str], namespace: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package; `homes` has the module of each name, `namespace` is its globals."""

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with loading:
            # Not by `importlib`, which is a second cost for who uses one name.
            module = __import__(homes[name], fromlist=[name])
        value = namespace[name] = getattr(module, name)
        return value

    return load, lambda: sorted({*namespace, *homes})
