"""What `setup_observability` was asked for: its arguments, then the environment, then the defaults."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowgauge import profiles
from flowgauge.profiles import Profile

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from flowgauge.serving.auth import Auth
    from flowgauge.serving.tls import Tls

# The port of the durable workflows whose names the profile `contd` has, so one manifest serves both.
DEFAULT_PORT: Final = 9090

PROFILE: Final = "FLOWGAUGE_PROFILE"
HOST: Final = "FLOWGAUGE_HOST"
PORT: Final = "FLOWGAUGE_PORT"
PATH: Final = "FLOWGAUGE_PATH"
NATIVE: Final = "FLOWGAUGE_NATIVE_HISTOGRAMS"
EXEMPLARS: Final = "FLOWGAUGE_EXEMPLARS"
# By field of `Tls` and `Auth`. Secrets come as files only: a variable is seen by everybody who sees the pod.
TLS: Final = {
    "certificate": "FLOWGAUGE_TLS_CERTIFICATE",
    "key": "FLOWGAUGE_TLS_KEY",
    "client_ca": "FLOWGAUGE_TLS_CLIENT_CA",
}
AUTH: Final = {
    "username": "FLOWGAUGE_AUTH_USERNAME",
    "password_file": "FLOWGAUGE_AUTH_PASSWORD_FILE",
    "token_file": "FLOWGAUGE_AUTH_TOKEN_FILE",
}

_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"", "0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings. `host` is empty for all addresses; `port` 0 takes one that is free."""

    profile: Profile
    host: str
    port: int
    path: str
    serve: bool
    registry: CollectorRegistry | None
    native: bool
    exemplars: bool
    objective: float
    process: bool
    tls: Tls | None
    auth: Auth | None
    ready: Callable[[], bool] | None


def resolve(
    *,
    profile: str | os.PathLike[str] | Profile | None = None,
    host: str | None = None,
    port: int | None = None,
    path: str | None = None,
    serve: bool = True,
    registry: CollectorRegistry | None = None,
    native_histograms: bool | None = None,
    exemplars: bool | None = None,
    objective: float = 99.0,
    process_metrics: bool = True,
    tls: Tls | None = None,
    auth: Auth | None = None,
    ready: Callable[[], bool] | None = None,
    environment: Mapping[str, str],
) -> Settings:
    """The settings that result.

    Raises:
        ProfileError: the profile does not exist or is no profile.
        OSError: the profile's file cannot be read.
        ValueError: an argument or a variable has a value that it cannot have.

    """
    chosen = _profile(profile or environment.get(PROFILE) or profiles.DEFAULT)
    if not 0 < objective < 100:
        raise ValueError(f"objective is {objective!r}, must be a percentage between 0 and 100")
    return Settings(
        profile=chosen,
        host=environment.get(HOST, "") if host is None else host,
        port=_port(port, environment, chosen),
        path=_path(path, environment, chosen),
        serve=serve,
        registry=registry,
        native=_flag(NATIVE, native_histograms, environment),
        exemplars=_flag(EXEMPLARS, exemplars, environment),
        objective=objective / 100,
        process=process_metrics,
        tls=tls or _tls(environment),
        auth=auth or _auth(environment),
        ready=ready,
    )


def _tls(environment: Mapping[str, str]) -> Tls | None:
    given = {field: environment.get(name, "") for field, name in TLS.items()}
    if not any(given.values()):
        return None
    from flowgauge.serving.tls import Tls  # noqa: PLC0415 - `ssl` is dear, and few programs serve TLS

    return Tls(certificate=given["certificate"], key=given["key"], client_ca=given["client_ca"])


def _auth(environment: Mapping[str, str]) -> Auth | None:
    given = {field: environment.get(name, "") for field, name in AUTH.items()}
    if not any(given.values()):
        return None
    from flowgauge.serving.auth import Auth  # noqa: PLC0415 - see above

    return Auth(**given)


def _flag(name: str, given: bool | None, environment: Mapping[str, str]) -> bool:
    if given is not None:
        return given
    value = environment.get(name, "").strip().lower()
    if value not in _YES | _NO:
        raise ValueError(f"{name} is {value!r}, must be true or false")
    return value in _YES


def _path(path: str | None, environment: Mapping[str, str], profile: Profile) -> str:
    source, value = "path", path
    if value is None:
        source, value = PATH, environment.get(PATH) or profile.scrape.path
    if not value.startswith("/") or any(c in value for c in "?# "):
        raise ValueError(f"{source} is {value!r}, must be the path of a URL, such as /metrics")
    return value


def _profile(chosen: str | os.PathLike[str] | Profile) -> Profile:
    if isinstance(chosen, Profile):
        return chosen
    text = os.fspath(chosen)
    if isinstance(chosen, str) and "/" not in text and not text.endswith((".yaml", ".yml")):
        return profiles.builtin(text)
    return profiles.parse(Path(text).read_text(encoding="utf-8"), source=text)


def _port(port: int | None, environment: Mapping[str, str], profile: Profile) -> int:
    source, value = "port", str(port)
    if port is None:
        own = profile.scrape.port if isinstance(profile.scrape.port, int) else DEFAULT_PORT
        source, value = PORT, environment.get(PORT) or str(own)
        # Of Kubernetes, for a Service called flowgauge in the pod's namespace, as the operator's is by default.
        if value.startswith("tcp://"):
            value = str(own)
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise ValueError(f"{source} is {value!r}, must be a number from 0 to 65535")
    return int(value)
