import pytest

from flowgauge import profiles
from flowgauge_operator import model
from flowgauge_operator.render import Capabilities, Options, render, scrape, shared

NOTHING = Capabilities(frozenset())
EVERYTHING = Capabilities()


def made(profile="workflow", capabilities=EVERYTHING, options=None, name="orders", **spec):
    body = {"profile": profile, "selector": {"matchLabels": {"app": "orders"}}, **spec}
    workflow = model.parse({"metadata": {"name": name, "namespace": "shop"}, "spec": body})
    return render(workflow, profiles.builtin(profile), capabilities, options or Options())


def children(rendered):
    return [(child["kind"], child["metadata"]["name"]) for child in rendered.children]


def child(rendered, kind):
    return next(child for child in rendered.children if child["kind"] == kind)


RULES = ("PrometheusRule", "orders-rules")
BOARD = ("ConfigMap", "orders-dashboard")
SERVICE = ("Service", "orders-metrics")


@pytest.mark.parametrize(
    ("spec", "expected", "shares", "pool", "is_scraped"),
    [
        (
            {},
            [SERVICE, RULES, BOARD],
            True,
            "serviceMonitor/shop/flowgauge-shared/0",
            True,
        ),
        (
            {"scrape": {"scheme": "https"}},
            [SERVICE, ("ServiceMonitor", "orders-flowgauge"), RULES, BOARD],
            False,
            "serviceMonitor/shop/orders-flowgauge/0",
            True,
        ),
        (
            {"scrape": {"mode": "PodMonitor"}},
            [("PodMonitor", "orders-flowgauge"), RULES, BOARD],
            False,
            "podMonitor/shop/orders-flowgauge/0",
            True,
        ),
        ({"scrape": {"mode": "Annotations"}}, [SERVICE, RULES, BOARD], False, None, True),
        ({"scrape": {"mode": "Push"}}, [RULES, BOARD], False, None, False),
        ({"scrape": {"mode": "None"}}, [RULES, BOARD], False, None, False),
        (
            {"dashboard": {"mode": "None"}},
            [SERVICE, RULES],
            True,
            "serviceMonitor/shop/flowgauge-shared/0",
            True,
        ),
    ],
)
def test_each_way_of_scraping_has_its_children(spec, expected, shares, pool, is_scraped):
    rendered = made(**spec)

    assert children(rendered) == expected
    assert (shared.MONITOR in rendered.shares, rendered.pool, rendered.is_scraped) == (
        shares,
        pool,
        is_scraped,
    )
    assert rendered.notes == ()


SECRET = {"name": "s", "key": "k"}


@pytest.mark.parametrize(
    ("given", "is_own"),
    [
        ({}, False),
        ({"port": 8080, "path": "/m", "interval": "1m", "timeout": "5s"}, False),
        ({"scheme": "https"}, True),
        ({"authorization": {"credentials": SECRET}}, True),
        ({"limits": {"samples": 10}}, True),
        ({"dropMetrics": ["go_.*"]}, True),
        ({"nativeHistograms": True}, True),
    ],
)
def test_only_what_an_annotation_cannot_say_needs_a_monitor_of_its_own(given, is_own):
    rendered = made(scrape=given)

    assert (shared.MONITOR in rendered.shares) is not is_own
    assert ("ServiceMonitor" in dict(children(rendered))) == is_own
    assert child(rendered, "Service")["metadata"]["labels"][scrape.SCRAPED_BY] == (
        "own" if is_own else "shared"
    )


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        (
            "ServiceMonitor",
            "ServiceMonitor is not available: the Service carries prometheus.io annotations instead",
        ),
        (
            "PodMonitor",
            "PodMonitor is not available: the Service carries prometheus.io annotations instead",
        ),
    ],
)
def test_without_prometheus_operator_the_service_is_annotated(mode, note):
    rendered = made(capabilities=NOTHING, scrape={"mode": mode, "port": 8080})

    annotations = child(rendered, "Service")["metadata"]["annotations"]
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/port"] == "8080"
    assert rendered.notes[0] == note
    assert (shared.MONITOR in rendered.shares, rendered.pool) == (False, None)


