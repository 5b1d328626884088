"""TTA.dev's module: the programs of its users, then the exporter, with prometheus_client and without."""

import os
import signal
import threading
import time

import pytest
from programs import Page, free_port, get, page_of, printed, programs, run, started
from prometheus_client import REGISTRY, generate_latest

from flowgauge import guard
from flowgauge.compat import ia_modules, tta_dev
from flowgauge.compat.tta_dev import PrometheusExporter, get_prometheus_exporter

PROGRAMS = programs("tta_dev")

# As the guide shows it, without its dots.
EXPECTED = """\
# HELP primitive_duration_seconds Primitive execution duration in seconds
# TYPE primitive_duration_seconds histogram
primitive_duration_seconds_bucket{le="0.001",primitive_name="api_process",primitive_type="api"} 0.0
primitive_duration_seconds_bucket{le="0.01",primitive_name="api_process",primitive_type="api"} 5.0
primitive_duration_seconds_sum{primitive_name="api_process",primitive_type="api"} 12.3
primitive_duration_seconds_count{primitive_name="api_process",primitive_type="api"} 100.0

# HELP primitive_requests_total Total number of primitive executions
# TYPE primitive_requests_total counter
primitive_requests_total{primitive_name="api_process",primitive_type="api",status="success"} 95.0
primitive_requests_total{primitive_name="api_process",primitive_type="api",status="failure"} 5.0

# HELP primitive_slo_compliance SLO compliance ratio (0.0 to 1.0)
# TYPE primitive_slo_compliance gauge
primitive_slo_compliance{primitive_name="api_process",primitive_type="api"} 0.99
"""
# What its queries are about besides.
QUERIED = """\
# TYPE primitive_error_budget_remaining gauge
primitive_error_budget_remaining{primitive_name="api_process",primitive_type="api"} 1.0
# TYPE primitive_active_requests gauge
primitive_active_requests{primitive_name="api_process",primitive_type="api"} 0.0
# TYPE primitive_cost_total counter
# TYPE primitive_cost_savings gauge
"""
WITHOUT_CLIENT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "prometheus_client":
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Refuse())
"""


@pytest.fixture(autouse=True)
def unheard(monkeypatch):
    """Each test hears the warnings that another has had."""
    monkeypatch.setattr(guard, "_reported", {})


@pytest.fixture
def exporter():
    return get_prometheus_exporter()


def scraped():
    return Page(generate_latest(REGISTRY).decode())


def test_the_tests_are_about_all_programs():
    assert sorted(PROGRAMS) == ["count", "flask", "limit"]


def test_the_flask_application_shows_what_its_guide_shows():
    port = free_port()
    changes = [("5000", str(port)), ("0.0.0.0", "127.0.0.1")]  # noqa: S104 - what is replaced

    with started(PROGRAMS["flask"], changes=changes):
        empty = Page(get(f"http://127.0.0.1:{port}/metrics"))
        answers = {get(f"http://127.0.0.1:{port}/api/process") for _ in range(3)}
        page = Page(get(f"http://127.0.0.1:{port}/metrics"))

    assert "# TYPE primitive_duration_seconds histogram" in empty.lines
    assert answers == {'{"status":"success"}\n'}
    assert page.lacks(EXPECTED) == []
    assert page.lacks(QUERIED) == []
    # To the letter.
    api = 'primitive_name="api_process",primitive_type="api"'
    assert f'primitive_requests_total{{{api},status="success"}} 3.0' in page.lines
    assert f'primitive_requests_total{{{api},status="failure"}} 0.0' in page.lines
    assert f"primitive_duration_seconds_count{{{api}}} 3.0" in page.lines
    assert f'primitive_duration_seconds_bucket{{le="+Inf",{api}}} 3.0' in page.lines
    # The registry is that of the program: it has other collectors too, each family once.
    assert page.text.count("# TYPE process_cpu_seconds_total counter") == 1
    assert page.text.count("# TYPE primitive_requests_total counter") == 1


def test_the_program_that_counts_prints_what_there_is_and_what_may_be():
    before = """
        from flowgauge.compat.tta_dev import get_prometheus_exporter
        for name in ("a", "b"):
            get_prometheus_exporter().record_execution(name, "api", 0.1, success=True)
        get_prometheus_exporter().record_execution("a", "llm", 0.1, success=False)
    """

    out = run(PROGRAMS["count"], before=before)

    assert out == "Label combinations: 3\nMax allowed: 500\n"


def test_the_program_that_limits_hides_nothing_from_a_scrape():
    before = """
        from prometheus_client import REGISTRY, generate_latest
        from flowgauge.compat.tta_dev import get_prometheus_exporter
        exporter = get_prometheus_exporter()
        exporter.record_execution("pay", "critical", 0.1, success=True)
        exporter.record_execution("log", "minor", 0.1, success=True)
    """

    out = run(PROGRAMS["limit"], before=before, after="print(generate_latest(REGISTRY).decode())")

    for labels in ('primitive_name="pay",primitive_type="critical"', 'primitive_name="log"'):
        assert f"primitive_requests_total{{{labels}" in out


def test_one_type_may_be_exported_by_itself(exporter, name):
    exporter.record_execution(f"{name}-pay", f"{name}-critical", 0.1, success=True)
    exporter.record_execution(f"{name}-log", f"{name}-minor", 0.1, success=True)
    text = ia_modules.PrometheusExporter()

    text.export(exporter.export_metrics(primitive_type=f"{name}-critical"))
    page = Page(text.get_metrics_text())

    assert {sample.labels["primitive_name"] for sample in page.samples} == {f"{name}-pay"}
    labels = {"primitive_name": f"{name}-pay", "primitive_type": f"{name}-critical"}
    assert page.value("primitive_requests_total", status="success", **labels) == 1
    assert page.value("primitive_duration_seconds_count", **labels) == 1
    text.export(exporter.export_metrics())
    assert f'primitive_name="{name}-log"' in text.get_metrics_text()


def test_executions_are_counted_by_success_and_type(exporter, name):
    for _ in range(19):
        exporter.record_execution(name, "api", duration_seconds=0.05, success=True)
    exporter.record_execution(
        primitive_name=name,
        primitive_type="api",
        duration_seconds=7,
        success=False,
        error_type="OSError",
    )
    exporter.record_execution(name, "llm", 0.0005, True)
    page = scraped()

    api = {"primitive_name": name, "primitive_type": "api"}
    llm = api | {"primitive_type": "llm"}
    assert page.value("primitive_requests_total", status="success", **api) == 19
    assert page.value("primitive_requests_total", status="failure", **api) == 1
    assert page.value("primitive_requests_total", status="success", **llm) == 1
    assert page.value("primitive_errors_total", error_type="OSError", **api) == 1
    assert page.value("primitive_duration_seconds_sum", **api) == pytest.approx(7.95)
    assert page.bounds("primitive_duration_seconds", **llm) == [
        "0.001",
        "0.01",
        "0.1",
        "0.5",
        "1.0",
        "2.0",
        "5.0",
        "10.0",
        "30.0",
        "+Inf",
    ]
    assert page.value("primitive_duration_seconds_bucket", le="0.1", **api) == 19
    assert page.value("primitive_duration_seconds_bucket", le="0.001", **llm) == 1
    assert page.value("primitive_active_requests", **api) == 0
    # Of a budget of one in a hundred, five were spent.
    assert page.value("primitive_slo_compliance", **api) == pytest.approx(0.95)
    assert page.value("primitive_error_budget_remaining", **api) == 0
    assert page.value("primitive_error_budget_remaining", **llm) == 1


def test_the_budget_is_what_the_objective_leaves():
    out = run(
        "",
        before="""
            from prometheus_client import REGISTRY, generate_latest
            from flowgauge.compat.tta_dev import get_prometheus_exporter
            exporter = get_prometheus_exporter(objective=90)
            for success in [True] * 19 + [False]:
                exporter.record_execution("a", "api", 0.1, success)
            print(generate_latest(REGISTRY).decode(), end="")
        """,
    )

    labels = {"primitive_name": "a", "primitive_type": "api"}
    assert Page(out).value("primitive_error_budget_remaining", **labels) == pytest.approx(0.5)


def test_cost_and_savings_are_by_category(exporter, name):
    exporter.record_execution(name, "llm", 1.0, True, cost=0.25, category="tokens")
    exporter.record_execution(name, "llm", 1.0, True, cost=0.5, savings=0.125, category="tokens")
    exporter.record_execution(name, "llm", 1.0, True, savings=1.0, category="cache")
    exporter.record_cost(name, 2.0, "llm", category="images")
    page = scraped()

    labels = {"primitive_name": name, "primitive_type": "llm"}
    assert page.value("primitive_cost_total", category="tokens", **labels) == 0.75
    assert page.value("primitive_cost_savings", category="tokens", **labels) == 0.125
    assert page.value("primitive_cost_total", category="images", **labels) == 2
    assert page.value("primitive_cost_savings", category="images", **labels) == 0
    assert page.value("primitive_cost_savings", category="cache", **labels) == 1


def test_a_tracked_block_is_active_while_it_runs_and_an_execution_afterwards(exporter, name):
    labels = {"primitive_name": name, "primitive_type": "api"}
    with exporter.track(name, "api"):
        exporter.record_execution(name, "api", 0.1, success=True)
        during = scraped()
    with pytest.raises(KeyError), exporter.track(name, "api"):
        raise KeyError
    after = scraped()

    assert during.value("primitive_active_requests", **labels) == 1
    assert during.value("primitive_requests_total", status="success", **labels) == 1
    assert after.value("primitive_active_requests", **labels) == 0
    assert after.value("primitive_requests_total", status="success", **labels) == 2
    assert after.value("primitive_requests_total", status="failure", **labels) == 1
    assert after.value("primitive_errors_total", error_type="KeyError", **labels) == 1
    assert after.value("primitive_duration_seconds_count", **labels) == 3


def test_what_is_recorded_wrongly_is_logged_and_never_raised(exporter, name, caplog):
    exporter.record_execution(name, None, "long", True)
    exporter.record_execution(name, "api", -1, True, cost="much")

    assert "measuring failed at record" in caplog.text
    assert "a duration cannot be -1.0 seconds" in caplog.text
    assert "measuring failed at counter" in caplog.text
    labels = {"primitive_name": name, "primitive_type": "api"}
    assert scraped().value("primitive_requests_total", status="success", **labels) == 1


def test_the_count_is_of_pairs_of_name_and_type(exporter, name):
    before = exporter.get_metrics_count()
    exporter.record_execution(name, "api", 0.1, True)
    exporter.record_execution(name, "api", 0.1, False)
    exporter.record_execution(name, "llm", 0.1, True, cost=1, category="tokens")
    after = exporter.get_metrics_count()

    assert after["label_combinations"] == before["label_combinations"] + 2
    assert after["max_combinations"] == 500
    assert after["metrics"] == before["metrics"] >= 7
    assert after["series"] > before["series"]
    assert after["dropped"] == before["dropped"]


def test_primitives_beyond_the_limit_share_a_series_and_are_told():
    before = """
        from flowgauge.compat.tta_dev import get_prometheus_exporter
        for i in range(600):
            get_prometheus_exporter().record_execution(f"p{i}", "api", 0.1, success=True)
    """

    out = run(
        PROGRAMS["count"],
        before=before,
        after="print(metrics['dropped'])",
        logged=r"more than 500 runs of different names.*",
    )

    assert out == "Label combinations: 501\nMax allowed: 500\n100\n"


def test_there_is_one_exporter_and_it_is_registered_once(monkeypatch):
    made, barrier = [], threading.Barrier(8)

    class Slow:
        objective = 99.0

        def __init__(self, _):
            time.sleep(0.05)

    monkeypatch.setattr(tta_dev, "PrometheusExporter", Slow)
    monkeypatch.setattr(tta_dev, "_exporter", None)

    def get():
        barrier.wait()
        made.append(get_prometheus_exporter())

    threads = [threading.Thread(target=get) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.undo()

    assert len(made) == 8
    assert len(set(map(id, made))) == 1
    assert get_prometheus_exporter() is get_prometheus_exporter()
    assert generate_latest(REGISTRY).decode().count("# TYPE primitive_requests_total ") == 1


def test_the_objective_is_that_of_the_first_call(exporter):
    assert get_prometheus_exporter(objective=exporter.objective) is exporter
    with pytest.raises(ValueError, match=r"objective is 50, but the exporter was made with 99\.0"):
        get_prometheus_exporter(objective=50)
    with pytest.raises(
        ValueError, match="objective is 100, must be a percentage between 0 and 100"
    ):
        PrometheusExporter(objective=100)


def test_a_program_with_the_metric_of_another_library_is_told_at_the_start():
    run(
        "",
        before="""
            from prometheus_client import Counter
            from flowgauge.compat.tta_dev import get_prometheus_exporter
            Counter("primitive_requests_total", "Somebody else's.")
            try:
                get_prometheus_exporter()
            except ValueError as error:
                assert "primitive_requests" in str(error)
            else:
                raise AssertionError
        """,
    )


def test_a_registry_that_was_set_up_has_the_families_already():
    out = run(
        "",
        before="""
            import flowgauge
            from prometheus_client import REGISTRY, generate_latest
            from flowgauge.compat.tta_dev import get_prometheus_exporter
            flowgauge.setup_observability(profile="tta-dev", registry=REGISTRY, serve=False)
            get_prometheus_exporter().record_execution("a", "api", 0.1, success=True)
            print(generate_latest(REGISTRY).decode(), end="")
        """,
    )

    labels = {"primitive_name": "a", "primitive_type": "api", "status": "success"}
    assert Page(out).value("primitive_requests_total", **labels) == 1


def test_the_programs_endpoint_may_serve_it_beside_the_registry():
    port = free_port()

    out = run(
        "",
        before=f"""
            import flowgauge
            from flowgauge.compat.tta_dev import get_prometheus_exporter
            exporter = get_prometheus_exporter()
            flowgauge.setup_observability(profile="tta-dev", port={port})
            exporter.record_execution("a", "api", 0.1, success=True)
        """,
        after=page_of(port),
    )

    labels = {"primitive_name": "a", "primitive_type": "api", "status": "success"}
    assert printed(out).value("primitive_requests_total", **labels) == 1


def test_it_works_where_prometheus_client_is_not_installed():
    port = free_port()

    out = run(
        "",
        before=f"""{WITHOUT_CLIENT}
