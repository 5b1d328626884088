import copy
import pickle
import threading

import pytest
import receivers
from forked import in_child
from receivers import counter

import flowgauge.exporters
from flowgauge import MetricsCollector
from flowgauge.exporters import ExportError, Flusher, StatsDExporter
from flowgauge.exporters.exporter import Exporter


class Fake(Exporter):
    def __init__(self, error=None, **arguments):
        super().__init__("nowhere", 1.0, **arguments)
        self.error = error
        self.closed = 0

    def _send(self, families, until):
        if self.error:
            raise self.error

    def _send_rest(self, until):
        if self.error:
            raise self.error

    def _let_go(self):
        self.closed += 1
        if isinstance(self.error, MemoryError):
            raise self.error


def test_every_name_of_the_package_is_there():
    for name in flowgauge.exporters.__all__:
        assert getattr(flowgauge.exporters, name).__name__ == name
    assert set(flowgauge.exporters.__all__) <= set(dir(flowgauge.exporters))


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NoSuchExporter"):
        _ = flowgauge.exporters.NoSuchExporter


def test_importing_the_package_loads_nothing():
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"
        "import flowgauge.exporters\n"
        "print(sorted(set(sys.modules) - before - {'typing'}))\n"
    )
    loaded = receivers.in_python(code)

    assert "flowgauge.exporters" in loaded
    assert not {"flowgauge.exporters.", "flowgauge.metrics", "socket"} & set(loaded.split("'"))
    assert "exporters." not in loaded


@pytest.mark.parametrize("duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])  # noqa: S301
def test_an_error_can_be_copied_and_pickled(duplicate):
    error = duplicate(ExportError("StatsDExporter", "host:1", "refused"))

    assert str(error) == "StatsDExporter cannot send to host:1: refused"
    assert (error.exporter, error.destination, error.reason) == (
        "StatsDExporter",
        "host:1",
        "refused",
    )


def test_every_failure_is_an_export_error():
    def families():
        yield counter("a", 1.0)
        raise LookupError("the source is gone")

    with pytest.raises(
        ExportError, match="Fake cannot send to nowhere: LookupError: the source is gone"
    ):
        Fake().export(families())
    with pytest.raises(ExportError, match="ZeroDivisionError"):
        Fake(ZeroDivisionError()).export([])


def test_after_a_failure_the_next_export_is_not_held_up():
    exporter = Fake(OSError("broken"))
    for _ in range(2):
        with pytest.raises(ExportError, match="nowhere: broken"):
            exporter.export([])
    exporter.error = None
    exporter.export([])


def test_secrets_are_taken_out_of_reasons():
    with pytest.raises(ExportError) as caught:
        Fake(OSError("token abc123 is wrong"), secrets=["abc123", ""]).export([])

    assert caught.value.reason == "token *** is wrong"


def test_closing_twice_is_closing_once_and_no_error_leaves_it(caplog):
    for error in (None, OSError("x"), ValueError("y"), MemoryError("z")):
        exporter = Fake(error)
        with exporter:
            pass
        exporter.close()
        assert exporter.closed == 1
    assert "Fake cannot send to nowhere: x" in caplog.text


def test_closing_does_not_wait_for_ever_for_an_export(caplog):
    exporter = Fake()
    exporter._timeout = 0.1
    with exporter._turn:
        thread = threading.Thread(target=exporter.close)
        thread.start()
        thread.join(3)
        assert not thread.is_alive()

    assert "busy" in caplog.text


def test_the_collector_of_the_guide_is_exported(statsd):
    collector = MetricsCollector()
    executions = collector.counter("pipeline_executions_total", labels=["pipeline_name", "status"])
    duration = collector.histogram("pipeline_duration_seconds", labels=["pipeline_name"])
    latency = collector.summary("latency_seconds", quantiles=[0.5])
    executions.inc(pipeline_name="data_processor", status="success")
    duration.observe(1.25, pipeline_name="data_processor")
    latency.observe(0.5)
    statsd_exporter = StatsDExporter(host="localhost", port=statsd.port, prefix="myapp")
    statsd_exporter.export(collector.collect_all())
    executions.inc(2, pipeline_name="data_processor", status="success")
    statsd_exporter.export(collector.collect_all())
    statsd_exporter.close()
    statsd.read()

    assert statsd.counters == {
        "myapp.pipeline_executions_total.data_processor.success": 3,
        "myapp.pipeline_duration_seconds.data_processor.count": 1,
        "myapp.pipeline_duration_seconds.data_processor.sum": 1.25,
        "myapp.latency_seconds.count": 1,
        "myapp.latency_seconds.sum": 0.5,
    }
    assert statsd.gauges["myapp.latency_seconds.p50"] == pytest.approx(0.5, rel=0.02)


def test_parent_and_child_together_send_each_count_once(statsd):
    """The library's own numbers begin at zero in a child, and so does the exporter."""
    collector = MetricsCollector()
    jobs = collector.counter("jobs_total")
    exporter = StatsDExporter("127.0.0.1", statsd.port)
    with Flusher(exporter, collector.collect_all, 600) as flusher:
        jobs.inc(5)
        exporter.export(collector.collect_all())
        jobs.inc(100)  # not sent when the child is made

        def child():
            jobs.inc(7)
            return flusher.stop()

        assert in_child(child) == "True"
    exporter.close()
    statsd.read()

    assert statsd.counters["jobs_total"] == 112
