"""Where a Pushgateway is, which group of it is meant, and what its answers mean. Nothing here opens a connection.

Source of the paths: the README of the Pushgateway, section "URL".
"""

from __future__ import annotations

import binascii
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

from flowgauge import forks

if TYPE_CHECKING:
    from flowgauge.push import delivery

VARIABLE: Final = "FLOWGAUGE_PUSHGATEWAY"
# In place of an address: nothing is sent, for a developer's machine or a test.
OFF: Final = "off"

_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Auth = tuple[str, str] | str
Files = tuple[str, str, str]  # of TLS: authority, certificate, key; empty is none


class Gateway(NamedTuple):
    """An address without a slash at its end, the header `Authorization` or nothing, the files of TLS."""

    url: str
    authorization: str
    files: Files


def find(
    given: str | None,
    *,
    auth: Auth | None = None,
    ca_file: str | os.PathLike[str] | None = None,
    client_cert: str | tuple[str, str] | None = None,
) -> Gateway | None:
    """The gateway at `given`, else at `FLOWGAUGE_PUSHGATEWAY`; None if that is `off`.

    Raises:
        ValueError: an argument or the variable cannot be used; the message names it.

    """
    url = _address(given)
    if url is None:
        return None
    host = url.netloc.rpartition("@")[2]
    path = quote(url.path.rstrip("/"), safe="/%:@!$&,;=+*()~")
    return Gateway(
        f"{url.scheme}://{host}{path}",
        _authorization(url, auth),
        _files(url, os.fspath(ca_file) if ca_file else "", client_cert),
    )


def path(job: str, grouping: Mapping[str, str | int]) -> str:
    """The path of a group, encoded as a Pushgateway decodes it.

    Raises:
        ValueError: the job is empty, or a label has a name that Prometheus does not allow or that means the job.

    """
    if not (isinstance(job, str) and job):
        raise ValueError(f"job is {job!r}, must be a name, such as 'nightly'")
    return "/metrics/" + "/".join(
        [_pair("job", job), *(_pair(*pair) for pair in _labels(grouping))]
    )


def _labels(grouping: Mapping[str, str | int]) -> list[tuple[str, str]]:
    for name, value in grouping.items():
        if not (isinstance(name, str) and _LABEL.fullmatch(name)) or name.startswith("__"):
            raise ValueError(
                f"grouping has the label {name!r}; names are letters, digits and underscores,"
                " begin with no digit and not with two underscores"
            )
        if name == "job":
            raise ValueError("grouping has the label 'job'; give it as job")
        if not isinstance(value, str | int):
            raise ValueError(f"grouping[{name!r}] is {value!r}, must be text")  # noqa: TRY004 - one kind for bad input
    return [(name, str(value)) for name, value in grouping.items()]


def _pair(name: str, value: str) -> str:
    # The gateway cleans a path after it has decoded it: what that would lose or split has to be base64.
    if "/" in value or value in ("", ".", ".."):
        packed = binascii.b2a_base64(value.encode(), newline=False).decode()
        safe = packed.rstrip("=").replace("+", "-").replace("/", "_")
        return f"{name}@base64/{safe or '='}"
    return f"{name}/{quote(value, safe='')}"


def _address(given: str | None) -> SplitResult | None:
    source, text = ("gateway_url", given) if given else (VARIABLE, os.environ.get(VARIABLE, ""))
    text = text.strip()
    if not text:
        raise ValueError(
            f"no Pushgateway is named: give gateway_url or set {VARIABLE},"
            f" for example to pushgateway.monitoring:9091, or to {OFF!r} to push nothing"
        )
    if text == OFF:
        return None
    # What comes before the @ may be a password, and is not shown.
    wrong = (
        f"{source} is {text.rpartition('@')[2]!r}, must be an address, such as pushgateway:9091"
        " or https://host/prefix, without query, fragment and spaces"
    )
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError as error:
        raise ValueError(f"{wrong}: {error}") from None
    if not usable or url.query or url.fragment or re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError(wrong)
    return url


