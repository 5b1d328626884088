import asyncio
import contextlib
import gzip
import http.client
import socket
import subprocess
import sys
import threading
import time
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import django
import fastapi
import flask
import httpx
import pytest
import starlette.applications
import uvicorn
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path as django_path
from prometheus_client import CollectorRegistry, Counter, generate_latest
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

import flowgauge
from flowgauge import guard
from flowgauge.serving import answers, mounting
from flowgauge.serving.auth import Auth
from flowgauge.serving.pages import Page

LONG = 60

_registry = CollectorRegistry()
Counter("parcels", "Parcels that left.", registry=_registry).inc(3)


def render(accept):
    """A page that tells what was asked for."""
    body = generate_latest(_registry) + f"# accept: {accept}\n".encode()
    return Page(body, "text/plain; version=0.0.4; charset=utf-8")


@pytest.fixture(autouse=True)
def told(monkeypatch):
    monkeypatch.setattr(guard, "_reported", {})


class Reply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body


def ask_asgi(app, path="/metrics", method="GET", **headers):
    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            sent = {"Accept-Encoding": "identity"} | {
                k.replace("_", "-"): v for k, v in headers.items()
            }
            async with client.stream(method, path, headers=sent) as response:
                body = b"".join([part async for part in response.aiter_raw()])
                return Reply(response.status_code, response.headers.multi_items(), body)

    return asyncio.run(ask())


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def ask_wsgi(app, path="/metrics", method="GET", **headers):
    """Through a real server, which with `validator` also watches that the protocol is kept."""
    with make_server("127.0.0.1", 0, validator(app), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=LONG)
        with contextlib.closing(connection):
            sent = {"Accept-Encoding": "identity"} | {
                k.replace("_", "-"): v for k, v in headers.items()
            }
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            reply = Reply(response.status, response.getheaders(), response.read())
        thread.join(LONG)
        return reply


# -- applications to mount in


def fastapi_app():
    app = fastapi.FastAPI()

    @app.get("/")
    def home():
        return "home"

    @app.get("/{rest:path}")  # hides everything that is routed after it
    def catch_all(rest: str):
        return rest

    return app


def starlette_app():
    home = Route("/", lambda _: PlainTextResponse("home"))
    folder = Mount("/", PlainTextResponse("catch-all"))
    return starlette.applications.Starlette(routes=[home, folder])


def starlette_with_middleware():
    app = fastapi_app()

    @app.middleware("http")
    async def mark(request, call_next):
        response = await call_next(request)
        response.headers["X-Marked"] = "yes"
        return response

    app.add_middleware(GZipMiddleware, minimum_size=1)
    return app


def wrapped_by_hand():
    return GZipMiddleware(GZipMiddleware(fastapi_app(), minimum_size=1_000_000))


def flask_app():
    app = flask.Flask(__name__)

    @app.get("/")
    def home():
        return "home"

    @app.get("/<path:rest>")
    def catch_all(rest):
        return rest

    return app


def plain_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"home"]


class PlainWsgi:
    def __call__(self, environ, start_response):
        return plain_wsgi(environ, start_response)


async def plain_asgi(scope, receive, send):
    assert scope["type"] == "http"
    await PlainTextResponse("home")(scope, receive, send)


class PlainAsgi:
    async def __call__(self, scope, receive, send):
        await plain_asgi(scope, receive, send)


class Urls:
    def __init__(self, *patterns):
        self.urlpatterns = list(patterns)


def _home(request):
    return HttpResponse("home")


_urls = Urls(
    django_path("", _home),
    django_path("metrics", mounting.django_view(render)),
    django_path(
        "closed", mounting.django_view(render, auth=Auth(username="u", password="p", token="t"))
    ),
)
settings.configure(
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=_urls,
    SECRET_KEY="x",
    MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"],
)
django.setup()


def django_wsgi():
    return get_wsgi_application()


def django_asgi():
    return get_asgi_application()


def mounted(make):
    return lambda: mounting.mount(make(), render)


KINDS = {
    "asgi app": (ask_asgi, lambda: mounting.asgi_app(render)),
    "wsgi app": (ask_wsgi, lambda: mounting.wsgi_app(render)),
    "fastapi": (ask_asgi, mounted(fastapi_app)),
    "starlette": (ask_asgi, mounted(starlette_app)),
    "starlette with middleware": (ask_asgi, mounted(starlette_with_middleware)),
    "middleware by hand": (ask_asgi, mounted(wrapped_by_hand)),
    "flask": (ask_wsgi, mounted(flask_app)),
    "wsgi function": (ask_wsgi, mounted(lambda: plain_wsgi)),
    "wsgi object": (ask_wsgi, mounted(PlainWsgi)),
    "asgi function": (ask_asgi, mounted(lambda: plain_asgi)),
    "asgi object": (ask_asgi, mounted(PlainAsgi)),
    "django view under wsgi": (ask_wsgi, django_wsgi),
    "django view under asgi": (ask_asgi, django_asgi),
}
everywhere = pytest.mark.parametrize(("ask", "make"), KINDS.values(), ids=KINDS)
# An application of its own has nothing beside the metrics.
in_an_app = pytest.mark.parametrize(("ask", "make"), list(KINDS.values())[2:], ids=list(KINDS)[2:])


