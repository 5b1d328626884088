"""`flowgauge generate --target prometheus`: files for a Prometheus without Kubernetes. That the real programs take them is in tests/compose."""

import json
from importlib import resources

import pytest
import yaml

from flowgauge_operator import cli
from flowgauge_operator.plain import targets
from flowgauge_operator.plain.targets import Targets

HEAD = "apiVersion: flowgauge.dev/v1alpha1\nkind: MonitoredWorkflow\n"
SECRETS = """\
scrape:
  scheme: https
  tls: {ca: {name: ca, key: ca.crt}, cert: {name: me, key: tls.crt}, keySecret: {name: me, key: tls.key}, serverName: o}
  authorization: {credentials: {name: tokens, key: orders}}
"""
NOTIFY = """\
notify:
  receiver:
    slack: {apiURL: {name: alerts, key: slack}, channel: "#orders"}
    msteams: {webhookURL: {name: alerts, key: teams}}
    opsgenie: {apiKey: {name: alerts, key: genie}, apiURL: "https://api.eu.opsgenie.com/"}
    webhook: {urlSecret: {name: alerts, key: hook}}
    email:
      {to: a@b.example, from: c@d.example, smarthost: "mail:25", authUsername: u, authPassword: {name: alerts, key: mail}}
  page: {pagerduty: {routingKey: {name: alerts, key: pager}}}
"""


def workflow(name="orders", namespace="shop", spec="{}", where=""):
    annotations = {"flowgauge.dev/targets": where} if where else {}
    metadata = json.dumps({"name": name, "namespace": namespace, "annotations": annotations})
    indented = spec.replace("\n", "\n  ")
    return f"{HEAD}metadata: {metadata}\nspec:\n  {indented}\n---\n"


@pytest.fixture(name="generate")
def _generate(tmp_path):
    """Write files for Prometheus; return the exit code and the files."""

    def run(text, *flags, target="prometheus"):
        file, out = tmp_path / "w.yaml", tmp_path / "out"
        file.write_text(text, encoding="utf-8")
        words = ["generate", "-f", str(file), "--out", str(out), "--target", target, *flags]
        code = cli.main(words)
        paths = (path for path in out.rglob("*") if path.is_file())
        return code, {str(path.relative_to(out)): path.read_text() for path in paths}

    return run


def scraped(files, name="shop_orders"):
    (config,) = yaml.safe_load(files[f"scrape/{name}.yml"])["scrape_configs"]
    return config


def test_each_workflow_has_rules_a_scrape_configuration_and_a_dashboard(generate):
    text = workflow("a", where="a:1") + workflow("b", "other", where="b:1")

    code, files = generate(text, "--pushgateway=gateway:9091")

    assert code == 0
    assert sorted(files) == [
        ".flowgauge.json",
        "alertmanager/alertmanager.yml",
        "dashboards/Flowgauge/fleet.json",
        "dashboards/Flowgauge/objectives.json",
        "dashboards/other/other__fleet.json",
        "dashboards/other/other__objectives.json",
        "dashboards/other/other_b.json",
        "dashboards/shop/shop__fleet.json",
        "dashboards/shop/shop__objectives.json",
        "dashboards/shop/shop_a.json",
        "provisioning/dashboards/flowgauge.yaml",
        "rules/other_b.yml",
        "rules/shop_a.yml",
        "scrape/other_b.yml",
        "scrape/pushgateway.yml",
        "scrape/shop_a.yml",
    ]


def test_rules_and_dashboards_are_those_of_the_operator(generate):
    spec = "{selector: {matchLabels: {app: a}}, slos: [{name: s, objective: 99, success: {}}]}"
    _, plain = generate(workflow(spec=spec, where="orders:9090"))
    _, manifests = generate(workflow(spec=spec), target="kubernetes")

    rule = yaml.safe_load(manifests["manifests/shop/prometheusrule-orders-rules.yaml"])
    assert yaml.safe_load(plain["rules/shop_orders.yml"]) == {"groups": rule["spec"]["groups"]}

    def boards(files):
        return {name: text for name, text in files.items() if name.startswith("dashboards/")}

    assert boards(plain) == boards(manifests)
    assert len(boards(plain)) == 5


