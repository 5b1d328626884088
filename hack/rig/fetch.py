"""Small HTTP requests to the parts of the rig."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from functools import lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=8)
def trust(ca: Path) -> ssl.SSLContext:
    """Return a TLS context that trusts one CA only."""
    return ssl.create_default_context(cafile=str(ca))


def text(url: str, *, ca: Path | None = None, token: str | None = None, timeout: float = 5) -> str:
    """Return the body of a GET; a status of 400 or more raises."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(url, headers=headers)
    context = trust(ca) if ca else None
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        # The body says why; without it nobody can tell a bad query from a missing route.
        body = error.read().decode(errors="replace")[:500]
        raise OSError(f"{url} answered {error.code}: {body}") from error


def json_of(
    url: str, *, ca: Path | None = None, token: str | None = None, timeout: float = 5
) -> Any:
    """Return the decoded JSON body of a GET."""
    return json.loads(text(url, ca=ca, token=token, timeout=timeout))


def is_ok(url: str, *, ca: Path | None = None, token: str | None = None) -> bool:
    """Tell whether a GET succeeds."""
    text(url, ca=ca, token=token, timeout=2)
    return True
