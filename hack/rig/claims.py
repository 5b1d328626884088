"""Call every claim of a volume bound: no disk is behind it, but helm waits until its claims are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rig import fetch
from rig.access import Access
from rig.watching import Watch


class Claims:
    """Follows the claims that wait for a volume."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._watch = Watch(access, "/api/v1/persistentvolumeclaims", self._bind_all)

    def start(self) -> None:
        """Start to bind."""
        self._watch.start()

    def stop(self) -> None:
        """End the watch."""
        self._watch.stop()

    def _bind_all(self, claims: Mapping[str, Mapping[str, Any]]) -> None:
        for claim in list(claims.values()):
            if claim.get("status", {}).get("phase") == "Pending":
                self._bind(claim)

    def _bind(self, claim: Mapping[str, Any]) -> None:
        metadata, spec = claim["metadata"], claim["spec"]
        status = {
            "phase": "Bound",
            "accessModes": spec["accessModes"],
            "capacity": spec["resources"]["requests"],
        }
        try:
            fetch.send(
                f"{self._access.server}/api/v1/namespaces/{metadata['namespace']}"
                f"/persistentvolumeclaims/{metadata['name']}/status",
                json.dumps({"status": status}).encode(),
                method="PATCH",
                form="application/merge-patch+json",
                ca=self._access.ca_file,
                token=self._access.admin_token,
            )
        except fetch.RequestError as error:
            # Gone meanwhile.
            if error.code != 404:
                raise