@everywhere
def test_metrics_are_served(ask, make):
    reply = ask(make(), Accept="text/plain;q=0.5")

    assert reply.status == 200
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"parcels_total 3.0\n" in reply.body
    assert reply.body.endswith(b"# accept: text/plain;q=0.5\n")
    assert int(reply.headers["content-length"]) == len(reply.body)


@everywhere
def test_they_are_packed_once_if_the_client_allows_it(ask, make):
    reply = ask(make(), Accept_Encoding="gzip")

    assert reply.headers["content-encoding"] == "gzip"
    assert b"parcels_total 3.0\n" in gzip.decompress(reply.body)
    assert b"parcels_total 3.0\n" in ask(make(), Accept_Encoding="identity").body


@everywhere
def test_head_has_no_body(ask, make):
    app = make()
    reply = ask(app, method="HEAD")

    assert (reply.status, reply.body) == (200, b"")
    assert int(reply.headers["content-length"]) == len(ask(app).body)


@everywhere
def test_other_methods_are_not_allowed(ask, make):
    reply = ask(make(), method="POST")

    assert reply.status == 405
    assert {"GET", "HEAD"} <= set(reply.headers["allow"].split(", "))


@in_an_app
def test_the_application_goes_on(ask, make):
    reply = ask(make(), path="/")

    assert (reply.status, reply.body.strip(b'"')) == (200, b"home")


@everywhere
def test_an_error_of_rendering_is_an_answer_and_logged(ask, make, monkeypatch, caplog):
    def generate_latest(_):
        raise RuntimeError("no luck")

    monkeypatch.setitem(globals(), "generate_latest", generate_latest)
    reply = ask(make())

    assert (reply.status, reply.body) == (500, b"metrics could not be rendered; see the log\n")
    assert "no luck" in caplog.text


def test_a_framework_is_returned_as_it_is_and_any_other_callable_wrapped():
    for make in (fastapi_app, starlette_app, wrapped_by_hand, flask_app):
        app = make()
        assert mounting.mount(app, render) is app
    for app in (plain_wsgi, plain_asgi):
        assert mounting.mount(app, render) is not app


@pytest.mark.parametrize(
    ("ask", "make"),
    [(ask_asgi, fastapi_app), (ask_wsgi, flask_app), (ask_wsgi, PlainWsgi), (ask_asgi, PlainAsgi)],
)
def test_the_path_can_be_chosen_and_protected(ask, make):
    app = mounting.mount(make(), render, "/internal/metrics", auth=Auth(token="t0ken"))

    assert ask(app, "/internal/metrics").status == 401
    assert ask(app, "/internal/metrics").headers["www-authenticate"] == 'Bearer realm="metrics"'
    assert ask(app, "/internal/metrics", Authorization="Bearer t0ken").status == 200
    assert b"parcels" not in ask(app, "/metrics").body


def test_a_django_view_names_every_way_to_authenticate():
    reply = ask_wsgi(django_wsgi(), "/closed")

    assert reply.status == 401
    assert (
        reply.headers["www-authenticate"]
        == 'Basic realm="metrics", charset="UTF-8", Bearer realm="metrics"'
    )
    assert ask_wsgi(django_wsgi(), "/closed", Authorization="Bearer t").status == 200


def test_middleware_of_the_application_sees_the_scrape():
    assert (
        ask_asgi(mounting.mount(starlette_with_middleware(), render)).headers["x-marked"] == "yes"
    )


def test_metrics_are_not_in_the_description_of_the_interface():
    app = mounting.mount(fastapi_app(), render)

    assert list(app.openapi()["paths"]) == ["/", "/{rest}"]


def test_an_application_under_a_prefix():
    outer = starlette.applications.Starlette(
        routes=[Mount("/api", mounting.mount(PlainAsgi(), render))]
    )

    assert ask_asgi(outer, "/api/metrics").body.startswith(b"# HELP parcels_total")
    assert ask_asgi(outer, "/api/other").body == b"home"


@pytest.mark.parametrize("app", [None, object(), lambda: None, lambda _: None, [], "app", dict])
def test_what_is_no_application_is_refused_with_the_remedy(app):
    with pytest.raises(
        TypeError, match=r"cannot serve metrics in a \w+; give a FastAPI.* port of its own"
    ):
        mounting.mount(app, render)


def test_a_path_that_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"path is 'metrics', must begin with a slash"):
        mounting.mount(fastapi_app(), render, "metrics")


