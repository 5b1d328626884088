"""The API server's audit log: who asked for what. Tests count writes with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = "audit.log"
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
    return [f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-format=json"]


def read(log: Path, *, user_prefix: str = "", since: int = 0) -> Iterator[Request]:
    """Yield the requests of some users, from an offset of the log on (see ``end``)."""
    with log.open("rb") as file:
        file.seek(since)
        for line in file:
            # The last line may be half written; whoever asks again gets it whole.
            if not line.endswith(b"\n"):
                return
            request = _request(json.loads(line))
            if request.user.startswith(user_prefix):
                yield request


def end(log: Path) -> int:
    """Return the offset behind the last request."""
    return log.stat().st_size


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
