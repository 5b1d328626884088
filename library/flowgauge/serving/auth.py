"""Who may read metrics: a user with a password (basic authentication), the bearer of a token, or either."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from flowgauge.serving.changes import Watched

# Source: RFC 6750, section 2.1.
_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_SECRET_BYTES: Final = 65_536

Allows = Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """Credentials that a scraper must give. A secret is given as text or as a file; files are read again on change.

    `username` with `password` or `password_file` is basic authentication, `token` or `token_file` a bearer token.
    White space around the content of a file does not count.

    Raises:
        ValueError: the fields do not fit together, or a file has no secret; the message names field and remedy.

    """

    username: str = ""
    password: str = field(default="", repr=False)
    password_file: str | os.PathLike[str] = ""
    token: str = field(default="", repr=False)
    token_file: str | os.PathLike[str] = ""

    def __post_init__(self) -> None:
        for name in ("password", "token"):
            if getattr(self, name) and self._file(name):
                raise ValueError(f"auth {name} and {name}_file are both given; give one of them")
        if not (self._has("password") or self._has("token")):
            raise ValueError(
                "auth has no secret; give username and password_file, or token_file, or leave auth out"
            )
        if self._has("password") and not self.username:
            raise ValueError("auth username is missing; give the name that belongs to the password")
        if self.username and not self._has("password"):
            raise ValueError("auth password is missing; give password_file (or password)")
        if ":" in self.username:
            raise ValueError(
                "auth username must not have a colon, which basic authentication cannot send"
            )
        self.checker()

    @property
    def challenges(self) -> tuple[str, ...]:
        """Values of `WWW-Authenticate`: one for each way to authenticate."""
        basic = ('Basic realm="metrics", charset="UTF-8"',) if self.username else ()
        bearer = ('Bearer realm="metrics"',) if self._has("token") else ()
        return basic + bearer

    def checker(self) -> Allows:
        """Make the function that tells whether an `Authorization` header is allowed, in time that tells no secret.

        Raises:
            ValueError: a file cannot be read.

        """
        sources = {"password": self._secret("password"), "token": self._secret("token")}

        def allows(authorization: str) -> bool:
            scheme, _, given = authorization.strip().partition(" ")
            given = given.strip()
            if scheme.lower() == "basic" and self.username:
                return _equal(_decoded(given), f"{self.username}:{sources['password']()}".encode())
            if scheme.lower() == "bearer" and self._has("token"):
                return _equal(given.encode("utf-8", "replace"), sources["token"]().encode())
            return False

        return allows

    def _has(self, name: str) -> bool:
        return bool(getattr(self, name) or self._file(name))

    def _file(self, name: str) -> str:
        return str(os.fspath(getattr(self, f"{name}_file")))

    def _secret(self, name: str) -> Callable[[], str]:
        text, file = getattr(self, name), self._file(name)
        if not file:
            _check(name, f"auth {name}", text)
            return lambda: str(text)
        return Watched(f"auth {name}_file", [file], lambda: _read(name, file)).value


def _read(name: str, file: str) -> str:
    place = f"auth {name}_file {file!r}"
    try:
        with Path(file).open("rb") as opened:
            secret = opened.read(_SECRET_BYTES).decode().strip()
    except OSError as error:
        raise ValueError(
            f"{place} cannot be read ({error.strerror}); give a file that this process may read"
        ) from None
    except UnicodeDecodeError:
        raise ValueError(f"{place} is no text; write the {name} in UTF-8") from None
    if not secret:
        raise ValueError(f"{place} is empty; write the {name} into it")
    _check(name, place, secret)
    return secret


def _check(name: str, place: str, secret: str) -> None:
    # Never in the message: it would be in the log.
    if name == "token" and secret and not _TOKEN.fullmatch(secret):
        raise ValueError(
            f"{place} has characters that a bearer token cannot have; use letters, digits and -._~+/"
        )


def _decoded(given: str) -> bytes:
    try:
        return base64.b64decode(given.encode("ascii"), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _equal(given: bytes, expected: bytes) -> bool:
    # Digests, so that not even the length of the secret shows in the time.
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())