def test_flask_after_its_first_request_is_told_when_to_mount():
    app = flask_app()
    ask_wsgi(app, "/")

    with pytest.raises(RuntimeError, match=r"call mount\(\) once, before its first request"):
        mounting.mount(app, render)


# -- under a real server


@contextlib.contextmanager
def uvicorn_serving(app):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            wait_for(lambda: server.started or not thread.is_alive())
            assert server.started
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(LONG)


def wait_for(true):
    end = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_rendering_does_not_hold_up_the_event_loop_and_is_shared():
    begun, allowed = threading.Semaphore(0), threading.Event()
    rendered = []

    def slow(accept):
        rendered.append(accept)
        begun.release()
        assert allowed.wait(LONG)
        return Page(b"done", "text/plain")

    app = mounting.mount(fastapi_app(), slow)
    replies = []
    with uvicorn_serving(app) as port:
        address = f"http://127.0.0.1:{port}"

        def scrape():
            replies.append(httpx.get(f"{address}/metrics", timeout=LONG).content)

        threads = [threading.Thread(target=scrape) for _ in range(10)]
        threads[0].start()
        assert begun.acquire(timeout=LONG)
        for thread in threads[1:]:
            thread.start()

        assert httpx.get(f"{address}/", timeout=LONG).text == '"home"'
        allowed.set()
        for thread in threads:
            thread.join(LONG)

    assert replies == [b"done"] * 10
    assert 1 < len(rendered) < 10


def test_a_client_that_leaves_does_no_harm(caplog):
    begun, allowed = threading.Event(), threading.Event()

    def slow(_):
        begun.set()
        assert allowed.wait(LONG)
        return Page(b"done", "text/plain")

    with uvicorn_serving(mounting.asgi_app(slow)) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert begun.wait(LONG)
        allowed.set()
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=LONG).content == b"done"

    assert caplog.records == []


def test_rendering_that_hangs_is_told(monkeypatch, caplog):
    monkeypatch.setattr(answers, "RENDER_SECONDS", 0.2)
    allowed = threading.Event()

    def hang(_):
        allowed.wait(LONG)
        return Page(b"", "text/plain")

    replies = [ask_asgi(mounting.asgi_app(hang)), ask_wsgi(mounting.wsgi_app(hang))]
    allowed.set()

    assert [reply.status for reply in replies] == [503, 503]
    assert "look for a slow collector" in caplog.text


def test_an_answer_that_comes_too_late_is_dropped(monkeypatch):
    monkeypatch.setattr(answers, "RENDER_SECONDS", 0.1)
    allowed, done = threading.Event(), threading.Event()
    problems = []

    def slow(_):
        allowed.wait(LONG)
        return Page(b"late", "text/plain")

    async def ask():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: problems.append(context))
        call_soon = loop.call_soon_threadsafe

        def late(*arguments):
            call_soon(*arguments)
            call_soon(done.set)

        monkeypatch.setattr(loop, "call_soon_threadsafe", late)
        transport = httpx.ASGITransport(mounting.asgi_app(slow))
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            reply = await client.get("/metrics")
        allowed.set()
        await asyncio.to_thread(done.wait, LONG)
        return reply.status_code

    assert asyncio.run(ask()) == 503
    assert problems == []


def test_an_application_of_its_own_takes_part_in_the_lifespan():
    received = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return received.pop(0)

    async def send(message):
        sent.append(message["type"])

    asyncio.run(mounting.asgi_app(render)({"type": "lifespan"}, receive, send))

    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_a_websocket_is_refused_and_the_lifespan_of_the_application_runs():
    happened = []

    @contextlib.asynccontextmanager
    async def lifespan(_):
        happened.append("startup")
        yield
        happened.append("shutdown")

    app = mounting.mount(starlette.applications.Starlette(lifespan=lifespan), render)
    with uvicorn_serving(app) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=LONG).status_code == 200
    assert happened == ["startup", "shutdown"]

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(mounting.asgi_app(render)({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1000}]


def test_mounting_loads_no_framework():
    program = (
        "import sys\n"
        "import flowgauge.serving.mounting as mounting\n"
        "mounting.asgi_app(lambda _: None), mounting.wsgi_app(lambda _: None), mounting.django_view(lambda _: None)\n"
        "print(sorted({'starlette', 'flask', 'django', 'asyncio', 'ssl', 'inspect'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=LONG, check=True
    )

    assert done.stdout == "[]\n"


def test_the_facade_mounts_what_was_set_up(observe, name):
    observe(serve=False)
    with flowgauge.run(name):
        pass
    app = flask.Flask(name)

    assert flowgauge.mount(app, "/numbers") is app

    page = app.test_client().get("/numbers").text
    assert f'workflow_runs_total{{status="success",workflow="{name}"}} 1.0' in page
