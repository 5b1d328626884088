"""What `flowgauge generate --target prometheus` writes is taken by the real programs, and the compose file by its schema."""

import json
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from hostile import HOSTILE

from flowgauge import profiles
from flowgauge_operator import cli
from rig import compose, parts
from rig.pytest_plugin import binary

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples/compose"
HEAD = {"apiVersion": "flowgauge.dev/v1alpha1", "kind": "MonitoredWorkflow"}
SLOS = [
    {"name": "success", "objective": 99.5, "success": {}},
    {"name": "fast", "objective": 95, "latency": {"threshold": "1s", "rounding": "Up"}},
]
SCRAPES = {
    "plain": {},
    "dropped": {"dropMetrics": ["go_.*", "a|b", r"x\$1", "'\"#{}"], "limits": {"samples": 9}},
    "secret": {
        "scheme": "https",
        "tls": {"ca": {"name": "ca", "key": "ca.crt"}, "serverName": "orders: # x"},
        "authorization": {"credentials": {"name": "token", "key": "t"}},
    },
    "native": {"nativeHistograms": True, "path": "/a~b/%2F", "interval": "2m", "timeout": "1m"},
}
WHERE = ["a:1,[::1]:2", "dns:a_b.c:3", "file:targets/x*.json", "file:/srv/{{ x }} # y.yml"]
KEY = {"name": "alerts", "key": "k"}
NOTIFY = {
    "receiver": {
        "slack": {"apiURL": KEY, "channel": "#a: 'b' \"c\" \\ $d"},
        "msteams": {"webhookURL": KEY},
        "opsgenie": {"apiKey": KEY, "apiURL": "https://api.eu.opsgenie.com/"},
        "webhook": {"url": "http://hooks:8080/a?b=c&d=%20"},
        "email": {"to": "a@b.example", "from": "c@d.example", "smarthost": "mail:25"},
    },
    "page": {"pagerduty": {"routingKey": KEY}, "webhook": {"urlSecret": KEY}},
    "groupBy": ["team"],
    "groupWait": "0s",
    "repeatInterval": "1w",
}


def written(tmp_path, workflows, *flags):
    source, out = tmp_path / "w.yaml", tmp_path / "out"
    source.write_text(yaml.safe_dump_all(workflows), encoding="utf-8")
    words = ["generate", "-f", str(source), "--target=prometheus", "--out", str(out), *flags]
    assert cli.main(words) == 0
    return out


def workflow(name, where="a:1", **spec):
    annotations = {"flowgauge.dev/targets": where} if where else {}
    metadata = {"name": name, "namespace": "shop", "annotations": annotations}
    return {**HEAD, "metadata": metadata, "spec": spec}


def checked(tool, *words):
    return subprocess.run([binary(tool), *words], check=False, capture_output=True, text=True)


@pytest.mark.parts
def test_prometheus_takes_every_form_of_scrape_and_the_rules_of_every_profile(tmp_path):
    named = [
        workflow(f"{kind}-{i}", where, scrape=scrape, slos=SLOS)
        for kind, scrape in SCRAPES.items()
        for i, where in enumerate(WHERE)
    ]
    named += [
        workflow(name, profile=name) for name in profiles.names() if profiles.builtin(name).families
    ]
    secrets = tmp_path / "secrets"
    for path in ("ca/ca.crt", "token/t"):
        (secrets / "shop" / path).parent.mkdir(parents=True)
        (secrets / "shop" / path).write_text("x")
    out = written(tmp_path, named, "--pushgateway=g:9091,h:1", f"--secrets-path={secrets}")
    config = {
        "rule_files": [f"{out}/rules/*.yml"],
        "scrape_config_files": [f"{out}/scrape/*.yml"],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))

    told = checked("promtool", "check", "config", "--lint=all", str(tmp_path / "prometheus.yml"))

    assert told.returncode == 0, told.stderr
    assert len(re.findall(r"SUCCESS: \d+ rules found", told.stdout)) == len(named)
    assert len(list(out.glob("scrape/*.yml"))) == len(named) + 1