def test_a_scrape_is_configured_as_the_workflow_says(generate):
    spec = """\
scrape:
  path: /m
  interval: 1m
  timeout: 7s
  limits: {samples: 10, labels: 20}
  nativeHistograms: true
  dropMetrics: ["go_.*", "x"]"""

    _, files = generate(workflow(spec=spec, where="a:1, b:2"))

    assert scraped(files) == {
        "job_name": "flowgauge/shop/orders",
        "scrape_interval": "1m",
        "scrape_timeout": "7s",
        "metrics_path": "/m",
        "scheme": "http",
        "honor_labels": False,
        "sample_limit": 10,
        "label_limit": 20,
        "scrape_native_histograms": True,
        "static_configs": [{"targets": ["a:1", "b:2"]}],
        "relabel_configs": [
            {"target_label": "namespace", "replacement": "shop"},
            {"target_label": "monitored_workflow", "replacement": "orders"},
        ],
        "metric_relabel_configs": [
            {"source_labels": ["__name__"], "regex": "go_.*", "action": "drop"},
            {"source_labels": ["__name__"], "regex": "x", "action": "drop"},
        ],
    }


def test_without_a_word_a_scrape_is_that_of_the_shared_monitor(generate):
    _, files = generate(workflow(spec="{profile: contd}", where="a:1"))

    config = scraped(files)
    assert (config["scrape_interval"], config["scrape_timeout"]) == ("15s", "10s")
    assert (config["sample_limit"], config["label_limit"]) == (50_000, 64)
    assert "metric_relabel_configs" not in config
    assert "scrape_native_histograms" not in config


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("orders:9090", {"static_configs": [{"targets": ["orders:9090"]}]}),
        ("a:1,[::1]:65535,a:1", {"static_configs": [{"targets": ["a:1", "[::1]:65535"]}]}),
        ("dns:9090", {"static_configs": [{"targets": ["dns:9090"]}]}),
        ("dns:o:90", {"dns_sd_configs": [{"names": ["o"], "type": "A", "port": 90}]}),
        ("file:targets/o*.json", {"file_sd_configs": [{"files": ["../targets/o*.json"]}]}),
        ("file:/srv/a b.yml", {"file_sd_configs": [{"files": ["/srv/a b.yml"]}]}),
    ],
)
def test_targets_are_addresses_a_name_or_a_file(text, found):
    assert targets.read(text).discovery() == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "orders",
        "orders:0",
        "orders:65536",
        "orders:port",
        "http://orders:9090",
        "orders:9090/metrics",
        "a:1,,b:2",
        "a:1\nb:2",
        'a"}:1',
        "{{x}}:1",
        "dns:orders:",
        "dns:a:1,b:2",
        "dns:[::1]:1",
        "file:",
        "file:targets",
        "file:*/x.json",
        "file:x\n.json",
        "orders:\u0663",
        "ö:1",
    ],
)
def test_what_is_no_target_is_refused_with_the_forms(text):
    with pytest.raises(ValueError, match=r"write HOST:PORT, .*dns:HOST:PORT.* file:PATH"):
        targets.read(text)


def test_a_flag_wins_over_the_annotation_and_needs_the_namespace_only_where_names_meet(generate):
    text = workflow(where="no:1") + workflow(namespace="bank", where="no:2") + workflow("b")

    _, files = generate(
        text, "--targets=shop/orders=a:1", "--targets=bank/orders=b:2", "--targets= b = c:3 "
    )

    found = [scraped(files, name)["static_configs"] for name in ("shop_orders", "bank_orders")]
    assert found == [[{"targets": ["a:1"]}], [{"targets": ["b:2"]}]]
    assert scraped(files, "shop_b")["static_configs"] == [{"targets": ["c:3"]}]