import flowgauge
from flowgauge.compat.tta_dev import get_prometheus_exporter
exporter = get_prometheus_exporter()
assert exporter.registered is False
exporter.record_execution("api_process", "api", 0.1, success=True, cost=1, savings=1)
with exporter.track("api_process", "api"):
    pass
exporter.export_metrics(primitive_type="app")
assert exporter.get_metrics_count()["label_combinations"] == 1
flowgauge.setup_observability(profile="tta-dev", port={port})
""",
        after=f"{page_of(port)}\nassert not [m for m in sys.modules if m.startswith('prometheus_client')]",
    )

    page = printed(out)
    assert page.lacks(EXPECTED) == []
    assert page.lacks(QUERIED) == []
    api = 'primitive_name="api_process",primitive_type="api"'
    assert f'primitive_requests_total{{{api},status="success"}} 2.0' in page.lines


def test_a_forked_child_counts_from_zero_with_the_same_exporter(exporter, name):
    exporter.record_execution(name, "api", 0.1, True)
    held, release = threading.Event(), threading.Event()

    def hold():
        with tta_dev._lock:
            held.set()
            release.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait(10)
    child = os.fork()
    if not child:
        signal.alarm(20)  # a lock that is held for ever must not hold the test
        try:
            labels = {"primitive_name": name, "primitive_type": "api", "status": "success"}
            same = get_prometheus_exporter() is exporter
            with tta_dev._lock:
                exporter.record_execution(name, "api", 0.1, True)
            os._exit(
                0 if same and scraped().value("primitive_requests_total", **labels) == 1 else 1
            )
        finally:
            os._exit(2)
    release.set()
    holder.join()
    assert os.waitpid(child, 0)[1] == 0
