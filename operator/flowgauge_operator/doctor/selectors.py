"""Label selectors as Kubernetes evaluates them, and why one does not fit. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Selector = Mapping[str, Any]


def misfits(selector: Selector, labels: Mapping[str, str]) -> list[str]:
    """What keeps labels from matching, in words; empty if they match. An empty selector matches everything."""
    found = [
        _wrong(key, value, labels)
        for key, value in (selector.get("matchLabels") or {}).items()
        if labels.get(key) != value
    ]
    found += [
        f"label {rule['key']} {_demand(rule)}"
        for rule in selector.get("matchExpressions") or []
        if not _holds(rule, labels)
    ]
    return found


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether labels match. Who has no selector at all decides beforehand what that means."""
    return not misfits(selector, labels)


def _wrong(key: str, value: str, labels: Mapping[str, str]) -> str:
    if key in labels:
        return f"label {key} is {labels[key] or 'empty'}, not {value}"
    return f"label {key}={value} is missing"


def _holds(rule: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = rule["key"], rule.get("values") or []
    match rule["operator"]:
        case "In":
            return key in labels and labels[key] in values
        case "NotIn":
            # Kubernetes: a label that is not there is not among them either.
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
    return False


def _demand(rule: Mapping[str, Any]) -> str:
    values = ", ".join(rule.get("values") or [])
    return {
        "In": f"must be one of {values}",
        "NotIn": f"must not be one of {values}",
        "Exists": "must be there",
        "DoesNotExist": "must not be there",
    }.get(rule["operator"], f"has the unknown operator {rule['operator']}")


def wanted(selector: Selector) -> dict[str, str]:
    """Labels that would satisfy the positive part of a selector, as far as that is clear."""
    found = dict(selector.get("matchLabels") or {})
    for rule in selector.get("matchExpressions") or []:
        if rule["operator"] == "In" and rule.get("values"):
            found[rule["key"]] = rule["values"][0]
        elif rule["operator"] == "Exists":
            found[rule["key"]] = "true"
    return found


def spelled(selector: Selector | None) -> str:
    """A selector as a person reads it."""
    if selector is None:
        return "nothing"
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    parts += [f"{rule['key']} {_demand(rule)}" for rule in selector.get("matchExpressions") or []]
    return ", ".join(parts) or "everything"


def nearest(
    labels: Mapping[str, str], candidates: Iterable[tuple[str, Mapping[str, str]]]
) -> Sequence[tuple[str, Mapping[str, str]]]:
    """Those of the candidates whose labels come closest, best first: the same key, or the same value."""

    def score(item: tuple[str, Mapping[str, str]]) -> int:
        has = item[1]
        same = sum(2 for key, value in labels.items() if has.get(key) == value)
        keys = sum(1 for key in labels if key in has)
        return same + keys + sum(1 for value in labels.values() if value in has.values())

    ranked = sorted(candidates, key=score, reverse=True)
    return [item for item in ranked if score(item) > 0]