@pytest.mark.parametrize(
    ("text", "flags", "message"),
    [
        (
            workflow() + workflow("b"),
            [],
            "error: shop/orders: nothing discovers it without Kubernetes; say where its metrics are, by --targets"
            " shop/orders=HOST:PORT or by metadata.annotations[flowgauge.dev/targets]; shop/b: nothing",
        ),
        (workflow(), ["--targets=b=a:1"], "--targets b: no workflow is called so; there are shop/"),
        (
            workflow() + workflow(namespace="bank"),
            ["--targets=orders=a:1"],
            "--targets orders: could be shop/orders and bank/orders; write the namespace as well",
        ),
        (
            workflow(),
            ["--targets=orders=a:1", "--targets=shop/orders=b:1"],
            "--targets shop/orders: is there twice; write all addresses in one",
        ),
        (
            workflow(where="orders"),
            [],
            "shop/orders: metadata.annotations[flowgauge.dev/targets]: 'orders': write HOST:PORT,",
        ),
        (
            workflow(spec="{scrape: {mode: Push}}", where="a:1"),
            [],
            "shop/orders: spec.scrape.mode is Push, so nothing scrapes it; remove its targets, or",
        ),
        (
            workflow().replace('"annotations": {}', '"annotations": {"flowgauge.dev/targets": 9}'),
            [],
            "shop/orders: metadata.annotations: must be texts; quote the value",
        ),
        (
            workflow(spec="{scrape: {dropMetrics: ['(']}}", where="a:1"),
            [],
            "spec.scrape.dropMetrics[0]",
        ),
        (workflow(spec="x", where="a:1"), [], "spec: "),
        (workflow(where="a:1") * 2, [], "shop/orders is there twice; remove one of them"),
    ],
)
def test_what_cannot_be_is_told_and_nothing_is_written(generate, capsys, text, flags, message):
    code, files = generate(text, *flags)

    assert (code, files) == (1, {})
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target=prometheus"], "--target prometheus writes several files; add --out DIR"),
        (["--target=prometheus", "--out=x", "--without-prometheus-operator"], "belongs to --target kubernetes"),
        (["--target=prometheus", "--out=x", "--dashboard-instances=a=b"], "belongs to --target kubernetes"),
        (["--targets=orders=a:1"], "--targets belongs to --target prometheus; remove it, or change"),
        (["--pushgateway=a:1", "--secrets-path=/x"], "--pushgateway, --secrets-path belongs to"),
        (["--target=prometheus", "--out=x", "--targets=orders"], "write NAME=WHERE or NAMESPACE/NAME"),
        (["--target=prometheus", "--out=x", "--targets=orders=a"], "'orders=a': write HOST:PORT"),
        (["--target=prometheus", "--out=x", "--pushgateway=http://a"], "write HOST:PORT, several"),
        (["--target=prometheus", "--out=x", "--secrets-path=run"], "begins with a slash"),
        (["--target=prometheus", "--out="], "argument --out: '': write the path of a folder"),
        (["--target=prometheus", "--out=x", "--dashboards-path=d"], "write a path that begins with a slash"),
        (["--target=compose"], "invalid choice: 'compose'"),
    ],
)  # fmt: skip
def test_wrong_use_is_told_with_the_flag(tmp_path, capsys, words, message):
    file = tmp_path / "w.yaml"
    file.write_text(workflow())

    with pytest.raises(SystemExit) as caught:
        cli.main(["generate", "-f", str(file), *words])

    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_secrets_are_files_and_somebody_is_told_to_put_them_there(generate, capsys):
    _, files = generate(workflow(spec=SECRETS + NOTIFY, where="a:1"), "--secrets-path=/s")

    config = scraped(files)
    assert config["tls_config"] == {
        "ca_file": "/s/shop/ca/ca.crt",
        "cert_file": "/s/shop/me/tls.crt",
        "key_file": "/s/shop/me/tls.key",
        "server_name": "o",
        "insecure_skip_verify": False,
    }
    assert config["authorization"] == {
        "type": "Bearer",
        "credentials_file": "/s/shop/tokens/orders",
    }
    told = capsys.readouterr().err
    for field, reader, path in [
        ("scrape.tls.ca", "Prometheus", "ca/ca.crt"),
        ("scrape.tls.cert", "Prometheus", "me/tls.crt"),
        ("scrape.tls.keySecret", "Prometheus", "me/tls.key"),
        ("scrape.authorization.credentials", "Prometheus", "tokens/orders"),
        ("notify.receiver.slack.apiURL", "Alertmanager", "alerts/slack"),
        ("notify.receiver.msteams.webhookURL", "Alertmanager", "alerts/teams"),
        ("notify.receiver.opsgenie.apiKey", "Alertmanager", "alerts/genie"),
        ("notify.receiver.webhook.urlSecret", "Alertmanager", "alerts/hook"),
        ("notify.receiver.email.authPassword", "Alertmanager", "alerts/mail"),
        ("notify.page.pagerduty.routingKey", "Alertmanager", "alerts/pager"),
    ]:
        assert (
            f"w.yaml: shop/orders: warning: spec.{field}: there are no Secrets without Kubernetes; put the value where"
            f" {reader} reads it, /s/shop/{path}\n"
        ) in told
    assert told.count("warning") == 10


