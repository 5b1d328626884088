"""Profiles: vocabularies of metrics as data, read by the library that emits them and the operator that monitors them.

Each name is loaded when it is used: who records by role needs the list of roles, and no YAML.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from flowgauge.profiles.decode import ProfileError
    from flowgauge.profiles.loader import (
        DEFAULT,
        builtin,
        from_object,
        names,
        parse,
    )
    from flowgauge.profiles.roles import LABELS, ROLES, UNITS, Role
    from flowgauge.profiles.strict import StrictLoader
    from flowgauge.profiles.types import (
        Alert,
        Family,
        Outcomes,
        Panel,
        PanelType,
        Profile,
        ProfileSpec,
        Query,
        Recording,
        Scrape,
        Sli,
        Step,
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
    "PanelType",
    "Profile",
    "ProfileError",
    "ProfileSpec",
    "Query",
    "Recording",
    "Role",
    "Scrape",
    "Sli",
    "Step",
    "StrictLoader",
    "builtin",
    "from_object",
    "names",
    "parse",
]

# The module of each name.
_HOMES = {
    "Alert": "types",
    "DEFAULT": "loader",
    "Family": "types",
    "LABELS": "roles",
    "Outcomes": "types",
    "Panel": "types",
    "PanelType": "types",
    "Profile": "types",
    "ProfileError": "decode",
    "ProfileSpec": "types",
    "Query": "types",
    "ROLES": "roles",
    "Recording": "types",
    "Role": "roles",
    "Scrape": "types",
    "Sli": "types",
    "Step": "types",
    "StrictLoader": "strict",
    "UNITS": "roles",
    "builtin": "loader",
    "from_object": "loader",
    "names": "loader",
    "parse": "loader",
}


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{_HOMES[name]}", fromlist=[name])
    value = globals()[name] = getattr(module, name)
    return value
