"""The head of an HTTP/1 request: where it ends, and what it asks. Pure: bytes in, a request out.

Strict where two readers could disagree about where a request ends, since that is how one request hides in another.
Source: RFC 9112.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

HEAD_BYTES: Final = 16_384
TARGET_BYTES: Final = 4_096
FIELDS: Final = 64

_TOKEN: Final = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_LINE: Final = re.compile(rb"(%s) ([\x21-\x7e\x80-\xff]+) HTTP/(\d)\.(\d)" % _TOKEN)
_FIELD: Final = re.compile(rb"(%s):[ \t]*([\t\x20-\x7e\x80-\xff]*)" % _TOKEN)
_BEGINNING: Final = re.compile(rb"%s( |\Z)" % _TOKEN)
_BARE: Final = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")
_ORIGIN: Final = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


class BadRequestError(Exception):
    """A request that cannot be answered as asked; the connection must be closed after `status` was sent."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Request(NamedTuple):
    """What a client asks. `path` has no query; names of `headers` are lower case, equal ones are joined by a comma."""

    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool
    has_body: bool


def end(received: bytearray) -> int:
    """How many bytes the first head in `received` has, with its empty line; 0 if it is not complete.

    Raises:
        BadRequestError: what came is no head of a request, or too long.

    """
    size = received.find(b"\r\n\r\n") + 4
    whole = size > 3
    if (size if whole else len(received)) > HEAD_BYTES:
        raise BadRequestError(431, f"the head of the request is longer than {HEAD_BYTES} bytes")
    # What speaks another protocol, TLS for example, is told at once and not after the timeout.
    if received and not _BEGINNING.match(received):
        raise BadRequestError(400, "this is no HTTP request")
    if _BARE.search(received, 0, size if whole else len(received)):
        raise BadRequestError(400, "lines must end with CR LF")
    return size if whole else 0


def parse(head: bytes) -> Request:
    """The request with this head.

    Raises:
        BadRequestError: it is none, or has more than this server takes.

    """
    line, *fields = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    found = _LINE.fullmatch(line)
    if not found:
        raise BadRequestError(400, "the request line is malformed")
    method, target, major, minor = found.groups()
    if len(target) > TARGET_BYTES:
        raise BadRequestError(414, f"the target is longer than {TARGET_BYTES} bytes")
    if major != b"1":
        raise BadRequestError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    modern = minor != b"0"
    headers = _headers(fields)
    if modern and "host" not in headers:
        raise BadRequestError(400, "the header Host is missing")
    return Request(
        method=method.decode("ascii"),
        path=_path(target.decode("latin-1")),
        headers=headers,
        keep_alive=modern and "close" not in _items(headers.get("connection", "")),
        has_body=_has_body(headers),
    )


def _headers(fields: list[bytes]) -> dict[str, str]:
    if len(fields) > FIELDS:
        raise BadRequestError(431, f"more than {FIELDS} headers")
    headers: dict[str, str] = {}
    for field in fields:
        found = _FIELD.fullmatch(field)
        if not found:
            raise BadRequestError(400, "a header is malformed")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1").rstrip(" \t")
        if name in headers:
            if name in ("host", "authorization"):
                raise BadRequestError(400, f"the header {name} stands twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _has_body(headers: Mapping[str, str]) -> bool:
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        if length is not None:
            raise BadRequestError(400, "Content-Length and Transfer-Encoding exclude each other")
        return True
    if length is None:
        return False
    if not (length.isascii() and length.isdigit()):
        raise BadRequestError(400, "Content-Length is no number")
    return bool(length.strip("0"))


def _path(target: str) -> str:
    # A proxy may send the whole URL.
    origin = _ORIGIN.match(target)
    if origin:
        target = target[origin.end() :] or "/"
    return target.partition("?")[0]


def _items(header: str) -> list[str]:
    return [item.strip().lower() for item in header.split(",")]