def _authorization(url: SplitResult, auth: Auth | None) -> str:
    if auth is None and url.username:
        auth = (unquote(url.username), unquote(url.password or ""))
    if auth is None:
        return ""
    if isinstance(auth, str):
        if not re.fullmatch(r"[\x21-\x7e]+", auth):
            raise ValueError("auth is no bearer token: it must be text without spaces and lines")
        return f"Bearer {auth}"
    user, password = auth
    if ":" in user:
        raise ValueError(
            "auth has a user name with a colon, which basic authentication cannot send"
        )
    return "Basic " + binascii.b2a_base64(f"{user}:{password}".encode(), newline=False).decode()


def _files(url: SplitResult, ca_file: str, client_cert: str | tuple[str, str] | None) -> Files:
    cert, key = client_cert if isinstance(client_cert, tuple) else (client_cert or "", "")
    files = (ca_file, cert, key)
    if url.scheme == "https":
        with forks.loading:
            from flowgauge.push import delivery  # noqa: PLC0415 - loads TLS, which only https needs

        try:
            delivery.Trust(*files).context()
        except OSError as error:
            named = ", ".join(filter(None, files)) or "the certificates of the system"
            raise ValueError(f"ca_file or client_cert cannot be used ({named}): {error}") from error
    elif any(files):
        raise ValueError("ca_file and client_cert are for https; begin gateway_url with https://")
    return files


class Failure(NamedTuple):
    """Why an attempt failed and what to do. Without `again` it is of no use to try again; `pause` is in seconds."""

    reason: str
    remedy: str
    again: bool
    pause: float = 0.0


_ADDRESS: Final = "is this a Pushgateway, and is gateway_url complete with its path prefix?"
_REMEDIES: Final = {
    400: "mend what the answer names",
    401: "give auth",
    403: "give auth, or let who runs the gateway permit it",
    413: "raise the limit of the proxy before the gateway, or measure fewer label sets",
}


def refused(answer: delivery.Answer) -> Failure | None:
    """What an answer means; None for a success."""
    if 200 <= answer.status < 300:
        return None
    said = f"{answer.status} {answer.reason}".strip() + (f": {answer.text}" if answer.text else "")
    if 300 <= answer.status < 400:
        # Not followed: credentials would go to whom the answer names.
        reason = f"{said}, redirected to {answer.location or 'nowhere'}"
        return Failure(reason, "make the new address gateway_url", again=False)
    if answer.status in (408, 425, 429) or answer.status >= 500:
        remedy = "see the log of the gateway, or of the proxy before it"
        return Failure(said, remedy, again=True, pause=_seconds(answer.retry_after))
    return Failure(said, _REMEDIES.get(answer.status, _ADDRESS), again=False)


def _seconds(text: str) -> float:
    # The other form, a date, is rare, and a clock that is wrong makes it a trap.
    return float(text) if text.isascii() and text.isdigit() else 0.0


def unanswered(error: Exception) -> Failure:
    """What it means that there was no answer but this error."""
    import ssl  # noqa: PLC0415 - loaded already by what failed

    text = str(error) or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(text, "give the certificate of its authority as ca_file", again=False)
    if isinstance(error, ssl.SSLError) and error.reason == "WRONG_VERSION_NUMBER":
        return Failure(text, "the gateway speaks no TLS there; use http://", again=False)
    if isinstance(error, TimeoutError):
        remedy = (
            "does something swallow the packets, such as a NetworkPolicy? if not, raise timeout"
        )
        return Failure(text, remedy, again=True)
    remedy = f"is the gateway up, and gateway_url or {VARIABLE} its address?"
    # A name that cannot even be asked for is a ValueError.
    return Failure(text, remedy, again=not isinstance(error, ValueError | TypeError))
