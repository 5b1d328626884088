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


class RequestError(OSError):
    """A request was answered with a status of 400 or more."""

    def __init__(self, url: str, error: urllib.error.HTTPError) -> None:
        # The body says why; without it nobody can tell a bad query from a missing route.
        body = error.read().decode(errors="replace")[:500]
        super().__init__(f"{url} answered {error.code}: {body}")
        self.code = error.code


def text(url: str, *, ca: Path | None = None, token: str | None = None, timeout: float = 5) -> str:
    """Return the body of a GET; a status of 400 or more raises `RequestError`."""
    return _sent(urllib.request.Request(url), ca, token, timeout)


def json_of(
    url: str, *, ca: Path | None = None, token: str | None = None, timeout: float = 5
) -> Any:
    """Return the decoded JSON body of a GET."""
    return json.loads(text(url, ca=ca, token=token, timeout=timeout))


def send(
    url: str,
    body: bytes,
    *,
    method: str = "POST",
    form: str = "application/json",
    ca: Path | None = None,
    token: str | None = None,
    timeout: float = 10,
) -> None:
    """Send a body; a status of 400 or more raises `RequestError`."""
    request = urllib.request.Request(url, data=body, method=method, headers={"Content-Type": form})
    _sent(request, ca, token, timeout)


def is_ok(url: str, *, ca: Path | None = None, token: str | None = None) -> bool:
    """Tell whether a GET succeeds."""
    text(url, ca=ca, token=token, timeout=2)
    return True


def _sent(
    request: urllib.request.Request, ca: Path | None, token: str | None, timeout: float
) -> str:
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    context = trust(ca) if ca else None
    try:
        with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise RequestError(request.full_url, error) from error
