"""How the real config-reloader is told to fill in placeholders and to ask for a reload."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def flags(
    given: Path, filled: Path, *, url: str, address: str, watched: Iterable[Path] = ()
) -> list[str]:
    """The flags for a configuration as the operator wrote it, the file to make of it, and the server that reads that."""
    return [
        f"--config-file={given}",
        f"--config-envsubst-file={filled}",
        "--watch-interval=1s",
        "--delay-interval=200ms",
        "--retry-interval=1s",
        *(f"--watched-dir={folder}" for folder in watched),
        f"--listen-address={address}",
        f"--reload-url={url}/-/reload",
    ]
