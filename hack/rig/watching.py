"""Watch one collection of the API server with plain HTTPS: list, then follow, and begin again when the stream ends."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rig import fetch
from rig.access import Access

Object = Mapping[str, Any]
_STREAM_SECONDS = 300


class Watch:
    """A thread that hands every state of a collection to a callback: all objects, by uid."""

    def __init__(
        self,
        access: Access,
        path: str,
        on_change: Callable[[Mapping[str, Object]], None],
        **selectors: str,
    ) -> None:
        self._access = access
        self._path = path
        self._selectors = selectors
        self._on_change = on_change
        self._objects: dict[str, Object] = {}
        self._is_stopped = threading.Event()
        self._connection: http.client.HTTPSConnection | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {path}", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the stream and the thread; the API server waits for open watches when it stops."""
        self._is_stopped.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _run(self) -> None:
        while not self._is_stopped.is_set():
            try:
                self._follow(self._list())
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not self._is_stopped.is_set():
                    print(f"watch {self._path}: {error}; trying again", flush=True)
                    time.sleep(0.5)

    def _list(self) -> str:
        with self._get({}) as answer:
            found = json.loads(answer.read())
        if "items" not in found:
            raise ValueError(found.get("message", "no list"))
        self._objects = {item["metadata"]["uid"]: item for item in found["items"]}
        self._on_change(self._objects)
        return str(found["metadata"]["resourceVersion"])

    def _follow(self, version: str) -> None:
        follow = {
            "watch": "1",
            "resourceVersion": version,
            "timeoutSeconds": str(_STREAM_SECONDS),
        }
        with self._get(follow) as stream:
            while line := stream.readline():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                uid = event["object"]["metadata"]["uid"]
                if event["type"] == "DELETED":
                    self._objects.pop(uid, None)
                else:
                    self._objects[uid] = event["object"]
                self._on_change(self._objects)

    @contextlib.contextmanager
    def _get(self, parameters: Mapping[str, str]) -> Iterator[http.client.HTTPResponse]:
        url = urllib.parse.urlsplit(self._access.server)
        context = fetch.trust(self._access.ca_file) if self._access.ca_file else None
        query = urllib.parse.urlencode({**self._selectors, **parameters})
        headers = {"Authorization": f"Bearer {self._access.admin_token}"}
        timeout = _STREAM_SECONDS + 30
        with contextlib.closing(
            http.client.HTTPSConnection(url.netloc, timeout=timeout, context=context)
        ) as self._connection:
            self._connection.request("GET", f"{self._path}?{query}", headers=headers)
            with self._connection.getresponse() as answer:
                yield answer
