"""Speak to the API server: apply, delete, read, ask. It moves manifests and knows no workflow.

Called by `reconcile` (through its Protocol), `presence`, `lease` and the command line. How a request is sent is in
`transport`, what can go wrong in `errors`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from flowgauge_operator import errors, kinds
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.event import Event
from flowgauge_operator.kinds import Kind, Ref
from flowgauge_operator.transport import JSON, Observe, Pace, Request, Transport, ignore, read

MANAGER = "flowgauge"
STATUS_MANAGER = "flowgauge-status"
APPLY = "application/apply-patch+yaml"
# Asking for metadata only makes an answer of 30 kB one of 0.4 kB. A list needs the name of its own:
# with the singular one the server refuses instead of falling back.
META = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1,{JSON}"
META_LIST = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{JSON}"

# No object has this version: etcd's own first revision. An apply with it creates, and is refused where the name is taken.
NO_VERSION = "1"


@dataclass(frozen=True)
class Meta:
    """Hold what a write tells about the stored object."""

    name: str
    namespace: str | None
    uid: str
    resource_version: str
    generation: int | None


class Cluster:
    """Talk to one API server. An async context manager; every method raises `errors.ApiError`."""

    def __init__(
        self, credentials: Credentials, *, pace: Pace | None = None, observe: Observe = ignore
    ) -> None:
        self._transport = Transport(credentials, pace or Pace(), observe)

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self._transport.__aexit__(*raised)

    def fence(self, may_write: Callable[[], bool]) -> None:
        """Refuse every write but urgent ones, by `errors.Fenced`, while `may_write` says no."""
        self._transport.may_write = may_write

    async def apply(
        self,
        manifest: Mapping[str, Any],
        *,
        only_new: bool = False,
        manager: str = MANAGER,
        force: bool = True,
    ) -> Meta:
        """Create or change an object by server-side apply, taking over fields of others.

        With `only_new` an object that exists already is left as it is, without `force` a field that somebody else owns:
        `errors.Conflict`.
        """
        if only_new:
            metadata = {**manifest["metadata"], "resourceVersion": NO_VERSION}
            manifest = {**manifest, "metadata": metadata}
        return await self._apply(kinds.ref_of(manifest), "", manifest, manager, force=force)

    async def apply_status(self, ref: Ref, status: Mapping[str, Any]) -> Meta:
        """Write the status of an existing object as our status manager.

        The API server does not compare uids here (measured): a namesake may get it.
        """
        where = {"namespace": ref.namespace} if ref.namespace else {}
        body = {
            "apiVersion": ref.kind.api_version,
            "kind": ref.kind.kind,
            "metadata": {"name": ref.name, **where},
            "status": status,
        }
        return await self._apply(ref, "status", body, STATUS_MANAGER)

    async def _apply(
        self, ref: Ref, sub: str, body: Mapping[str, Any], manager: str, *, force: bool = True
    ) -> Meta:
        request = Request(
            verb=sub or "apply",
            kind=ref.kind.kind,
            method="PATCH",
            path=ref.path(sub),
            query={"fieldManager": manager, "force": "true" if force else "false"},
            body=body,
            accept=META,
            content_type=APPLY,
            is_write=True,
        )
        return meta_of(await self._transport.send(request))

    async def merge(self, ref: Ref, patch: Mapping[str, Any], *, manager: str = MANAGER) -> Meta:
        """Change what a merge patch names in an existing object."""
        request = Request(
            verb="merge",
            kind=ref.kind.kind,
            method="PATCH",
            path=ref.path(),
            query={"fieldManager": manager},
            body=patch,
            accept=META,
            content_type="application/merge-patch+json",
            is_write=True,
        )
        return meta_of(await self._transport.send(request))

    async def delete(self, ref: Ref, *, uid: str | None = None, version: str | None = None) -> bool:
        """Delete an object; return False if it was already gone.

        With a uid (here or in the ref) a namesake is left alone, with a version one that was changed since:
        `errors.Conflict`.
        """
        body: dict[str, Any] = {"propagationPolicy": "Background"}
        wanted = {"uid": uid or ref.uid, "resourceVersion": version}
        if preconditions := {key: value for key, value in wanted.items() if value}:
            body["preconditions"] = preconditions
        request = Request(
            verb="delete",
            kind=ref.kind.kind,
            method="DELETE",
            path=ref.path(),
            body=body,
            accept=META,
            is_write=True,
        )
        try:
            await self._transport.send(request)
        except errors.NotFound:
            return False
        return True

    async def restore(self, manifest: Mapping[str, Any]) -> None:
        """Put an object's spec or data back to exactly what the manifest says.

        An apply leaves what others have added to a map or a keyed list; this removes it.
        """
        ref = kinds.ref_of(manifest)
        fields = [field for field in ("spec", "data") if field in manifest]
        body = [
            {"op": "replace", "path": f"/{field}", "value": manifest[field]} for field in fields
        ]
        request = Request(
            verb="restore",
            kind=ref.kind.kind,
            method="PATCH",
            path=ref.path(),
            query={"fieldManager": MANAGER},
            body=body,
            accept=META,
            content_type="application/json-patch+json",
            is_write=True,
        )
        await self._transport.send(request)

    async def get(
        self, ref: Ref, *, metadata_only: bool = False, is_urgent: bool = False
    ) -> dict[str, Any]:
        """Return one object; raise `errors.NotFound`."""
        accept = META if metadata_only else JSON
        request = read("get", ref.kind, ref.path(), accept=accept, is_urgent=is_urgent)
        body: dict[str, Any] = await self._transport.send(request)
        return body

    async def create(
        self, manifest: Mapping[str, Any], *, is_urgent: bool = False
    ) -> dict[str, Any]:
        """Create an object and return it as stored; raise `errors.Conflict` if it exists."""
        kind = kinds.kind_of(manifest)
        path = kind.path(manifest["metadata"].get("namespace"))
        return await self._store("create", kind, "POST", path, manifest, is_urgent=is_urgent)

    async def replace(
        self, manifest: Mapping[str, Any], *, is_urgent: bool = False
    ) -> dict[str, Any]:
        """Replace an object and return it as stored.

        With a resourceVersion in it this is compare-and-swap: `errors.Conflict` if it has moved on.
        """
        ref = kinds.ref_of(manifest)
        return await self._store(
            "update", ref.kind, "PUT", ref.path(), manifest, is_urgent=is_urgent
        )

    async def _store(
        self,
        verb: str,
        kind: Kind,
        method: str,
        path: str,
        manifest: Mapping[str, Any],
        *,
        is_urgent: bool,
    ) -> dict[str, Any]:
        request = Request(
            verb=verb,
            kind=kind.kind,
            method=method,
            path=path,
            body=manifest,
            is_write=True,
            is_urgent=is_urgent,
            is_repeatable=False,
        )
        body: dict[str, Any] = await self._transport.send(request)
        return body

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        metadata_only: bool = True,
        chunk: int = 500,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the objects of a kind, `chunk` at a time; without a namespace, of all of them."""
        pages = self.pages(
            kind, namespace, label_selector, metadata_only=metadata_only, chunk=chunk
        )
        async for page in pages:
            for item in page.get("items") or ():
                yield item

    async def select(self, ref: Ref, fields: str) -> dict[str, Any] | None:
        """Return an object's metadata if a field selector fits it, else None; only lists can select."""
        query = {"fieldSelector": f"metadata.name={ref.name},{fields}"}
        path = ref.kind.path(ref.namespace)
        request = read("list", ref.kind, path, query=query, accept=META_LIST)
        found: list[dict[str, Any]] = (await self._transport.send(request)).get("items") or []
        return found[0] if found else None

    async def pages(
        self,
        kind: Kind,
        namespace: str | None = None,
        label_selector: str | None = None,
        *,
        metadata_only: bool = True,
        chunk: int = 500,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a list in pieces, each with the metadata of the list: its version is where a watch goes on.

        If the list outlives its snapshot (about 5 minutes), the rest comes from a newer one.
        """
        accept = META_LIST if metadata_only else JSON
        query = {"limit": str(chunk)}
        if label_selector:
            query["labelSelector"] = label_selector
        while True:
            request = read("list", kind, kind.path(namespace), query=query, accept=accept)
            try:
                page = await self._transport.send(request)
            except errors.Expired as error:
                if not error.resume:
                    raise
                query = {**query, "continue": error.resume}
                continue
            yield page
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return
            query = {**query, "continue": token}

    async def watch(
        self, kind: Kind, namespace: str | None, label_selector: str | None, version: str
    ) -> AsyncIterator[Sequence[bytes]]:
        """Yield events as they come, each as one line of JSON, undecoded and metadata only.

        It ends when the server has had enough, after about five minutes.
        """
        query = {
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "290",
        }
        if label_selector:
            query["labelSelector"] = label_selector
        request = read("watch", kind, kind.path(namespace), query=query, accept=META)
        rest = b""
        # A bookmark comes every minute, so longer silence is a connection that nobody has told us is dead.
        async for piece in self._transport.stream(request, silence=130):
            *lines, rest = (rest + piece).split(b"\n")
            if lines:
                yield lines

    async def resources(self, group_version: str) -> dict[str, frozenset[str]]:
        """Return the verbs of each resource that a group and version serves; {} if it is absent."""
        path = kinds.group_path(group_version)
        request = Request(verb="discover", kind="APIResourceList", method="GET", path=path)
        try:
            found = await self._transport.send(request)
        except errors.NotFound:
            return {}
        return {item["name"]: frozenset(item.get("verbs") or ()) for item in found["resources"]}

    async def may(self, verb: str, group: str, resource: str, namespace: str | None = None) -> bool:
        """Tell whether we may do this, in a namespace or (None) in all; `plural/status` is known."""
        plural, _, sub = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": sub}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, "namespace": namespace or ""}},
        }
        request = Request(
            verb="review",
            kind="SelfSubjectAccessReview",
            method="POST",
            path="/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            body=body,
        )
        answer = await self._transport.send(request)
        return bool(answer["status"].get("allowed"))

    async def post(self, event: Event) -> None:
        """Post an Event about an object; those about cluster-wide objects go to `default`.

        Deduplicating is the caller's part; with `once` the API server helps, for as long as it keeps the first one.
        """
        try:
            await self.create(event.manifest(datetime.now(UTC)))
        except errors.Conflict:
            if not event.once:
                raise


def meta_of(body: Mapping[str, Any]) -> Meta:
    """Return the metadata of an answer as a record."""
    meta = body["metadata"]
    return Meta(
        meta["name"],
        meta.get("namespace"),
        meta["uid"],
        meta["resourceVersion"],
        meta.get("generation"),
    )
