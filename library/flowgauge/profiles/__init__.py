"""Profiles: vocabularies of metrics as data, read by the library that emits them and the operator that monitors them."""

from flowgauge.profiles.decode import ProfileError
from flowgauge.profiles.loader import DEFAULT, builtin, from_object, names, parse
from flowgauge.profiles.roles import LABELS, ROLES, UNITS, Role
from flowgauge.profiles.types import (
    Alert,
    Family,
    Outcomes,
    Panel,
    Profile,
    Query,
    Recording,
    Scrape,
    Sli,
)

__all__ = [
    "DEFAULT",
    "LABELS",
    "ROLES",
    "UNITS",
    "Alert",
    "Family",
    "Outcomes",
    "Panel",
    "Profile",
    "ProfileError",
    "Query",
    "Recording",
    "Role",
    "Scrape",
    "Sli",
    "builtin",
    "from_object",
    "names",
    "parse",
]
