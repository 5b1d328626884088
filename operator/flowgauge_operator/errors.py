"""What the API server can answer instead of a result. Raised by `transport`, caught by whoever decides what comes next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class ApiError(Exception):
    """Report that the API server refused a request.

    `status` is the HTTP code (0 where no answer came), `reason` the machine-readable word of the
    answer, `message` its text, `causes` the reasons of its details (`NamespaceTerminating`, ...).
    """

    def __init__(
        self, status: int, reason: str, message: str, causes: tuple[str, ...] = ()
    ) -> None:
        super().__init__(status, reason, message)
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes

    def __str__(self) -> str:
        return f"{self.status} {self.reason}: {self.message}" if self.status else self.message


class NotFound(ApiError):  # noqa: N818 - reads as English where it is caught
    """The object, its namespace or its kind does not exist (404)."""


class Conflict(ApiError):  # noqa: N818
    """Someone was faster, the uid is another one, or the name is taken (409)."""


class Forbidden(ApiError):  # noqa: N818
    """RBAC, a quota or the end of the namespace stands against it (403)."""

    @property
    def is_terminating(self) -> bool:
        """Tell whether the namespace is being deleted, so that trying again is useless."""
        return "NamespaceTerminating" in self.causes


class Unauthorized(ApiError):  # noqa: N818
    """The credentials were refused, also after they were read again (401)."""


class Invalid(ApiError):  # noqa: N818
    """The object breaks its schema or a validation rule (400, 422, and 500 for a wrong type)."""


class Expired(ApiError):  # noqa: N818
    """The continue token or resource version is too old (410).

    `resume` continues a list at a newer version, where the server offers it.
    """

    resume: str = ""


class SchemaOutdated(ApiError):  # noqa: N818
    """The installed CRD does not know a field that we sent; the remedy is to install ours (500)."""


class Fenced(ApiError):  # noqa: N818
    """Nothing was sent: another replica may lead now."""


class Unavailable(ApiError):  # noqa: N818
    """The API server is overloaded, down or out of reach (429, 5xx, network, time-out).

    `retry_after` is what the server asked for, in seconds, or None.
    """

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(status, reason, message)
        self.retry_after = retry_after


# An apply that does not fit the schema is answered with 500, although nothing is wrong with the server.
UNTYPED = "failed to create typed patch object"

_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Expired,
    422: Invalid,
}


def from_answer(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error that an answer outside 2xx stands for."""
    details = _decoded(body)
    reason = str(details.get("reason") or "Unknown")
    message = str(details.get("message") or "no message")
    if status == 500 and "field not declared in schema" in message:
        return SchemaOutdated(status, reason, message)
    if status == 500 and UNTYPED in message:
        return Invalid(status, reason, message)
    if status == 429 or status >= 500:
        return Unavailable(status, reason, message, _retry_after(headers))
    causes = (details.get("details") or {}).get("causes") or ()
    names = tuple(str(cause.get("reason", "")) for cause in causes)
    error = _BY_STATUS.get(status, ApiError)(status, reason, message, names)
    if isinstance(error, Expired):
        error.resume = (details.get("metadata") or {}).get("continue") or ""
    return error


def _decoded(body: bytes) -> dict[str, Any]:
    """Return the Status object; an intermediary answers in plain text or HTML instead."""
    try:
        details = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"message": body[:200].decode(errors="replace").strip()}
    return details if isinstance(details, dict) else {}


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait; the other form of the header, a date, is not sent by Kubernetes."""
    try:
        return max(0.0, float(headers.get("Retry-After", "")))
    except ValueError:
        return None
