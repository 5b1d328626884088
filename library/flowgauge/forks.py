"""Forks: what a forked child must forget before it goes on, and what a fork must wait for.

Locks that another thread held are locked for ever in the child, and numbers that the parent already
counted must not be counted again. Modules with such state register a reset here, once each.
"""

from __future__ import annotations

import os
from _thread import RLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


# Held while a module is loaded at its first use. CPython has a lock for each module that is being imported; a child that
# is forked meanwhile would wait for it for ever. So a fork waits for us instead. Nothing that is loaded under it may
# import or wait for what is not the library's, its dependencies' or Python's own.
loading = RLock()

if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(
        before=loading.acquire, after_in_parent=loading.release, after_in_child=loading.release
    )


def on_fork(reset: Callable[[], None]) -> None:
    """Call `reset` in every child that this process forks, in the order of registration.

    It comes after the hooks of modules that were loaded before the call, so it may use what they mend: the locks of
    `threading` that starting a thread needs, for example.
    """

    def run() -> None:
        # Logging a fault here could wait for a lock that died with its thread; the next reset matters more.
        try:  # noqa: SIM105 - `contextlib` is not loaded for this
            reset()
        except Exception:  # noqa: S110 - see above
            pass

    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=run)