def test_those_whom_notify_names_are_told_by_alertmanager(generate):
    text = workflow(spec=NOTIFY, where="a:1") + workflow("quiet", where="b:1")

    _, files = generate(text)

    config = yaml.safe_load(files["alertmanager/alertmanager.yml"])
    (route,) = config["route"]["routes"]
    assert config["route"]["receiver"] == "nobody"
    assert route["matchers"] == [
        'namespace="shop"',
        'monitored_workflow="orders"',
        'severity!="info"',
    ]
    assert (route["receiver"], route["repeat_interval"]) == ("shop/orders/receiver", "4h")
    assert route["routes"] == [
        {"receiver": "shop/orders/page", "matchers": ['severity="critical"']}
    ]
    nobody, everybody, pager = config["receivers"]
    assert nobody == {"name": "nobody"}
    assert everybody["slack_configs"][0]["api_url_file"] == "/run/secrets/shop/alerts/slack"
    assert everybody["opsgenie_configs"][0]["api_url"] == "https://api.eu.opsgenie.com/"
    assert everybody["email_configs"] == [
        {
            "to": "a@b.example",
            "from": "c@d.example",
            "smarthost": "mail:25",
            "require_tls": True,
            "auth_username": "u",
            "auth_password_file": "/run/secrets/shop/alerts/mail",
            "send_resolved": True,
        }
    ]
    assert everybody["webhook_configs"] == [
        {"url_file": "/run/secrets/shop/alerts/hook", "send_resolved": True}
    ]
    assert pager["name"] == "shop/orders/page"
    key = pager["pagerduty_configs"][0]["routing_key_file"]
    assert key == "/run/secrets/shop/alerts/pager"


def test_who_pushes_needs_a_pushgateway_and_shares_the_shortest_interval(generate, capsys):
    text = workflow("a", spec="{scrape: {mode: Push, interval: 1m}}") + workflow(
        "b", spec="{scrape: {mode: Push, interval: 30s}}"
    )

    generate(text)
    told = capsys.readouterr().err
    assert told.count("spec.scrape.mode: nothing scrapes the Pushgateway that it pushes to; ") == 2

    _, files = generate(text, "--pushgateway=g:9091")
    assert capsys.readouterr().err == ""
    assert scraped(files, "pushgateway") == {
        "job_name": "flowgauge/pushgateway",
        "scrape_interval": "30s",
        "honor_labels": True,
        "static_configs": [{"targets": ["g:9091"]}],
    }
    assert not any("shop_a" in name for name in files if name.startswith("scrape/"))


