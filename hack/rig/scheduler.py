"""Bind every pod that names no node to the rig's only one: what helm installs must not have to know the rig."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rig import fetch
from rig.access import Access
from rig.controlplane import NODE
from rig.watching import Watch


class Scheduler:
    """Follows the pods without a node."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._watch = Watch(access, "/api/v1/pods", self._bind_all, fieldSelector="spec.nodeName=")

    def start(self) -> None:
        """Start to bind."""
        self._watch.start()

    def stop(self) -> None:
        """End the watch."""
        self._watch.stop()

    def _bind_all(self, pods: Mapping[str, Mapping[str, Any]]) -> None:
        for pod in list(pods.values()):
            if "deletionTimestamp" not in pod["metadata"]:
                self._bind(pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _bind(self, namespace: str, name: str) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE},
        }
        try:
            fetch.send(
                f"{self._access.server}/api/v1/namespaces/{namespace}/pods/{name}/binding",
                json.dumps(binding).encode(),
                ca=self._access.ca_file,
                token=self._access.admin_token,
            )
        except fetch.RequestError as error:
            # Bound already, as the watch tells a moment later, or gone meanwhile.
            if error.code not in (404, 409):
                raise
