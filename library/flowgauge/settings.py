"""What `setup_observability` was asked for: its arguments, then the environment, then the defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowgauge import profiles
from flowgauge.profiles import Profile

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

# The port of the durable workflows whose names the profile `contd` has, so one manifest serves both.
DEFAULT_PORT: Final = 9090

PROFILE: Final = "FLOWGAUGE_PROFILE"
HOST: Final = "FLOWGAUGE_HOST"
PORT: Final = "FLOWGAUGE_PORT"


@dataclass(frozen=True, slots=True)
class Settings:
    """Resolved settings. `host` is empty for all addresses; `port` 0 takes one that is free."""

    profile: Profile
    host: str
    port: int
    serve: bool
    registry: CollectorRegistry | None


def resolve(
    *,
    profile: str | os.PathLike[str] | Profile | None,
    host: str | None,
    port: int | None,
    serve: bool,
    registry: CollectorRegistry | None,
    environment: Mapping[str, str],
) -> Settings:
    """The settings that result.

    Raises:
        ProfileError: the profile does not exist or is no profile.
        OSError: the profile's file cannot be read.
        ValueError: the port is no port.

    """
    chosen = _profile(profile or environment.get(PROFILE) or profiles.DEFAULT)
    return Settings(
        profile=chosen,
        host=environment.get(HOST, "") if host is None else host,
        port=_port(port, environment, chosen),
        serve=serve,
        registry=registry,
    )


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
    if not (value.isascii() and value.isdigit() and int(value) <= 65535):
        raise ValueError(f"{source} is {value!r}, must be a number from 0 to 65535")
    return int(value)