def test_the_plan_of_a_cronjob_is_said_to_need_more(generate, capsys):
    generate(workflow(spec="{schedule: {cronJob: nightly}}", where="a:1"))

    assert (
        "warning: spec.schedule.cronJob: the plan of a CronJob comes from"
        in capsys.readouterr().err
    )


def test_a_second_run_changes_nothing_and_keeps_what_is_not_ours(generate, tmp_path, capsys):
    both = workflow("a", where="a:1") + workflow("b", where="file:targets/b.json")
    _, first = generate(both)
    own = tmp_path / "out/targets/b.json"
    own.parent.mkdir()
    own.write_text("[]")
    capsys.readouterr()

    _, second = generate(both)
    assert second == first | {"targets/b.json": "[]"}
    assert capsys.readouterr().out.endswith("out is up to date\n")

    _, third = generate(workflow("a", where="a:1"))
    assert not any("_b." in name for name in third)
    assert own.read_text() == "[]"


def test_a_file_of_somebody_else_is_not_overwritten(generate, tmp_path, capsys):
    theirs = tmp_path / "out/scrape/shop_orders.yml"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")

    code, files = generate(workflow(where="a:1"))

    assert code == 1
    assert files == {"scrape/shop_orders.yml": "theirs"}
    assert "exists and was not written by us; move it" in capsys.readouterr().err


def test_no_dashboards_where_none_are_wanted(generate):
    _, files = generate(workflow(spec="{dashboard: {mode: None}}", where="a:1"))

    assert not any("shop_orders.json" in name for name in files)


def test_validate_needs_no_selector_where_there_are_no_pods(tmp_path, capsys):
    file = tmp_path / "w.yaml"
    file.write_text(workflow())

    assert cli.main(["validate", "-f", str(file)]) == 1
    assert "spec.selector is needed" in capsys.readouterr().err
    assert cli.main(["validate", "-f", str(file), "--target=prometheus"]) == 0
    assert capsys.readouterr().out.endswith("shop/orders: valid\n")


def test_validate_reads_where_the_targets_are(tmp_path, capsys):
    file = tmp_path / "w.yaml"
    file.write_text(workflow(where="orders") + workflow("b", where="b:1"))

    assert cli.main(["validate", "-f", str(file), "--target=prometheus"]) == 1
    out, err = capsys.readouterr()
    assert "shop/orders: metadata.annotations[flowgauge.dev/targets]: write HOST:PORT" in err
    assert out.endswith("shop/b: valid\n")


def test_one_address_is_named_once():
    assert targets.addresses("a:1, a:1") == ("a:1",)
    assert targets.given("shop/a=b:1") == ("shop/a", Targets(addresses=("b:1",)))


def test_annotated_pods_are_found_by_no_selector_here_either(generate, capsys):
    code, files = generate(workflow(spec="{scrape: {mode: AnnotatedPods}}", where="a:1"))

    assert (code, capsys.readouterr().err) == (0, "")
    assert scraped(files)["static_configs"] == [{"targets": ["a:1"]}]


def test_a_run_without_a_workflow_removes_nothing(generate, capsys):
    _, before = generate(workflow(where="a:1"))
    contd = resources.files("flowgauge.profiles").joinpath("builtin/contd.yaml").read_text()
    profile = yaml.safe_load(contd) | {"metadata": {"name": "mine"}}

    code, after = generate(yaml.safe_dump(profile))

    assert (code, after) == (1, before)
    assert "there is no MonitoredWorkflow in " in capsys.readouterr().err


def test_what_kubectl_prints_is_read(generate):
    items = [yaml.safe_load(workflow(name, where="a:1").removesuffix("---\n")) for name in "ab"]
    items[0]["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2}
    items[0]["status"] = {"conditions": []}

    code, files = generate(yaml.safe_dump({"apiVersion": "v1", "kind": "List", "items": items}))

    assert code == 0
    assert {"rules/shop_a.yml", "rules/shop_b.yml"} <= files.keys()