@pytest.mark.parts
def test_no_text_breaks_out_of_a_rule_file(tmp_path):
    texts = [text for text in HOSTILE if text.isprintable() and 0 < len(text.strip()) <= 256]
    extra = [
        {"name": f"A{i}", "expr": "vector(1)", "summary": text, "labels": {"team": text}}
        for i, text in enumerate(texts)
    ]
    named = [
        workflow(f"w{i}", alerts={"extra": extra[i : i + 32]}) for i in range(0, len(extra), 32)
    ]
    out = written(tmp_path, named)

    told = checked("promtool", "check", "rules", *map(str, out.glob("rules/*.yml")))

    assert told.returncode == 0, told.stdout
    rules = [
        rule
        for file in out.glob("rules/*.yml")
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
        if re.fullmatch(r"A\d+", rule.get("alert", "").removeprefix("Workflow"))
    ]
    assert len(rules) == len(texts)
    shown = {rule["annotations"]["summary"].replace('{{ "{{" }}', "{{") for rule in rules}
    assert shown == set(texts)


@pytest.mark.parts
def test_alertmanager_takes_every_receiver(tmp_path):
    named = [workflow("a", notify=NOTIFY), workflow("b", notify=NOTIFY), workflow("c")]
    out = written(tmp_path, named)

    told = checked("amtool", "check-config", str(out / "alertmanager/alertmanager.yml"))

    assert told.returncode == 0, told.stderr
    assert "5 receivers" in told.stdout
    assert "3 inhibit rules" in told.stdout


@pytest.mark.parts
def test_an_alert_goes_to_the_one_whom_its_workflow_names(tmp_path):
    out = written(tmp_path, [workflow("a", notify=NOTIFY), workflow("b")])
    file = f"--config.file={out}/alertmanager/alertmanager.yml"

    def receiver(**labels):
        words = [f"{key}={value}" for key, value in {"namespace": "shop", **labels}.items()]
        return checked("amtool", "config", "routes", "test", file, *words).stdout.strip()

    assert receiver(monitored_workflow="a", severity="warning") == "shop/a/receiver"
    assert receiver(monitored_workflow="a", severity="critical") == "shop/a/page"
    assert receiver(monitored_workflow="a", severity="info") == "nobody"
    assert receiver(monitored_workflow="b", severity="critical") == "nobody"
    assert receiver(namespace="bank", monitored_workflow="a", severity="critical") == "nobody"


def test_the_compose_file_fits_the_specification():
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]

    told = subprocess.run(
        [*checker, EXAMPLE / "compose.yaml"], check=False, capture_output=True, text=True
    )

    assert (told.returncode, told.stderr) == (0, ""), told.stdout


@pytest.fixture(scope="module")
def services():
    return compose.read(EXAMPLE / "compose.yaml", {"GRAFANA_PASSWORD": "secret"})["services"]


def test_grafana_has_no_password_until_somebody_chooses_one():
    with pytest.raises(compose.ComposeError, match="GRAFANA_PASSWORD: choose a password for Graf"):
        compose.read(EXAMPLE / "compose.yaml", {})

    made = compose.read(EXAMPLE / "compose.yaml", {"GRAFANA_PASSWORD": "p$w"})
    environment = made["services"]["grafana"]["environment"]
    assert environment["GF_SECURITY_ADMIN_PASSWORD"] == "p$w"


def test_links_lead_to_where_a_port_was_moved():
    moved = {"PROMETHEUS_PORT": "1", "ALERTMANAGER_PORT": "2", "GRAFANA_PORT": "3"}
    made = compose.read(EXAMPLE / "compose.yaml", {"GRAFANA_PASSWORD": "secret", **moved})
    services = made["services"]

    for name, port in (("prometheus", 1), ("alertmanager", 2)):
        assert f"--web.external-url=http://localhost:{port}" in services[name]["command"]
        assert services[name]["ports"][0].startswith(f"127.0.0.1:{port}:")
    assert services["grafana"]["environment"]["GF_SERVER_ROOT_URL"] == "http://localhost:3/"


