"""Serve what was set up in an application that serves HTTP anyway: `mounting` with the metrics of this process.

    flowgauge.setup_observability(serve=False)
    app = FastAPI()
    flowgauge.mount(app)

Where nothing was set up, the names are those of `FLOWGAUGE_PROFILE`, else of the profile `workflow`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flowgauge.observability import render_current
from flowgauge.serving import mounting

if TYPE_CHECKING:
    from flowgauge.serving.auth import Auth


def mount(app: Any, path: str = "/metrics", *, auth: Auth | None = None) -> Any:
    """Serve metrics at `path` of `app`, and return the application to serve from now on.

    FastAPI, Starlette and Flask applications get a route and are returned as they are; any other ASGI or WSGI
    callable is wrapped, and the wrapper is returned.

    Raises:
        TypeError: `app` is none of these.
        ValueError: the path cannot be one.
        RuntimeError: the application takes no more routes.

    """
    return mounting.mount(app, render_current, path, auth=auth)


def asgi_app(*, auth: Auth | None = None) -> mounting.Asgi:
    """Make an ASGI 3 application that answers every path with the metrics; runs under asyncio."""
    return mounting.asgi_app(render_current, auth=auth)


def wsgi_app(*, auth: Auth | None = None) -> mounting.Wsgi:
    """Make a WSGI application that answers every path with the metrics."""
    return mounting.wsgi_app(render_current, auth=auth)


def django_view(*, auth: Auth | None = None) -> Callable[[Any], Any]:
    """Make a view for Django's `urlpatterns`: `path("metrics", flowgauge.django_view())`."""
    return mounting.django_view(render_current, auth=auth)
