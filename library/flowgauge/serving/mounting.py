"""Serve metrics in an application that serves HTTP anyway: ASGI, WSGI, FastAPI, Starlette, Flask, Django.

Rendering never runs on an event loop. No framework is imported here: who passes one of their applications has.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from flowgauge.serving import answers
from flowgauge.serving.answers import Answer, Asked, Metrics
from flowgauge.serving.pages import Render

if TYPE_CHECKING:
    from flowgauge.serving.auth import Auth

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Wsgi = Callable[[Environ, StartResponse], Iterable[bytes]]

_NAME: Final = "flowgauge_metrics"


def asgi_app(render: Render, *, auth: Auth | None = None) -> Asgi:
    """Make an ASGI 3 application that answers every path with the metrics; runs under asyncio."""
    return _AsgiApp(Metrics(render, auth))


def wsgi_app(render: Render, *, auth: Auth | None = None) -> Wsgi:
    """Make a WSGI application that answers every path with the metrics."""
    metrics = Metrics(render, auth)

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        asked = _asked(environ)
        answer = metrics.wait(asked)
        start_response(answers.status_line(answer), list(answer.headers))
        return [b"" if asked.method == "HEAD" else answer.body]

    return app


def django_view(render: Render, *, auth: Auth | None = None) -> Callable[[Any], Any]:
    """Make a view for Django's `urlpatterns`.

    urlpatterns = [path("metrics", django_view(render))]
    """
    metrics = Metrics(render, auth)

    def view(request: Any) -> Any:
        answer = metrics.wait(_asked(request.META))
        response = import_module("django.http").HttpResponse(answer.body, status=answer.status)
        for name, value in answer.headers:
            before = (
                response.headers[name]
                if name == "WWW-Authenticate" and name in response.headers
                else ""
            )
            response.headers[name] = f"{before}, {value}" if before else value
        return response

    return view


def mount(app: Any, render: Render, path: str = "/metrics", *, auth: Auth | None = None) -> Any:
    """Serve metrics at `path` of `app`, and return the application to serve from now on.

    FastAPI, Starlette and Flask applications get a route, which stands inside their middleware, and are returned
    as they are; so is middleware around one of them. Any other ASGI or WSGI callable is wrapped, and the wrapper is
    returned: `application = mount(application, render)`.

    Raises:
        TypeError: `app` is none of these.
        ValueError: the path cannot be one.
        RuntimeError: the application takes no more routes.

    """
    answers.checked_path(path)
    inner = _unwrapped(app)
    if _is_a(inner, "starlette.applications", "Starlette"):
        _route_in_starlette(inner, path, asgi_app(render, auth=auth))
        return app
    if _is_a(inner, "flask", "Flask"):
        _route_in_flask(inner, path, Metrics(render, auth))
        return app
    parameters = _parameters(app)
    if parameters == 3:
        return _AsgiSwitch(app, path, asgi_app(render, auth=auth))
    if parameters == 2:
        return _wsgi_switch(app, path, wsgi_app(render, auth=auth))
    raise TypeError(
        f"mount() cannot serve metrics in a {type(app).__name__}; give a FastAPI, Starlette or Flask application or"
        " an ASGI or WSGI callable, put django_view() into Django's urlpatterns, or let setup_observability() open"
        " a port of its own"
    )


class _AsgiApp:
    """An object and no function, so that Starlette takes it for an application."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._respond(scope, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _respond(self, scope: Scope, send: Send) -> None:
        asked = _asked_in(scope)
        answer = await self._answer(asked)
        headers = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers
        ]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        body = b"" if asked.method == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, asked: Asked) -> Answer:
        import asyncio  # noqa: PLC0415 - loaded anyway where this runs

        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Answer] = loop.create_future()

        def settle(answer: Answer) -> None:
            if not answered.done():  # the client has gone
                answered.set_result(answer)

        def reply(answer: Answer) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(settle, answer)

        self._metrics.answer(asked, reply)
        try:
            return await asyncio.wait_for(answered, answers.RENDER_SECONDS)
        except TimeoutError:
            return answers.too_slow()


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


class _AsgiSwitch:
    """Answers one path itself and leaves everything else, lifespan included, to the application."""

    def __init__(self, app: Asgi, path: str, metrics: Asgi) -> None:
        self.app = app
        self._path = path
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ours = scope["type"] == "http" and _path_in(scope) == self._path
        await (self._metrics if ours else self.app)(scope, receive, send)


def _wsgi_switch(app: Wsgi, path: str, metrics: Wsgi) -> Wsgi:
    def switch(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        ours = environ.get("PATH_INFO") == path
        return (metrics if ours else app)(environ, start_response)

    return switch


def _route_in_starlette(app: Any, path: str, metrics: Asgi) -> None:
    route = import_module("starlette.routing").Route(path, metrics, name=_NAME)
    # First, because a mounted folder or a catch-all route before it would hide it. A route and not a mount, which
    # would redirect to a path with a slash at its end.
    app.router.routes.insert(0, route)


def _route_in_flask(app: Any, path: str, metrics: Metrics) -> None:
    flask = import_module("flask")

    def view() -> Any:
        answer = metrics.wait(_asked(flask.request.environ))
        return app.response_class(answer.body, answer.status, list(answer.headers))

    try:
        app.add_url_rule(path, _NAME, view, methods=["GET"], provide_automatic_options=False)
    except AssertionError as error:
        raise RuntimeError(
            "the Flask application takes no more routes; call mount() once, before its first request"
        ) from error


def _unwrapped(app: Any) -> Any:
    """The application within middleware, which by convention has it as `app`."""
    for _ in range(100):  # it might be its own
        if not hasattr(app, "app"):
            break
        app = app.app
    return app


def _is_a(app: Any, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(app, kind)


def _parameters(app: Any) -> int:
    """How many arguments a callable takes by position; 0 if it cannot be told."""
    import inspect  # noqa: PLC0415 - loaded anyway by every framework

    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def _asked(environ: Mapping[str, Any]) -> Asked:
    return Asked(
        method=environ.get("REQUEST_METHOD", "GET"),
        accept=environ.get("HTTP_ACCEPT", ""),
        accept_encoding=environ.get("HTTP_ACCEPT_ENCODING", ""),
        authorization=environ.get("HTTP_AUTHORIZATION", ""),
    )


def _asked_in(scope: Scope) -> Asked:
    headers: dict[bytes, str] = {}
    for name, value in scope["headers"]:
        text = value.decode("latin-1")
        headers[name] = f"{headers[name]}, {text}" if name in headers else text
    return Asked(
        method=scope["method"],
        accept=headers.get(b"accept", ""),
        accept_encoding=headers.get(b"accept-encoding", ""),
        authorization=headers.get(b"authorization", ""),
    )


def _path_in(scope: Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path", ""))
    return path[len(root) :] if root and path.startswith(f"{root}/") else path
