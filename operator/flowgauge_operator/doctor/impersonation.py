"""Whom somebody asks as, instead of as himself: from a kubeconfig or from flags, as headers of a request. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


@dataclass(frozen=True, slots=True)
class Impersonation:
    """A user, and what else the API server shall take him for; an empty user is whoever asks."""

    user: str = ""
    groups: Sequence[str] = ()
    uid: str = ""
    extra: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def headers(self) -> list[tuple[str, str]]:
        """The headers that say so; a name may come several times."""
        if not self.user:
            return []
        found = [("Impersonate-User", self.user)]
        found += [("Impersonate-Group", group) for group in self.groups]
        found += [("Impersonate-Uid", self.uid)] if self.uid else []
        for key, values in self.extra.items():
            # The key is a part of the header's name, where only few characters may stand.
            name = f"Impersonate-Extra-{quote(key.lower(), safe='')}"
            found += [(name, value) for value in values]
        # A header is Latin-1 for Python; Kubernetes reads UTF-8.
        return [(name, value.encode().decode("latin-1")) for name, value in found]

    def flags(self) -> str:
        """The same for kubectl, to be put behind a command; empty for whoever asks."""
        words = [f"--as={self.user}"] if self.user else []
        words += [f"--as-group={group}" for group in self.groups]
        words += [f"--as-uid={self.uid}"] if self.uid else []
        return "".join(f" {shlex.quote(word)}" for word in words)


def of(user: Mapping[str, Any], wanted: Impersonation) -> Impersonation:
    """What a user of a kubeconfig says, where flags do not say otherwise.

    Raises:
        ValueError: it makes no sense; the message names field and remedy.
    """
    found = Impersonation(
        wanted.user or _text(user, "as"),
        wanted.groups or _texts(user.get("as-groups"), "as-groups"),
        wanted.uid or _text(user, "as-uid"),
        _extra(user.get("as-user-extra")),
    )
    more = {"as-groups": found.groups, "as-uid": found.uid, "as-user-extra": found.extra}
    lonely = [name for name, value in more.items() if value]
    if lonely and not found.user:
        raise ValueError(
            f"{lonely[0]} without a user to be taken for: add `as` to the user of the kubeconfig, or --as USER"
        )
    lines = [found.user, *found.groups, found.uid, *(v for vs in found.extra.values() for v in vs)]
    if any(not text.isprintable() for text in lines):
        raise ValueError(
            "whom to ask as (`as`, --as) has characters that cannot be printed; remove them"
        )
    return found


def _text(user: Mapping[str, Any], name: str) -> str:
    match user.get(name):
        case str(found):
            return found
        case None:
            return ""
    raise ValueError(f"{name} of the user of the kubeconfig must be a text; put it in quotes")


def _texts(found: Any, name: str) -> tuple[str, ...]:
    match found:
        case None:
            return ()
        case list() if all(isinstance(one, str) for one in found):
            return tuple(found)
    raise ValueError(f"{name} of the user of the kubeconfig must be a list of texts")


def _extra(found: Any) -> dict[str, tuple[str, ...]]:
    match found:
        case None:
            return {}
        case dict():
            return {str(key): _texts(texts, f"as-user-extra.{key}") for key, texts in found.items()}
    raise ValueError("as-user-extra of the user of the kubeconfig must be a map of lists of texts")
