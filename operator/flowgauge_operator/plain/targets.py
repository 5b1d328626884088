"""Where a workflow's metrics are when there are no pods to discover: addresses, a name of DNS, or a file. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from flowgauge_operator import names
from flowgauge_operator.model import Workflow

ANNOTATION = f"{names.GROUP}/targets"

_HOST = r"[A-Za-z0-9_]([-A-Za-z0-9_.]{0,251}[A-Za-z0-9_])?"
_ADDRESS = re.compile(rf"(?:{_HOST}|\[[0-9A-Fa-f:.]+\]):(?P<port>[0-9]{{1,5}})")
_NAME = re.compile(rf"(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})")
# What Prometheus takes: a wildcard only in the last part, and these three suffixes.
_FILE = re.compile(r"[^*\x00-\x1f]*(\*[^/*\x00-\x1f]*)?\.(json|yml|yaml)")
_FORMS = (
    "write HOST:PORT, several by commas; dns:HOST:PORT for every address of a name; or file:PATH of a .json or .yml file"
    " with targets"
)


class TargetsError(ValueError):
    """Targets that are missing, or that belong to nobody; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Addresses of a workflow: `addresses` as HOST:PORT, or all of the name `dns` at a port, or those in `file`."""

    addresses: tuple[str, ...] = ()
    dns: tuple[str, int] | None = None
    file: str = ""

    def discovery(self) -> dict[str, Any]:
        """What a scrape configuration says of them. The file is one below the folder that is written, or absolute."""
        if self.dns:
            host, port = self.dns
            return {"dns_sd_configs": [{"names": [host], "type": "A", "port": port}]}
        if self.file:
            # Prometheus looks for it from the folder of the file that names it, which is one further down.
            return {"file_sd_configs": [{"files": [str(PurePosixPath("..") / self.file)]}]}
        return {"static_configs": [{"targets": list(self.addresses)}]}


def read(text: str) -> Targets:
    """Read where a workflow's metrics are.

    Raises:
        ValueError: it is none of the three forms; the message shows them.
    """
    text = text.strip()
    form, _, rest = text.partition(":")
    if form == "file":
        if not _FILE.fullmatch(rest) or len(rest) > 1024:
            raise ValueError(_FORMS)
        return Targets(file=rest)
    # A host that is called dns has no second colon.
    if form == "dns" and ":" in rest:
        found = _NAME.fullmatch(rest)
        if not found or not _is_port(found["port"]):
            raise ValueError(_FORMS)
        return Targets(dns=(found["host"], int(found["port"])))
    return Targets(addresses=addresses(text, _FORMS))


def addresses(text: str, remedy: str = "write HOST:PORT, several by commas") -> tuple[str, ...]:
    """Read HOST:PORT by commas, each once.

    Raises:
        ValueError: with the remedy.
    """
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for part in parts:
        found = _ADDRESS.fullmatch(part)
        if not found or not _is_port(found["port"]):
            raise ValueError(remedy)
    return parts


def given(text: str) -> tuple[str, Targets]:
    """Read NAME=WHERE or NAMESPACE/NAME=WHERE.

    Raises:
        ValueError: with the remedy.
    """
    name, equals, where = text.partition("=")
    if not equals or not name.strip():
        raise ValueError(f"write NAME=WHERE or NAMESPACE/NAME=WHERE, where WHERE is this: {_FORMS}")
    return name.strip(), read(where)


def assigned(
    workflows: Collection[tuple[Workflow, str]], flags: Iterable[tuple[str, Targets]]
) -> dict[tuple[str, str], Targets]:
    """The targets of each workflow that is scraped, by namespace and name: those of a flag, else of its annotation.

    `workflows` come with the value of their annotation, empty for none.

    Raises:
        TargetsError: some are missing, are for nobody, or are for one that is not scraped; all are told at once.
    """
    known = {(workflow.namespace, workflow.name): text for workflow, text in workflows}
    chosen, faults = _chosen(known, flags)
    for workflow, text in workflows:
        key, title = (workflow.namespace, workflow.name), f"{workflow.namespace}/{workflow.name}"
        where = f"metadata.annotations[{ANNOTATION}]"
        if key not in chosen and text:
            try:
                chosen[key] = read(text)
            except ValueError as error:
                faults.append(f"{title}: {where}: {text!r}: {error}")
                continue
        mode = workflow.spec.scrape.mode
        if mode in ("Push", "None") and key in chosen:
            faults.append(
                f"{title}: spec.scrape.mode is {mode}, so nothing scrapes it; remove its targets, or the mode"
            )
        if mode not in ("Push", "None") and key not in chosen:
            faults.append(
                f"{title}: nothing discovers it without Kubernetes; say where its metrics are, by --targets {title}=HOST:PORT"
                f" or by {where}"
            )
    if faults:
        raise TargetsError("; ".join(faults))
    return chosen


def _chosen(
    known: Mapping[tuple[str, str], str], flags: Iterable[tuple[str, Targets]]
) -> tuple[dict[tuple[str, str], Targets], list[str]]:
    """What flags say, and what is wrong with them."""
    chosen: dict[tuple[str, str], Targets] = {}
    faults = []
    for title, where in flags:
        namespace, slash, name = title.rpartition("/")
        meant = [key for key in known if key[1] == name and (not slash or key[0] == namespace)]
        if len(meant) == 1 and meant[0] not in chosen:
            chosen[meant[0]] = where
        elif len(meant) == 1:
            faults.append(f"--targets {title}: is there twice; write all addresses in one")
        elif meant:
            several = " and ".join("/".join(key) for key in meant)
            faults.append(f"--targets {title}: could be {several}; write the namespace as well")
        else:
            there = ", ".join("/".join(key) for key in known)
            faults.append(f"--targets {title}: no workflow is called so; there are {there}")
    return chosen, faults


def _is_port(text: str) -> bool:
    return 0 < int(text) < 65536
