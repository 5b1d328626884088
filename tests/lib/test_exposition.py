"""Pages in the format that the scraper asks for, with what others measure beside them."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import threading

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector

import flowgauge
from flowgauge import exposition, guard, protobuf, text
from flowgauge.exposition import Exposition
from flowgauge.instruments import MetricsCollector
from flowgauge.metrics import MetricFamily

# What Prometheus 3 sends, without and with native histograms, and what Prometheus 2.30 sent.
PROMETHEUS = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
NATIVE = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7,"
    + PROMETHEUS
)
OLD = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def gauge(value, name="x", labels=()):
    return MetricFamily(name, "gauge", "Help.", labels, [tuple("v" for _ in labels)], [value])


def messages(body):
    """How many messages a delimited protobuf body has; fails where one is cut."""
    at = found = 0
    while at < len(body):
        size = shift = 0
        while True:
            byte = body[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        at += size
        assert at <= len(body)
        found += 1
    return found


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", text.PLAIN),
        ("*/*", text.PLAIN),
        ("text/html,application/xhtml+xml,*/*;q=0.8", text.PLAIN),
        ("text/plain", text.PLAIN),
        ("text/plain;version=0.0.4", text.PLAIN),
        ("application/openmetrics-text", text.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text.OPENMETRICS),
        (PROMETHEUS, text.OPENMETRICS),
        (NATIVE, exposition.PROTOBUF),
        ("application/vnd.google.protobuf", exposition.PROTOBUF),
        ("application/json", text.PLAIN),
        ("application/openmetrics-text;q=0,text/plain", text.PLAIN),
        ("application/openmetrics-text;q=0.1,text/plain;q=0.9", text.PLAIN),
        (";;;,,q=,\x00", text.PLAIN),
    ],
)
def test_the_format_is_the_one_that_the_scraper_likes_best(accept, content_type):
    page = Exposition(lambda: [gauge(1.5)]).render(accept)

    assert page.content_type == content_type
    expected = {
        text.PLAIN: b"# HELP x Help.\n# TYPE x gauge\nx 1.5\n",
        text.OPENMETRICS: b"# HELP x Help.\n# TYPE x gauge\nx 1.5\n# EOF\n",
        exposition.PROTOBUF: protobuf.render([gauge(1.5)]),
    }
    assert page.body == expected[content_type]


def test_protobuf_is_what_its_renderer_says_it_is():
    assert exposition.PROTOBUF == protobuf.CONTENT_TYPE
    page = Exposition(lambda: [gauge(2.5), gauge(1.0, "y")]).render(NATIVE)
    assert messages(page.body) == 2
    assert struct.pack("<d", 2.5) in page.body


@pytest.mark.parametrize("accept", [NATIVE, "application/vnd.google.protobuf", PROMETHEUS, OLD, ""])
def test_protobuf_is_not_offered_beside_what_has_no_such_form(accept):
    page = Exposition(lambda: [gauge(1.0)], lambda _: b"# EOF\n").render(accept)

    assert page.content_type in (text.PLAIN, text.OPENMETRICS)


# With the registry of somebody else.


@pytest.fixture
def registry():
    made = CollectorRegistry()
    counter = prometheus_client.Counter("parcels", "Parcels.", ["to"], registry=made)
    counter.labels('a "quoted" \\ place\n').inc(3, exemplar={"trace_id": "abc"})
    prometheus_client.Info("build", "Build.", registry=made).info({"version": "1"})
    prometheus_client.Enum("state", "State.", states=["on", "off"], registry=made)
    return made


def read(page):
    """The samples of a page of text, by name and labels, and the names of its families."""
    body = page.body.decode()
    parse = parse_openmetrics if page.content_type == text.OPENMETRICS else parse_text
    families = list(parse(body))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family stands twice"
    samples = [sample for family in families for sample in family.samples]
    found = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(found) == len(samples), "a sample stands twice"
    return found


@pytest.mark.parametrize("accept", ["", PROMETHEUS, NATIVE, OLD])
def test_a_registry_of_the_user_is_served_beside_ours(observe, registry, accept, name):
    with flowgauge.run(name):
        pass
    page = observe(registry=registry, serve=False).render(accept)
    found = read(page)

    assert found["workflow_runs_total", (("status", "success"), ("workflow", name))] == 1.0
    assert found["parcels_total", (("to", 'a "quoted" \\ place\n'),)] == 3.0
    assert found["state", (("state", "on"),)] == 1.0
    is_openmetrics = page.content_type == text.OPENMETRICS
    assert page.body.count(b"# EOF\n") == is_openmetrics
    assert page.body.endswith(b"# EOF\n") == is_openmetrics
    assert (b"trace_id" in page.body) == is_openmetrics


def test_our_metrics_are_in_the_registry_for_who_renders_it_otherwise(observe, registry, name):
    with flowgauge.run(name):
        pass
    handle = observe(registry=registry, serve=False)
    labels = {"workflow": name, "status": "success"}

    handle.render("")  # leaves nothing muted

    assert registry.get_sample_value("workflow_runs_total", labels) == 1.0
    body = prometheus_client.generate_latest(registry).decode()
    assert f'workflow_runs_total{{status="success",workflow="{name}"}} 1.0\n' in body
    assert "parcels_total" in body
    handle.close()
    assert registry.get_sample_value("workflow_runs_total", labels) is None


class Broken(Collector):
    """A collector of somebody else, at its worst."""

    def __init__(self, error):
        self._error = error

    def describe(self):
        return []

    def collect(self):
        yield prometheus_client.Metric("half", "Half.", "gauge")
        raise self._error


@pytest.mark.parametrize("error", [ValueError("broken"), RecursionError(), MemoryError()])
@pytest.mark.parametrize("accept", ["", PROMETHEUS])
def test_a_collector_that_raises_does_not_take_our_metrics_with_it(
    observe, registry, monkeypatch, caplog, error, accept, name
):
    monkeypatch.setattr(guard, "_reported", {})
    registry.register(Broken(error))
    with flowgauge.run(name):
        pass
    handle = observe(registry=registry, serve=False)

    for _ in range(2):
        page = handle.render(accept)
        found = read(page)
        assert found["workflow_runs_total", (("status", "success"), ("workflow", name))] == 1.0
        assert page.body.count(b"# EOF\n") == (page.content_type == text.OPENMETRICS)

    [record] = caplog.records
    assert "measuring failed at metrics of other libraries" in record.getMessage()
    # Nor is our own collector left silent.
    with contextlib.suppress(Exception):
        prometheus_client.generate_latest(registry)
    labels = {"workflow": name, "status": "success"}
    registry.unregister(next(c for c in registry._collector_to_names if isinstance(c, Broken)))
    assert registry.get_sample_value("workflow_runs_total", labels) == 1.0


@pytest.mark.parametrize("accept", ["", PROMETHEUS, NATIVE])
@pytest.mark.parametrize("kind", ["counter", "gauge", "histogram", "summary"])
@pytest.mark.parametrize(
    "taken", ["workflow_runs_total", "workflow_run_duration_seconds", "workflow_active_runs"]
)
def test_a_metric_with_a_name_of_the_vocabulary_costs_the_others_nothing(
    observe, monkeypatch, accept, kind, taken, name
):
    own = MetricsCollector()
    monkeypatch.setattr("flowgauge.view.declared", own)
    metric = getattr(own, kind)(taken, labels=["workflow"])
    (metric.inc if kind in ("counter", "gauge") else metric.observe)(5.0, workflow="mine")
    with flowgauge.run(name):
        pass

    page = observe(serve=False).render(accept)

    if page.content_type == exposition.PROTOBUF:
        assert name.encode() in page.body
        assert messages(page.body) > 10
    else:
        found = read(page)
        assert found["workflow_runs_total", (("status", "success"), ("workflow", name))] == 1.0
        assert found["workflow_active_runs", (("workflow", name),)] == 0.0
        assert found["workflow_run_duration_seconds_count", (("workflow", name),)] == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_may_set_up_again_with_the_registry_that_it_inherits(observe, registry, name):
    observe(registry=registry, serve=False)
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            with flowgauge.run(name):
                pass
            handle = flowgauge.setup_observability(registry=registry, serve=False)
            os.write(writable, handle.render("").body)
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable, "rb") as answer:
        body = answer.read()
    os.waitpid(pid, 0)

    found = read(exposition.Page(body, text.PLAIN))
    assert found["workflow_runs_total", (("status", "success"), ("workflow", name))] == 1.0
    assert found["parcels_total", (("to", 'a "quoted" \\ place\n'),)] == 3.0


# Many at once.


@pytest.mark.parametrize("with_registry", [False, True])
def test_every_page_is_whole_when_many_are_rendered_while_series_appear(
    observe, registry, with_registry, name, monkeypatch
):
    own = MetricsCollector()
    monkeypatch.setattr("flowgauge.view.declared", own)
    counter = own.counter("grown_total", labels=["n"])
    handle = observe(serve=False, **({"registry": registry} if with_registry else {}))
    running, pages, faults = True, [], []
    accepts = ["", PROMETHEUS] if with_registry else ["", PROMETHEUS, NATIVE]

    def grow():
        for i in range(60):
            with flowgauge.run(f"{name}-{i % 30}"), flowgauge.stepping(f"step-{i % 7}"):
                counter.inc(n=i)

    def render(number):
        try:
            while running:
                accept = accepts[(number + len(pages)) % len(accepts)]
                pages.append(handle.render(accept))
        except BaseException as error:
            faults.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        readers = [threading.Thread(target=render, args=(number,)) for number in range(8)]
        growers = [threading.Thread(target=grow) for _ in range(2)]
        for thread in (*readers, *growers):
            thread.start()
        for thread in growers:
            thread.join(60)
    finally:
        running = False
        for thread in readers:
            thread.join(60)
        sys.setswitchinterval(interval)

    assert faults == []
    pages.extend(handle.render(accept) for accept in accepts)
    assert {page.content_type for page in pages} == {handle.render(a).content_type for a in accepts}
    for page in pages[-24:]:
        if page.content_type == exposition.PROTOBUF:
            assert messages(page.body) > 10
            continue
        found = read(page)
        assert found["flowgauge_library_info", (("version", flowgauge.__version__),)] == 1.0
        if with_registry:
            assert found["parcels_total", (("to", 'a "quoted" \\ place\n'),)] == 3.0
        assert page.body.count(b"# EOF\n") == (page.content_type == text.OPENMETRICS)
    final = read(handle.render(""))
    assert sum(v for (made, _), v in final.items() if made == "grown_total") == 120.0
    runs = {k: v for k, v in final.items() if k[0] == "workflow_runs_total" and name in k[1][1][1]}
    assert sum(runs.values()) == 120.0


def test_renderers_are_kept_for_the_next_page_and_one_that_failed_is_not():
    pages = iter([[gauge(1.0)], [gauge("no number")], [gauge(2.0)]])
    made = Exposition(lambda: next(pages))

    made.render("")
    with pytest.raises(TypeError):
        made.render("")
    assert made.render("").body.endswith(b"x 2.0\n")
    assert len(made._renderers) == 1


class Slow(Collector):
    """A collector of somebody else that takes its time, the first time."""

    def __init__(self):
        self.entered, self.go_on = threading.Event(), threading.Event()

    def describe(self):
        return []

    def collect(self):
        self.entered.set()
        assert self.go_on.wait(30)
        return []


def test_our_metrics_stay_in_the_registry_while_a_page_is_rendered_in_another_thread(
    observe, registry, name
):
    with flowgauge.run(name):
        pass
    handle = observe(registry=registry, serve=False)
    slow = Slow()
    registry.register(slow)
    labels = {"workflow": name, "status": "success"}
    thread = threading.Thread(target=handle.render)
    thread.start()
    try:
        assert slow.entered.wait(30)
        registry.unregister(slow)
        assert registry.get_sample_value("workflow_runs_total", labels) == 1.0
    finally:
        slow.go_on.set()
        thread.join(30)
