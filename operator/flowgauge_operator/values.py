"""Read the values of flags from text. Pure; each reader raises ValueError with the remedy. Used by `settings`."""

from __future__ import annotations

import math
import re
from urllib.parse import urlsplit

from flowgauge_operator import duration

Labels = tuple[tuple[str, str], ...]

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_FOLDER = r"[^\x00-\x1f/.][^\x00-\x1f/]*"
_FOLDERS = re.compile(f"{_FOLDER}(/{_FOLDER})*")
_SWITCHES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def boolean(text: str) -> bool:
    """Read true or false."""
    try:
        return _SWITCHES[text.lower() or "false"]
    except KeyError:
        raise ValueError("write true or false") from None


def seconds(text: str) -> float:
    """Read a number of seconds above zero."""
    message = "write a number of seconds above 0, such as 30"
    try:
        number = _number(text)
    except ValueError:
        raise ValueError(message) from None
    if number <= 0:
        raise ValueError(message)
    return number


def lease(text: str) -> float:
    """Read the duration of a Lease, of which the API server knows whole seconds only."""
    number = seconds(text)
    if number != int(number) or not 4 <= number <= 300:
        raise ValueError(
            "write whole seconds from 4, below which one slow answer would cost the lease, to 300"
        )
    return number


def rate(text: str) -> float:
    """Read a rate, 0 or above."""
    number = _number(text)
    if number < 0:
        raise ValueError("write a number, 0 or above")
    return number


def count(text: str) -> int:
    """Read a whole number above zero."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise ValueError("write a whole number above 0")
    return int(text)


def duration_(text: str) -> float:
    """Read a duration above zero and below a hundred years, in seconds."""
    try:
        found = duration.seconds(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 100 * 31536000:
        raise ValueError("write a whole number with a unit of s, m, h, d or w, such as 12h or 8d")
    return found


def discovery(text: str) -> str:
    """Read how annotated pods are found."""
    if text not in {"annotation", "label", "off"}:
        raise ValueError("write annotation, label or off")
    return text


def url(text: str, example: str = "http://prometheus.monitoring:9090") -> str:
    """Read an HTTP URL, without the slash at its end; empty stays empty."""
    if not text:
        return ""
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"write a whole URL, such as {example}")
    return text.rstrip("/")


def link(text: str) -> str:
    """Read the URL of what alerts link to. Prometheus would take two braces for a template."""
    base = url(text)
    if re.search(r"[\s{}]", base):
        raise ValueError("write the URL without braces and spaces")
    return base


def runbook_url(text: str) -> str:
    """Read where the runbooks are: a folder, or a URL with `{alert}` in the place of a page's name."""
    base = url(text, "https://example.com/runbooks")
    # Prometheus would take two braces for a template.
    if re.search(r"[{}]", text.replace("{alert}", "")):
        raise ValueError("write {alert} in the place of a page's name, and no other braces")
    return text if "{alert}" in text else base


def template(text: str) -> str:
    """Read a URL with `{{namespace}}`, `{{workflow}}`, `{{from}}` and `{{to}}` in the places of names and times."""
    url(text, "https://logs.example.com/?query={{workflow}}&from={{from}}")
    if re.search(r"\s|\{\{|\}\}", re.sub(r"\{\{(namespace|workflow|from|to)\}\}", "", text)):
        raise ValueError(
            "write {{namespace}}, {{workflow}}, {{from}} and {{to}} in the places of names and times, no other pair of"
            " braces, and no spaces"
        )
    return text


def name(text: str) -> str:
    """Read the name of an object; empty stays empty."""
    if text and not _NAME.fullmatch(text):
        raise ValueError("write a name of lower-case letters, digits and dashes")
    return text


def names(text: str) -> tuple[str, ...]:
    """Read names by commas, each once."""
    return tuple(dict.fromkeys(name(part) for part in _parts(text)))


def address(text: str) -> tuple[str, int]:
    """Read host and port; without a host, all addresses are meant."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("write HOST:PORT, such as 0.0.0.0:8080 or [::1]:8080")
    return host.removeprefix("[").removesuffix("]"), int(port)


def absolute_path(text: str) -> str:
    """Read the path of a folder, from the root on."""
    if not re.fullmatch(r"/[^\x00-\x1f]*", text):
        raise ValueError("write a path that begins with a slash, such as /run/secrets")
    return text


def level(text: str) -> str:
    """Read a log level."""
    return _one_of(text.lower(), ("debug", "info", "warning", "error"))


def log_format(text: str) -> str:
    """Read a log format."""
    return _one_of(text.lower(), ("text", "json"))


def label_key(text: str) -> str:
    """Read the key of a label or annotation, with or without a domain before it."""
    domain, slash, short = text.rpartition("/")
    if not _LABEL.fullmatch(short) or (slash and not _NAME.fullmatch(domain)):
        raise ValueError("write a key such as team or example.com/team")
    return text


def label(text: str) -> tuple[str, str]:
    """Read one label."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or (value and not _LABEL.fullmatch(value)):
        raise ValueError("write a label as key=value")
    return label_key(key), value


def dashboard_mode(text: str) -> str:
    """Read how dashboards reach Grafana."""
    return _one_of(text, ("ConfigMap", "GrafanaDashboard", "None"))


def folder(text: str) -> str:
    """Read a Grafana folder, in which `{namespace}` stands for the namespace."""
    if not _FOLDERS.fullmatch(text.replace("{namespace}", "x")) or len(text) > 128:
        raise ValueError(
            "write names of folders, separated by /, that neither are empty nor begin with a dot, such as"
            " Workflows/{namespace}"
        )
    return text


def go_duration(text: str) -> str:
    """Read a length of time as Kubernetes objects write it."""
    if not re.fullmatch(r"([0-9]+(\.[0-9]+)?(ms|s|m|h))+", text):
        raise ValueError("write a length of time, such as 10m or 1h30m")
    return text


def labels(text: str) -> Labels:
    """Read labels by commas, sorted by key; a key twice is a mistake."""
    found = sorted(label(part) for part in _parts(text))
    keys = [key for key, _ in found]
    if twice := {key for key in keys if keys.count(key) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))} is there twice; write each key once")
    return tuple(found)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("write a number") from None
    if not math.isfinite(number):
        raise ValueError("write a number")
    return number


def _one_of(text: str, known: tuple[str, ...]) -> str:
    if text not in known:
        raise ValueError(f"write one of {', '.join(known)}")
    return text
