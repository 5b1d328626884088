"""Texts, names and durations that the models of a spec share. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from flowgauge_operator.constraint import Obeys, Rule, like, matches

DURATION = r"[1-9][0-9]{0,3}(s|m|h|d|w)"
# No control characters, and none that turn or hide text; nor that of the tokens of `render.template`.
_HIDDEN = r"\x7f\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{e000}\x{feff}"
LINE = rf"^[^\x00-\x1f{_HIDDEN}]*$"
TEXT = rf"^[^\x00-\x08\x0b-\x1f{_HIDDEN}]*$"
FOLDER = rf"[^\x00-\x1f{_HIDDEN}/.][^\x00-\x1f{_HIDDEN}/]*"
LABEL_VALUE = r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$"
NAMESPACE = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
ALERT_NAME = r"^[A-Z][A-Za-z0-9]{0,99}$"
OBJECT_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def _cron_field(value: str, names: str = "") -> str:
    one = f"({value}{'|' + names if names else ''})"
    step = rf"(\*|{one}(-{one})?)(/[1-9][0-9]?)?"
    return f"{step}(,{step})*"


_CRON = (
    r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|"
    + r"\s+".join(
        (
            _cron_field("[0-5]?[0-9]"),
            _cron_field("[01]?[0-9]|2[0-3]"),
            _cron_field("0?[1-9]|[12][0-9]|3[01]"),
            _cron_field("0?[1-9]|1[0-2]", "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"),
            _cron_field("[0-7]", "SUN|MON|TUE|WED|THU|FRI|SAT"),
        )
    )
    + ")$"
)

Duration = Annotated[
    str,
    Field(max_length=6),
    like(
        f"^{DURATION}$", "must be a whole number with a unit of s, m, h, d or w, such as 15s or 5m"
    ),
]
Hold = Annotated[
    str,
    Field(max_length=6),
    like(
        f"^(0s|{DURATION})$",
        "must be 0s or a whole number with a unit of s, m, h, d or w, such as 5m",
    ),
]
Cron = Annotated[
    str,
    Field(max_length=120),
    like(
        _CRON,
        "must be five cron fields (minute hour day month weekday), such as 0 2 * * *, or @hourly, @daily, @weekly,"
        " @monthly or @yearly",
    ),
]
TimeZone = Annotated[
    str,
    Field(max_length=64),
    like(
        r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$",
        "must be a time zone of the IANA database, such as Europe/Zurich",
    ),
]
# Kubernetes adds eleven characters to it to name a Job.
CronJobName = Annotated[
    str,
    Field(max_length=52),
    like(
        OBJECT_NAME,
        "must be the name of a CronJob: lower-case letters, digits, dashes and dots, such as nightly",
    ),
]
# UTC, and all of one length, so that later is greater.
Instant = Annotated[
    str,
    Field(max_length=40),
    like(
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$",
        "must be a time in UTC, in quotes, such as '2026-12-01T22:00:00Z'",
    ),
]
Line = Annotated[str, Field(max_length=256, pattern=LINE)]
Text = Annotated[str, Field(max_length=1024, pattern=TEXT)]
PromQL = Annotated[str, Field(min_length=1, max_length=2048, pattern=TEXT)]
Severity = Literal["critical", "warning", "info"]
PanelUnit = Literal["", "ratio", "seconds", "bytes", "per_second", "cost"]
Colour = Annotated[
    str,
    Field(max_length=32),
    like(
        r"^((super-light-|light-|semi-dark-|dark-)?(red|orange|yellow|green|blue|purple)|text|transparent|#[0-9a-fA-F]{6})$",
        "must be red, orange, yellow, green, blue or purple, also with light- or dark- before it, or such as #56a64b",
    ),
]
Name = Annotated[
    str,
    Field(min_length=1, max_length=63),
    like(
        NAME,
        "must be lower-case letters, digits and dashes, such as success-rate",
    ),
]
AlertName = Annotated[
    str,
    Field(max_length=100),
    like(
        ALERT_NAME,
        "must be letters and digits that begin with a capital, such as HighErrorRate",
    ),
]

# Labels that say whose an alert is and what silences it. A user's value there would send it to the wrong people, or to
# nobody.
RESERVED_LABELS = (
    "alertname",
    "severity",
    "namespace",
    "monitored_workflow",
    "slo",
    "burn_tier",
    "outage",
)
LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]{0,62}$"
AlertLabels = Annotated[
    dict[str, Annotated[str, Field(max_length=256, pattern=LINE)]],
    Field(max_length=16),
    Obeys(
        (
            Rule(
                f"self.all(k, k.matches('{LABEL_NAME}') && !k.startsWith('__') && !(k in ["
                + ", ".join(f"'{label}'" for label in RESERVED_LABELS)
                + "]))",
                "label names are letters, digits and underscores, do not begin with __ and are none of "
                + ", ".join(RESERVED_LABELS)
                + "; rename the label",
                lambda labels: all(
                    matches(LABEL_NAME, key)
                    and not key.startswith("__")
                    and key not in RESERVED_LABELS
                    for key in labels
                ),
            ),
        )
    ),
]
LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
BY_NAME = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
SET = {"x-kubernetes-list-type": "set"}
EMPTY: dict[str, Any] = {"default": {}}


def named_once(items: list[Any]) -> list[Any]:
    """The items of a list, of which no two may have one name.

    Raises:
        ValueError: two have.
    """
    names = [item.name for item in items]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name} stands twice; rename one of the two")
    return items