def test_without_prometheus_operator_the_rules_are_a_config_map():
    rendered = made(capabilities=NOTHING)

    rules = next(c for c in rendered.children if c["metadata"]["name"] == "orders-rules")
    assert (rules["kind"], list(rules["data"])) == ("ConfigMap", ["shop_orders.yaml"])
    assert rules["metadata"]["labels"]["flowgauge.dev/rules"] == "true"
    assert rendered.notes[-1].startswith(
        "PrometheusRule is not available: rules are in a ConfigMap"
    )


def test_a_pod_that_is_not_ready_is_scraped_too():
    spec = child(made(), "Service")["spec"]

    assert (spec["clusterIP"], spec["publishNotReadyAddresses"]) == ("None", True)
    assert spec["selector"] == {"app": "orders"}


@pytest.mark.parametrize(
    ("profile", "given", "expected"),
    [
        ("workflow", {}, (9090, "metrics")),
        ("contd", {}, (9090, 9090)),
        ("workflow", {"port": 8080}, (8080, 8080)),
        ("contd", {"port": "web"}, (9090, "web")),
    ],
)
def test_the_port_is_the_workflows_or_else_the_profiles(profile, given, expected):
    port = child(made(profile, scrape=given), "Service")["spec"]["ports"][0]

    assert (port["name"], port["port"], port["targetPort"]) == ("metrics", *expected)


@pytest.mark.parametrize(
    ("given", "timeout"),
    [
        ({}, "10s"),
        ({"interval": "5s"}, "5s"),
        ({"interval": "1m"}, "10s"),
        ({"timeout": "2s"}, "2s"),
    ],
)
def test_the_timeout_never_exceeds_the_interval(given, timeout):
    annotations = child(made(scrape=given), "Service")["metadata"]["annotations"]

    assert annotations["flowgauge.dev/timeout"] == timeout


@pytest.mark.parametrize(
    ("port", "expected"), [(8080, {"portNumber": 8080}), ("web", {"port": "web"})]
)
def test_a_pod_monitor_names_its_port_by_name_or_number(port, expected):
    endpoint = child(made(scrape={"mode": "PodMonitor", "port": port}), "PodMonitor")["spec"][
        "podMetricsEndpoints"
    ][0]

    assert expected.items() <= endpoint.items()
    assert endpoint["relabelings"] == [
        {"action": "replace", "targetLabel": "monitored_workflow", "replacement": "orders"}
    ]


def test_a_monitor_of_its_own_carries_everything_that_was_asked_for():
    given = {
        "scheme": "https",
        "tls": {"ca": SECRET, "cert": SECRET, "keySecret": SECRET, "serverName": "x"},
        "authorization": {"credentials": SECRET},
        "limits": {"samples": 10},
    }

    spec = child(made(scrape=given), "ServiceMonitor")["spec"]

    assert (spec["sampleLimit"], spec["labelLimit"]) == (10, 64)
    endpoint = spec["endpoints"][0]
    assert endpoint["tlsConfig"] == {
        "insecureSkipVerify": False,
        "ca": {"secret": SECRET},
        "cert": {"secret": SECRET},
        "keySecret": SECRET,
        "serverName": "x",
    }
    assert endpoint["authorization"] == {"type": "Bearer", "credentials": SECRET}


@pytest.mark.parametrize("mode", ["ServiceMonitor", "PodMonitor"])
def test_native_histograms_are_asked_for_by_who_wants_them(mode):
    def spec(**given):
        rendered = made(scrape={"mode": mode, "limits": {"samples": 10}, **given})
        return child(rendered, mode)["spec"]

    assert spec(nativeHistograms=True) == spec() | {"scrapeNativeHistograms": True}


