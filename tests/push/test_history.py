"""Counters that add up over the runs of a job: in the gateway, and as Prometheus sees them."""

import json
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
import urllib.parse
import urllib.request

import pytest

from flowgauge import guard, push
from flowgauge.push import Pusher, PushError
from rig.pytest_plugin import binary


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(guard, "_reported", {})
    for name in ("http_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def run(gateway, job):
    """One run of the job: a process of its own has forgotten what was pushed before."""

    def push_page(page, address=gateway.address, **options):
        push._histories.clear()
        pusher = Pusher(
            address, job, render=lambda: textwrap.dedent(page).encode(), cumulative=True, **options
        )
        pusher.push()
        return pusher

    return push_page


def samples(gateway, job):
    """What the job has, without what the gateway adds."""
    return {
        " ".join([name, *(f"{k}={v}" for k, v in labels if v)]): value
        for (name, *labels), value in gateway.samples(job=job).items()
        if not name.startswith("push_")
    }


def test_counters_go_on_and_gauges_do_not(gateway, run, job):
    page = """\
        # HELP runs_total Runs, "ended".
        # TYPE runs_total counter
        runs_total{status="good"} 1.0
        runs_total{status="bad",why="a \\"b\\" \\\\ c\\nd, e={f}"} 2.0
        # TYPE plain_total counter
        plain_total 1
        # TYPE active gauge
        active 5.0
        # TYPE untold untyped
        untold 5.0
        loose 5.0
        """
    run(page)
    run(page)
    run(page)

    assert samples(gateway, job) == {
        "runs_total status=good": 3,
        'runs_total status=bad why=a "b" \\ c\nd, e={f}': 6,
        "plain_total": 3,
        "active": 5,
        "untold": 5,
        "loose": 5,
    }


def test_series_of_earlier_runs_stay_while_their_metric_exists(gateway, run, job):
    run("""\
        # TYPE errors_total counter
        errors_total{type="ValueError",text="a\\nb\\"c\\\\"} 1
        errors_total 7
        # TYPE gone_total counter
        gone_total 1
        """)
    run("""\
        # TYPE errors_total counter
        errors_total{type="OSError"} 1
        """)

    assert samples(gateway, job) == {
        'errors_total text=a\nb"c\\ type=ValueError': 1,
        "errors_total type=OSError": 1,
        "errors_total": 7,
    }


def test_histograms_and_summaries_go_on(gateway, run, job):
    page = """\
        # TYPE h histogram
        h_bucket{step="a",le="1e-05"} 0
        h_bucket{step="a",le="0.1"} 1
        h_bucket{step="a",le="1.0"} 2
        h_bucket{step="a",le="+Inf"} 3
        h_sum{step="a"} 4.5
        h_count{step="a"} 3
        # TYPE s summary
        s{quantile="0.5"} 7
        s_sum 10
        s_count 2
        """
    run(page)
    run(page)

    assert samples(gateway, job) == {
        "h_bucket le=1e-05 step=a": 0,
        "h_bucket le=0.1 step=a": 2,
        "h_bucket le=1 step=a": 4,
        "h_bucket le=+Inf step=a": 6,
        "h_sum step=a": 9,
        "h_count step=a": 6,
        "s quantile=0.5": 7,
        "s_sum": 20,
        "s_count": 4,
    }


def test_a_histogram_with_other_buckets_begins_anew(gateway, run, job):
    old = '# TYPE h histogram\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n'
    run(old)
    run(old.replace('le="1"', 'le="2"'))

    assert samples(gateway, job) == {
        "h_bucket le=2": 1,
        "h_bucket le=+Inf": 1,
        "h_sum": 1,
        "h_count": 1,
    }


def test_a_metric_of_another_kind_begins_anew(gateway, run, job):
    run("# TYPE x_total counter\nx_total 3\n")
    run("# TYPE x_total gauge\nx_total 1\n")
    assert samples(gateway, job) == {"x_total": 1}
    run("# TYPE x_total counter\nx_total 1\n")

    assert samples(gateway, job) == {"x_total": 1}


def test_the_later_time_of_an_event_stays(gateway, run, job):
    name = "last_success_timestamp_seconds"
    for value in (100.0, 0.0, 200.0, 0.0):
        run(f"# TYPE {name} gauge\n{name} {value}\n")

    assert samples(gateway, job) == {name: 200}


def test_pushes_of_one_process_are_not_added_to_each_other(gateway, job):
    push._histories.clear()
    value = 0

    def page():
        return b"# TYPE x_total counter\nx_total %d\n" % value

    for value in (1, 2):
        Pusher(gateway.address, job, render=page, cumulative=True).push()
        assert samples(gateway, job) == {"x_total": value}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_goes_on_from_what_its_parent_pushed(gateway, run, job):
    pusher = run("# TYPE x_total counter\nx_total 1\n")

    pid = os.fork()
    if pid == 0:
        os._exit(0 if pusher.push_safely() else 1)

    assert os.waitpid(pid, 0)[1] == 0
    assert samples(gateway, job) == {"x_total": 2}


def test_each_group_has_its_own_history(gateway, run, job):
    page = "# TYPE x_total counter\nx_total 1\n"
    run(page, grouping={"shard": 1, "empty": ""})
    run(page, grouping={"shard": 1, "empty": ""})
    run(page, grouping={"shard": 2})
    run(page)

    assert samples(gateway, job) == {"x_total shard=1": 2, "x_total shard=2": 1, "x_total": 1}


def test_a_label_that_the_group_replaces_is_no_other_series(gateway, run, job):
    page = '# TYPE x_total counter\nx_total{shard="of the page",a="b"} 1\n'
    run(page, grouping={"shard": "3"})
    run(page, grouping={"shard": "3"})

    assert samples(gateway, job) == {"x_total a=b shard=3": 2}


def test_a_deleted_group_begins_anew(gateway, run, job):
    page = "# TYPE x_total counter\nx_total 1\n"
    run(page)
    pusher = run(page)

    pusher.delete()
    pusher.push()

    assert samples(gateway, job) == {"x_total": 1}


def test_a_gateway_that_tells_nothing_means_to_begin_anew_and_is_logged(
    gateway, job, caplog, monkeypatch
):
    """As those of another make."""
    push._histories.clear()
    monkeypatch.setattr(push.history, "ADDRESS", "/api/v9/metrics")

    Pusher(gateway.address, job, render=lambda: b"x 1\n", cumulative=True).push()

    assert gateway.value("x", job=job) == 1
    assert "counters begin anew" in caplog.text
    assert "404" in caplog.text


def test_an_answer_that_is_too_long_is_not_used(run, gateway, job, caplog, monkeypatch):
    page = "# TYPE x_total counter\nx_total 1\n"
    run(page)
    monkeypatch.setattr(push.history, "LARGEST_ANSWER", 10)
    run(page)

    assert samples(gateway, job) == {"x_total": 1}
    assert "counters begin anew" in caplog.text


def test_a_gateway_that_does_not_answer_fails_the_push_and_is_asked_again(gateway, job, caplog):
    push._histories.clear()
    page = b"# TYPE x_total counter\nx_total 1\n"
    Pusher(gateway.address, job, render=lambda: page).push()
    absent = Pusher("127.0.0.1:1", job, render=lambda: page, cumulative=True, deadline=0.3)

    with pytest.raises(PushError, match="Connection refused"):
        absent.push()
    assert push._histories == {}


# -- as Prometheus sees it ------------------------------------------------------------------------


@pytest.fixture
def prometheus(gateway, tmp_path):
    """A Prometheus that scrapes the gateway each second, and keeps the labels of what was pushed."""
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "pushgateway",
                "honor_labels": True,
                "static_configs": [{"targets": [gateway.address]}],
            }
        ],
    }
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    process = subprocess.Popen(
        [
            binary("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            "--web.listen-address=127.0.0.1:0",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    address = ""
    for line in process.stderr:
        if found := re.search(r'msg="Listening on" .*address=(\S+)', line):
            address = found[1]
        if "Server is ready" in line:
            break

    # Nobody may have to wait for a full pipe.
    threading.Thread(target=process.stderr.read, daemon=True).start()

    def query(text):
        url = f"http://{address}/api/v1/query?query={urllib.parse.quote(text)}"
        with urllib.request.urlopen(url, timeout=5) as response:
            return json.load(response)["data"]["result"]

    end = time.monotonic() + 20
    while not query("up == 1"):
        assert time.monotonic() < end
        time.sleep(0.1)
    yield query
    process.terminate()
    process.wait(20)
    process.stderr.close()


def test_prometheus_sees_each_run_of_a_cumulative_job_and_none_of_another(gateway, job, prometheus):
    program = textwrap.dedent("""
        import sys, flowgauge.push.batch
        with flowgauge.push.batch.batch("nightly", job=sys.argv[1], cumulative=sys.argv[2] == "yes",
                                     grouping={"namespace": "shop", "monitored_workflow": "nightly"}):
            raise SystemExit(1)
    """)

    def run(cumulative):
        status = subprocess.run(
            [sys.executable, "-c", program, f"{job}-{cumulative}", cumulative],
            env={"FLOWGAUGE_PUSHGATEWAY": gateway.address, "PYTHONPATH": ":".join(sys.path)},
            check=False,
            timeout=20,
        ).returncode
        assert status == 1

    for _ in range(4):
        run("yes")
        run("no")
        time.sleep(1.5)
    time.sleep(1.0)

    owner = 'namespace="shop",monitored_workflow="nightly"'
    runs = f'workflow_runs_total{{status="failed",workflow="nightly",{owner}}}'
    found = {
        sample["metric"]["job"]: float(sample["value"][1])
        for sample in prometheus(f"changes({runs}[1m])")
    }
    # The first value is no change. What `increase` makes of a minute that is not over is not our business.
    assert found == {f"{job}-no": 0, f"{job}-yes": 3}