def test_the_images_are_those_that_were_tested(services):
    for name in ("prometheus", "alertmanager", "pushgateway"):
        image = services[name]["image"]
        assert image == f"quay.io/prometheus/{name}:v{parts.find(name).version}"
    assert re.fullmatch(r".+:\d+\.\d+\.\d+", services["grafana"]["image"])
    text = (EXAMPLE / "Dockerfile").read_text()
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["${BASE}", "${BASE}"]
    (base,) = re.findall(r"^ARG BASE=(\S+)", text, re.MULTILINE)
    assert re.fullmatch(r".+:\d+\.\d+\.\d+-.+", base)


def test_every_service_is_hardened_and_reached_from_this_machine_only(services):
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        if "build" not in service:
            assert not service["user"].startswith("0"), name
        if name != "nightly":
            assert service["restart"] == "unless-stopped", name
            assert service["healthcheck"]["test"][0] == "CMD", name
    assert services["nightly"]["restart"] == "no"
    assert "USER 65534:65534\n" in (EXAMPLE / "Dockerfile").read_text()


def test_what_is_mounted_is_there_and_cannot_be_written(services):
    volumes = yaml.safe_load((EXAMPLE / "compose.yaml").read_text())["volumes"]
    used = set()
    for name, service in services.items():
        for text in service.get("volumes", ()):
            source, _, *flags = text.split(":")
            if source.startswith("."):
                assert (EXAMPLE / source).exists(), f"{name}: {source}"
                assert flags == ["ro"], f"{name}: {source}"
            else:
                used.add(source)
    assert used == volumes.keys()


def test_grafana_finds_the_dashboards_and_the_data_source(services):
    mounted = {
        target: EXAMPLE / source
        for source, target, *_ in (text.split(":") for text in services["grafana"]["volumes"])
    }
    provider = yaml.safe_load(
        (EXAMPLE / "monitoring/provisioning/dashboards/flowgauge.yaml").read_text()
    )["providers"][0]
    home = Path(services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    boards = mounted[provider["options"]["path"]]
    found = [json.loads(file.read_text()) for file in boards.rglob("*.json")]
    assert len({board["uid"] for board in found}) == 6
    assert (boards / home.relative_to(provider["options"]["path"])).is_file()
    (source,) = yaml.safe_load((EXAMPLE / "grafana/datasources.yaml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    assert source["url"] == "http://prometheus:9090"


def test_nothing_is_left_in_the_folder_that_nobody_writes():
    folder = EXAMPLE / "monitoring"
    record = json.loads((folder / ".flowgauge.json").read_text())["files"]

    there = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert there == {*record, ".flowgauge.json"}


def test_files_differ_also_where_case_does_not_count():
    folder = EXAMPLE / "monitoring"
    names = [str(path.relative_to(folder)).lower() for path in folder.rglob("*")]

    assert len(set(names)) == len(names)


def test_the_build_has_all_that_the_wheel_is_made_of(tmp_path):
    allowed = [
        line.removeprefix("!")
        for line in (EXAMPLE / "Dockerfile.dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    context = tmp_path / "context"
    for name in allowed:
        target = context / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / name)

    for line in (EXAMPLE / "Dockerfile").read_text().splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["COPY"] and not words[1].startswith("-"):
            assert (context / words[1]).exists(), line
    build = [Path(sys.executable).with_name("uv"), "build", "--wheel", "--no-build-isolation"]
    subprocess.run(
        [*build, "--python", sys.executable, "--out-dir", tmp_path / "dist", context],
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("flowgauge-*.whl")
    assert "flowgauge/profiles/builtin/workflow.yaml" in zipfile.ZipFile(wheel).namelist()