@pytest.mark.parametrize("given", [{"scheme": "https"}, {"mode": "PodMonitor"}])
def test_a_monitor_never_reaches_beyond_its_namespace_nor_trusts_labels(given):
    monitor = next(c for c in made(scrape=given).children if c["kind"].endswith("Monitor"))

    endpoints = monitor["spec"].get("endpoints") or monitor["spec"]["podMetricsEndpoints"]
    assert "namespaceSelector" not in monitor["spec"]
    assert [endpoint["honorLabels"] for endpoint in endpoints] == [False]
    assert monitor["spec"]["sampleLimit"] > 0


def test_the_shared_monitor_selects_only_what_we_manage():
    spec = scrape.shared_monitor("shop", {"release": "kps"})["spec"]

    assert spec["selector"]["matchLabels"] == {
        "app.kubernetes.io/managed-by": "flowgauge",
        "flowgauge.dev/scraped-by": "shared",
    }
    assert (spec["sampleLimit"], spec["labelLimit"]) == (50000, 64)
    assert spec["endpoints"][0]["honorLabels"] is False


def test_one_bad_regular_expression_leaves_the_others():
    rendered = made(scrape={"dropMetrics": ["go_.*", "(", "python_.*"]})

    assert [(p.path, p.reason) for p in rendered.problems] == [
        ("spec.scrape.dropMetrics[1]", "InvalidRegex")
    ]
    endpoint = child(rendered, "ServiceMonitor")["spec"]["endpoints"][0]
    assert [r["regex"] for r in endpoint["metricRelabelings"]] == ["go_.*", "python_.*"]


def test_a_time_zone_that_does_not_exist_is_a_problem():
    rendered = made(schedule={"cron": "@daily", "timeZone": "Europe/Atlantis"})

    assert [(p.path, p.reason) for p in rendered.problems] == [
        ("spec.schedule.timeZone", "UnknownTimeZone")
    ]


@pytest.mark.parametrize("schedule", [None, {"cron": "@daily"}])
def test_a_profile_without_metrics_and_a_workflow_without_a_cronjob_have_nothing_to_watch(schedule):
    rendered = made("cronjob", schedule=schedule)

    assert [(p.path, p.reason) for p in rendered.problems] == [
        ("spec.schedule.cronJob", "InvalidSpec")
    ]
    assert made("cronjob", schedule={"cronJob": "nightly"}).problems == ()


def test_labels_of_the_settings_reach_monitors_rules_and_dashboards():
    options = Options(
        monitor_labels={"m": "1"}, rule_labels={"r": "2"}, dashboard_labels={"d": "3"}
    )

    rendered = made(options=options, scrape={"scheme": "https"})

    found = {c["kind"]: c["metadata"]["labels"] for c in rendered.children}
    assert found["ServiceMonitor"]["m"] == "1"
    assert found["PrometheusRule"]["r"] == "2"
    assert found["ConfigMap"]["d"] == "3"


@pytest.mark.parametrize("name", ["9orders", "a.b.c", "x" * 63, "0." + "y" * 61])
def test_children_of_odd_names_are_valid_objects(name):
    names = [name for _, name in children(made(name=name, scrape={"scheme": "https"}))]

    assert all(len(n) <= 63 and n[0].isalpha() and "." not in n for n in names)
    assert len(set(names)) == 4


@pytest.mark.parametrize(
    ("given", "folder"), [({}, "shop"), ({"folder": "Orders & more"}, "Orders & more")]
)
def test_a_dashboard_lands_in_a_folder(given, folder):
    board = child(made(dashboard=given), "ConfigMap")

    assert board["metadata"]["annotations"]["grafana_folder"] == folder


def test_the_required_families_are_looked_for_by_a_sample_that_they_have():
    assert made("contd").required == (
        "contd_workflow_duration_seconds_count",
        "contd_workflows_completed_total",
    )
