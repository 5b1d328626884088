"""The API server's audit log: who asked for what. Tests count writes with it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "audit.log"
_LONGEST = 1 << 20
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})

# One entry a request, when it is answered; a watch is answered when it ends.
POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
- level: Metadata
"""


@dataclass(frozen=True)
class Request:
    """One request that the API server answered."""

    user: str
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    code: int
    at: str

    @property
    def is_write(self) -> bool:
        """Tell whether it may have changed something."""
        return self.verb in WRITES


def flags(policy: Path, log: Path) -> list[str]:
    """Write the policy and return the flags of kube-apiserver that use it."""
    policy.write_text(POLICY)
    return [
        f"--audit-policy-file={policy}",
        f"--audit-log-path={log}",
        "--audit-log-format=json",
        # In MB. By default a new file begins at 100, and offsets into the old one mean nothing any more.
        "--audit-log-maxsize=100000",
    ]


def read(log: Path, *, user_prefix: str = "", since: int = 0) -> list[Request]:
    """Return the requests of some users, from an offset of the log on (see ``end``)."""
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().split(b"\n")
    # The last line may be half written; whoever asks again gets it whole.
    requests = (_request(json.loads(line)) for line in lines[:-1])
    return [request for request in requests if request.user.startswith(user_prefix)]


def end(log: Path) -> int:
    """Return the offset behind the last request that is written as a whole."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - _LONGEST)
        file.seek(start)
        return start + file.read(size - start).rfind(b"\n") + 1


def _request(event: dict[str, Any]) -> Request:
    target = event.get("objectRef", {})
    return Request(
        user=event.get("user", {}).get("username", ""),
        verb=event["verb"],
        group=target.get("apiGroup", ""),
        resource=target.get("resource", ""),
        subresource=target.get("subresource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        at=event.get("requestReceivedTimestamp", ""),
    )
