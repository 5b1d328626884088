"""How to reach an API server. Made by ``rig.controlplane`` or read from the user's KUBECONFIG."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Access:
    """An API server and a way to be its administrator."""

    kubeconfig: Path
    server: str
    ca_file: Path | None = None
    admin_token: str | None = None
