"""What the doctor reads: flags, URLs, errors of targets, and answers of something else."""

from __future__ import annotations

import dataclasses

import doctor_scene as scene
import pytest
from doctor_cluster_cases import operators
from doctor_monitoring_cases import alertmanager
from doctor_scene import changed, found, snapshot

from flowgauge_operator.doctor import causes, diagnosis, flags, gather, places, servers
from flowgauge_operator.doctor.finding import Level
from flowgauge_operator.doctor.places import Way
from flowgauge_operator.doctor.servers import Reach
from flowgauge_operator.doctor.snapshot import Access, Unseen

ALL = "/apis/flowgauge.dev/v1alpha1/monitoredworkflows"
OWN = "/apis/flowgauge.dev/v1alpha1/namespaces/shop/monitoredworkflows"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ('Get "http://10.0.0.1:1/": dial tcp 10.0.0.1:1: connect: connection refused', "nobody listens"),
        ("server returned HTTP status 404 Not Found", "not at this path"),
        ("server returned HTTP status 401 Unauthorized", "credentials"),
        ("server returned HTTP status 403 Forbidden", "credentials"),
        ("server returned HTTP status 503 Service Unavailable", "fails while it answers"),
        ("context deadline exceeded", "does not answer in time"),
        ('Get "https://a": http: server gave HTTP response to HTTPS client', "speaks http"),
        ("server returned HTTP status 400 Bad Request", "wants https"),
        ('Get "http://a": net/http: HTTP/1.x transport connection broken: malformed HTTP response "\\x15\\x03"', "wants https"),
        ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate"),
        ("sample limit exceeded", "more than the limit"),
        ("label_limit exceeded (metric: x, number of labels: 99, limit: 64)", "more than the limit"),
        ("body size limit exceeded", "larger than enforcedBodySizeLimit"),
        ("dial tcp 10.0.0.1:9090: i/o timeout", "does not answer in time"),
        ("dial tcp 10.0.0.1:9090: connect: no route to host", "cannot be reached"),
        ('received unsupported Content-Type "text/html; charset=utf-8" and no fallback_scrape_protocol', "no page of metrics"),
        ('expected value after metric, got "<" ("INVALID")', "no page of metrics"),
        ('Get "http://a": EOF', "ends in the middle"),
        ("something new", "could not scrape"),
    ],
)  # fmt: skip
def test_what_a_scrape_failed_of_is_explained(error, words):
    assert words in causes.of(error).meaning
    assert causes.of(error).remedy


def test_flags_are_read_from_arguments_and_environment():
    container = {
        "command": ["/usr/bin/flowgauge-operator", "--leader-elect"],
        "args": ["--prometheus-url", "http://p:9090", "--listen-address=$(POD_IP):8080", "--namespaces=a,b", "--of-tomorrow=1"],
        "env": [
            {"name": "FLOWGAUGE_WORKERS", "value": "3"},
            {"name": "FLOWGAUGE_NAMESPACES", "value": "c"},
            {"name": "FLOWGAUGE_LOG_LEVEL", "valueFrom": {}},
        ],
    }  # fmt: skip

    settings, faults = flags.read(container)

    assert (settings.leader_elect, settings.prometheus_url) == (True, "http://p:9090")
    assert (settings.namespaces, settings.workers) == (("a", "b"), 3)
    assert faults == []


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("http://prometheus-operated.monitoring:9090", Way("monitoring", "prometheus-operated", "9090")),
        ("https://p.m.svc.cluster.local/prom", Way("m", "p", "443", "https", "/prom")),
        ("http://prometheus", Way("flowgauge-system", "prometheus", "80")),
        ("http://10.0.0.1:9090", None),
        ("http://[fd00::1]:9090", None),
        ("https://prometheus.example.com", None),
        ("https://prometheus.eu.example.com", None),
    ],
)  # fmt: skip
def test_a_url_of_the_cluster_is_a_way_through_the_api_server(url, way):
    found_way = places.by_url(url, "flowgauge-system")

    assert found_way == way


def test_a_password_in_a_url_is_shown_to_nobody():
    seen = snapshot(
        operators=operators(
            "--prometheus-url=https://me:secret@p.m:9090", "--grafana-url=x://me:secret@g"
        )
    )

    told = [f.seen for f in found(seen, "operator-flags")]

    assert "secret" not in " ".join(told)
    assert any("--grafana-url 'x://g'" in text for text in told)


class Stray:
    """What answers JSON to everything, and is neither a Prometheus nor an Alertmanager."""

    def __init__(self, answer):
        self._answer = answer

    def through(self, *_):
        return self._answer


@pytest.mark.parametrize(
    "answer", [[], {}, None, "x", 1, {"data": []}, {"status": "success", "data": {"result": 1}}]
)
def test_an_answer_of_something_else_is_no_answer_and_stops_nothing(answer):
    seen = snapshot(alertmanagers=[alertmanager()])

    server, observation = servers.prometheus(Stray(answer), Reach(), seen, "", "")
    seen = changed(dataclasses.replace(seen, prometheus=server), observation=observation)
    seen = dataclasses.replace(
        seen, alertmanager=servers.alertmanager(Stray(answer), Reach(), seen)
    )

    findings = diagnosis.examine(seen)
    assert not [f for f in findings if "the check itself failed" in f.seen]
    assert not [
        f for f in findings if f.check in ("targets", "rules", "families") and f.level is Level.OK
    ]


class Asked:
    """An API server through which nobody answers; it keeps which ways were tried."""

    def __init__(self):
        self.ways = []

    def through(self, way, *_):
        self.ways.append(way.namespace)
        return Unseen("no endpoints")


def test_the_prometheus_that_takes_our_objects_is_asked_first():
    other = scene.prometheus(ruleSelector=None)
    other["metadata"] = {"name": "system", "namespace": "other"}
    api = Asked()

    servers.prometheus(api, Reach(), snapshot(prometheuses=[other, scene.prometheus()]), "", "")

    assert api.ways == ["monitoring", "other"]


def test_ways_of_objects_follow_their_settings():
    body = scene.prometheus(routePrefix="/prom", portName="http", web={"tlsConfig": {"a": 1}})

    assert places.of_prometheus(body).path == (
        "/api/v1/namespaces/monitoring/services/https:prometheus-operated:http/proxy/prom"
    )


def test_rights_are_spelled_as_rbac_does():
    right = Access("", "patch", "flowgauge.dev", "monitoredworkflows", "shop", "", "status")

    assert right.spelled == "patch monitoredworkflows.flowgauge.dev/status"


@pytest.mark.parametrize(
    ("asked", "denied", "paths"),
    [
        ({}, (), [ALL]),
        ({"namespace": "shop"}, (), [OWN]),
        ({"namespace": "shop", "name": "orders"}, (), [ALL]),
        ({"namespace": "shop", "name": "orders"}, (ALL,), [ALL, OWN]),
    ],
)
def test_workflows_are_listed_where_they_are_asked_for(asked, denied, paths):
    listed = []

    class Api:
        def listed(self, path):
            listed.append(path)
            return scene.FORBIDDEN if path in denied else []

    assert gather._workflows(Api(), gather.Request(version="0", **asked)) == []
    assert listed == paths


def test_a_layer_that_knows_no_scrape_jobs_is_observed_all_the_same():
    known = {name: [] for name in ("observed", "families", "firing", "rules")}
    answers = known | {"pools": scene.ABSENT, "runtime": scene.ABSENT}

    seen = servers._observation(scene.workflow(), answers)

    assert (seen.error, seen.pools) == ("", None)
