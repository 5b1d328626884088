"""A small API server on loopback, for the faults that a real one does not produce on demand.

It keeps objects in memory with resource versions and knows: apply (a no-op keeps the version), status, delete with a
uid, create and replace, chunked lists, watches with label selectors, resource lists and access reviews. Faults: `fail`
the next requests, make them `slow`, `cut` all watches, `drop` objects without telling, remove or forbid kinds.
"""

import asyncio
import itertools
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from flowgauge_operator import kinds
from flowgauge_operator.credentials import Credentials
from flowgauge_operator.kinds import Kind

# kopf waits for these two to be served, although it never reads them.
STANDARD = (
    Kind("", "v1", "Namespace", "namespaces", namespaced=False),
    Kind(
        "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
    ),
)


@dataclass
class Fault:
    method: str
    part: str
    left: int
    status: int = 0
    body: object = None
    headers: dict = field(default_factory=dict)
    seconds: float = 0.0

    def matches(self, request):
        hit = request.method == self.method and self.part in request.path_qs and self.left > 0
        self.left -= hit
        return hit


def status(code, reason, message="as told", **more):
    return {"kind": "Status", "code": code, "reason": reason, "message": message, **more}


class FakeApi:
    def __init__(self):
        self.kinds = [*kinds.KINDS, *STANDARD]
        self.objects = {}  # (plural, namespace, name) -> body
        self.forbidden = set()  # plurals
        self.requests = []  # (method, path_qs)
        self.tokens = []
        self.accepts = []
        self.bodies = []
        self.faults = []
        self.good_token = None
        self.clock = itertools.count(1)
        self.version = 0
        self.watchers = []  # (plural, namespace, selector, queue)
        self.server = ""

    @property
    def credentials(self):
        return Credentials(server=self.server, token="secret")

    def fail(self, method, part, code, *, times=1, reason="Told", headers=None, body=None):
        body = body if body is not None else status(code, reason)
        self.faults.append(Fault(method, part, times, code, body, headers or {}))

    def slow(self, method, part, *, seconds, times=1):
        self.faults.append(Fault(method, part, times, seconds=seconds))

    def count(self, method, part=""):
        return sum(verb == method and part in path for verb, path in self.requests)

    def put(self, kind, name, namespace=None, labels=None, **more):
        """Store an object as if someone had, and tell the watchers."""
        old = self.objects.get((kind.plural, namespace, name))
        meta = {"name": name, "uid": old["metadata"]["uid"] if old else f"uid-{next(self.clock)}"}
        meta |= {"namespace": namespace} if namespace else {}
        meta |= {"labels": labels} if labels else {}
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": meta, **more}
        return self.store(kind.plural, namespace, name, body)

    def store(self, plural, namespace, name, body):
        known = (plural, namespace, name) in self.objects
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.objects[plural, namespace, name] = body
        self.tell(plural, "MODIFIED" if known else "ADDED", body)
        return body

    def remove(self, kind, name, namespace=None):
        body = self.objects.pop((kind.plural, namespace, name))
        self.version += 1
        body["metadata"]["resourceVersion"] = str(self.version)
        self.tell(kind.plural, "DELETED", body)

    def drop(self, kind, name, namespace=None):
        """Lose an object without an event."""
        del self.objects[kind.plural, namespace, name]

    def tell(self, plural, event, body):
        for watched, namespace, selector, queue in self.watchers:
            if watched == plural and chosen(body, namespace, selector):
                queue.put_nowait({"type": event, "object": json.loads(json.dumps(body))})

    def cut(self, error=None):
        """End every watch, with an ERROR event if there is one."""
        for _, _, _, queue in self.watchers:
            queue.put_nowait({"type": "ERROR", "object": error} if error else None)

    def uninstall(self, kind):
        """Remove a kind as when its CRD is deleted."""
        self.kinds.remove(kind)
        self.cut()

    async def handle(self, request):
        self.requests.append((request.method, request.path_qs))
        self.tokens.append(request.headers.get("Authorization"))
        self.accepts.append(request.headers.get("Accept", ""))
        text = await request.text()
        request["body"] = json.loads(text) if text else None
        self.bodies.append(request["body"])
        for fault in self.faults:
            if fault.matches(request):
                await asyncio.sleep(fault.seconds)
                if fault.status:
                    return answer(fault.body, fault.status, fault.headers)
        token = request.headers.get("Authorization")
        if self.good_token and token != f"Bearer {self.good_token}":
            return answer(status(401, "Unauthorized"), 401)
        return await self.route(request, [p for p in request.path.split("/") if p])

    async def route(self, request, parts):  # noqa: PLR0911 - one for each kind of question
        if parts == ["apis"]:
            return answer({"groups": self.groups()})
        if parts == ["api"]:
            return answer({"versions": ["v1"]})
        if parts[-1] == "selfsubjectaccessreviews":
            return self.review(request)
        head = 2 if parts[0] == "api" else 3
        api_version, rest = "/".join(parts[1:head]), parts[head:]
        if not rest:
            return self.resource_list(api_version)
        namespace = rest[1] if rest[0] == "namespaces" else None
        rest = rest[2:] if namespace else rest
        kind = next(
            (k for k in self.kinds if (k.api_version, k.plural) == (api_version, rest[0])), None
        )
        if kind is None:
            return answer(status(404, "NotFound"), 404)
        if kind.plural in self.forbidden:
            return answer(status(403, "Forbidden"), 403)
        return await self.serve(request, kind, namespace, rest[1:])

    async def serve(self, request, kind, namespace, rest):
        if request.method == "GET" and not rest:
            if request.query.get("watch"):
                return await self.watch(request, kind, namespace)
            return self.list(request, kind, namespace)
        name = rest[0] if rest else request["body"]["metadata"]["name"]
        key = (kind.plural, namespace, name)
        return getattr(self, f"do_{request.method.lower()}")(
            request, kind, key, self.objects.get(key), rest[1:]
        )

    def do_get(self, _request, _kind, _key, known, _sub):
        return answer(known) if known else answer(status(404, "NotFound"), 404)

    def do_post(self, request, kind, key, known, _sub):
        if known:
            return answer(status(409, "AlreadyExists"), 409)
        body = request["body"]
        more = {k: v for k, v in body.items() if k not in {"apiVersion", "kind", "metadata"}}
        return answer(self.put(kind, key[2], key[1], **more), 201)

    def do_put(self, request, kind, key, known, _sub):
        body = request["body"]
        if known is None:
            return answer(status(404, "NotFound"), 404)
        if body["metadata"].get("resourceVersion") not in {
            None,
            known["metadata"]["resourceVersion"],
        }:
            return answer(status(409, "Conflict"), 409)
        return answer(self.put(kind, key[2], key[1], spec=body.get("spec")))

    def do_patch(self, request, kind, key, known, sub):
        body = request["body"]
        if sub and known is None:
            return answer(status(404, "NotFound"), 404)
        fields = {"status"} if sub else set(body) - {"apiVersion", "kind", "metadata", "status"}
        merged = {**(known or {}), **{name: body[name] for name in fields}}
        merged = {k: v for k, v in merged.items() if k not in {"apiVersion", "kind", "metadata"}}
        if known and all(known.get(name) == value for name, value in merged.items()):
            return answer(meta_only(known))
        labels = body["metadata"].get("labels")
        return answer(
            meta_only(self.put(kind, key[2], key[1], labels, **merged)), 200 if known else 201
        )

    def do_delete(self, request, kind, key, known, _sub):
        if known is None:
            return answer(status(404, "NotFound"), 404)
        wanted = (request["body"] or {}).get("preconditions", {}).get("uid")
        if wanted and wanted != known["metadata"]["uid"]:
            return answer(status(409, "Conflict"), 409)
        self.remove(kind, key[2], key[1])
        return answer(status(200, "Success"))

    def list(self, request, kind, namespace):
        found = [
            body
            for (plural, _, _), body in sorted(self.objects.items(), key=str)
            if plural == kind.plural and chosen(body, namespace, request.query.get("labelSelector"))
        ]
        start, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 0)
        end = start + limit if limit else len(found)
        more = {"continue": str(end)} if end < len(found) else {}
        meta = {"resourceVersion": str(self.version), **more}
        items = found[start:end]
        if "as=PartialObjectMetadataList" in request.headers.get("Accept", ""):
            # As the real one: of nothing it makes null.
            items = [meta_only(body) for body in items] or None
        return answer({"kind": f"{kind.kind}List", "metadata": meta, "items": items})

    async def watch(self, request, kind, namespace):
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        queue = asyncio.Queue()
        watcher = (kind.plural, namespace, request.query.get("labelSelector"), queue)
        self.watchers.append(watcher)
        # What changed between the list and this watch is told first.
        since = int(request.query.get("resourceVersion") or 0)
        for (plural, _, _), body in list(self.objects.items()):
            is_new = int(body["metadata"]["resourceVersion"]) > since
            if plural == kind.plural and is_new and chosen(body, namespace, watcher[2]):
                queue.put_nowait({"type": "ADDED", "object": body})
        try:
            while (event := await queue.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self.watchers.remove(watcher)
        return response

    def groups(self):
        found = {}
        for kind in self.kinds:
            if kind.group:
                found.setdefault(kind.group, set()).add(kind.version)
        return [
            {
                "name": group,
                "versions": [{"version": version} for version in sorted(versions)],
                "preferredVersion": {"version": min(versions)},
            }
            for group, versions in found.items()
        ]

    def resource_list(self, api_version):
        found = [
            {
                "name": kind.plural,
                "kind": kind.kind,
                "singularName": kind.kind.lower(),
                "namespaced": kind.namespaced,
                "verbs": ["get", "list", "watch", "create", "patch", "delete"],
            }
            for kind in self.kinds
            if kind.api_version == api_version
        ]
        if not found:
            return answer(status(404, "NotFound"), 404)
        return answer({"kind": "APIResourceList", "resources": found})

    def review(self, request):
        wanted = request["body"]["spec"]["resourceAttributes"]
        allowed = wanted["resource"] not in self.forbidden
        return answer({"status": {"allowed": allowed}}, 201)


def chosen(body, namespace, selector):
    labels = body["metadata"].get("labels") or {}
    wanted = [part.partition("=") for part in (selector or "").split(",") if part]
    return (namespace is None or body["metadata"].get("namespace") == namespace) and all(
        key in labels and (not equals or labels[key] == value) for key, equals, value in wanted
    )


def meta_only(body):
    return {"kind": "PartialObjectMetadata", "metadata": body["metadata"]}


def answer(body, code=200, headers=None):
    if isinstance(body, str):
        return web.Response(text=body, status=code, headers=headers)
    return web.json_response(body, status=code, headers=headers)


@asynccontextmanager
async def serving(api=None):
    """Serve in the running loop; yields the API."""
    api = api or FakeApi()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", api.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    api.server = f"http://{host}:{port}"
    try:
        yield api
    finally:
        await runner.cleanup()
