"""How dashboards reach Grafana: modes, folders, what namespaces share, files in a folder."""

import json

import pytest
import yaml

from flowgauge import profiles
from flowgauge_operator import cli, model, names
from flowgauge_operator.render import Capabilities, Options, render, shared
from flowgauge_operator.render.manifest import hashed

NO_OPERATOR = Capabilities(Capabilities().kinds - {"GrafanaDashboard"})
BY_OPERATOR = Options(dashboard_mode="GrafanaDashboard")
HEAD = "apiVersion: flowgauge.dev/v1alpha1\nkind: MonitoredWorkflow\n"


def made(options=None, capabilities=None, name="orders", **dashboard):
    spec = {"selector": {"matchLabels": {"app": "orders"}}, "dashboard": dashboard}
    workflow = model.parse({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})
    profile = profiles.builtin("workflow")
    return render(workflow, profile, capabilities or Capabilities(), options or Options())


def boards(rendered):
    return [c for c in rendered.children if c["metadata"]["name"].endswith("-dashboard")]


def kinds(rendered):
    return [board["kind"] for board in boards(rendered)]


@pytest.mark.parametrize(
    ("mode", "default", "expected"),
    [
        (None, "ConfigMap", ["ConfigMap"]),
        (None, "GrafanaDashboard", ["GrafanaDashboard"]),
        (None, "None", []),
        ("GrafanaDashboard", "ConfigMap", ["GrafanaDashboard"]),
        ("ConfigMap", "GrafanaDashboard", ["ConfigMap"]),
        ("None", "GrafanaDashboard", []),
        ("ConfigMap", "None", ["ConfigMap"]),
    ],
)
def test_a_workflow_chooses_and_the_administrator_chooses_for_those_that_do_not(
    mode, default, expected
):
    dashboard = {"mode": mode} if mode else {}

    assert kinds(made(Options(dashboard_mode=default), **dashboard)) == expected


def test_a_grafana_dashboard_says_everything_that_the_api_server_would_fill_in():
    options = Options(
        dashboard_mode="GrafanaDashboard",
        dashboard_instances={"team": "shop"},
        dashboard_cross_namespace=False,
        dashboard_resync="5m",
    )
    (board,) = boards(made(options, folder="Shop/Orders"))
    text = board["spec"].pop("json")

    assert board["apiVersion"] == "grafana.integreatly.org/v1beta1"
    assert board["spec"] == {
        "allowCrossNamespaceImport": False,
        "folder": "Shop/Orders",
        "instanceSelector": {"matchLabels": {"team": "shop"}},
        "resyncPeriod": "5m",
    }
    assert json.loads(text)["uid"] == names.dashboard_uid("shop", "orders")
    assert "grafana_dashboard" not in board["metadata"]["labels"]


def test_both_ways_carry_the_same_bytes():
    (by_operator,), (by_sidecar,) = boards(made(BY_OPERATOR)), boards(made())

    assert by_operator["spec"]["json"] == by_sidecar["data"]["shop_orders.json"]


def test_without_grafana_operator_it_is_a_config_map_and_a_note_says_so():
    rendered = made(BY_OPERATOR, NO_OPERATOR)

    assert (kinds(rendered), rendered.delivery) == (["ConfigMap"], "ConfigMap")
    assert rendered.notes == (
        "GrafanaDashboard is not available: the dashboard is in a ConfigMap for Grafana's sidecar",
    )


@pytest.mark.parametrize(
    ("setting", "folder", "expected"),
    [
        ("", None, "shop"),
        ("{namespace}", None, "shop"),
        ("Workflows/{namespace}", None, "Workflows/shop"),
        ("Workflows", "Mine", "Mine"),
    ],
)
def test_the_folder_is_the_workflows_the_administrators_or_the_namespaces(
    setting, folder, expected
):
    rendered = made(Options(dashboard_folder=setting), **({"folder": folder} if folder else {}))

    assert boards(rendered)[0]["metadata"]["annotations"]["grafana_folder"] == expected


def test_workflows_of_two_namespaces_never_have_one_file():
    assert set(boards(made(name="a-b"))[0]["data"]) == {"shop_a-b.json"}


CONFIG_MAP = shared.Share("ConfigMap", "flowgauge-dashboards")
FLEET = shared.Share("GrafanaDashboard", "flowgauge-fleet")
OBJECTIVES = shared.Share("GrafanaDashboard", "flowgauge-objectives")


@pytest.mark.parametrize(
    ("options", "capabilities", "dashboard", "expected"),
    [
        (Options(), None, {}, {CONFIG_MAP}),
        (Options(), None, {"mode": "GrafanaDashboard"}, {CONFIG_MAP}),
        (BY_OPERATOR, None, {}, {FLEET, OBJECTIVES}),
        (BY_OPERATOR, None, {"mode": "ConfigMap"}, {FLEET, OBJECTIVES}),
        (BY_OPERATOR, NO_OPERATOR, {}, {CONFIG_MAP}),
        (Options(), None, {"mode": "None"}, set()),
        (Options(namespace_dashboards=False), None, {}, set()),
        (Options(dashboard_mode="None"), None, {"mode": "ConfigMap"}, set()),
    ],
)
def test_a_workflow_with_a_dashboard_needs_those_of_its_namespace(
    options, capabilities, dashboard, expected
):
    shares = set(made(options, capabilities, **dashboard).shares)

    assert shares - {shared.MONITOR} == expected


@pytest.mark.parametrize("share", [CONFIG_MAP, FLEET, OBJECTIVES, shared.MONITOR])
def test_what_is_shared_has_no_owner_and_no_workflow(share):
    metadata = hashed(shared.manifest(share, "shop", Options()))["metadata"]

    assert (metadata["name"], metadata["namespace"]) == (share.name, "shop")
    assert metadata["labels"]["flowgauge.dev/shared"] == "true"
    assert "flowgauge.dev/workflow" not in metadata["labels"]
    assert "ownerReferences" not in metadata


def test_the_dashboards_of_a_namespace_are_the_same_in_both_ways():
    data = shared.manifest(CONFIG_MAP, "shop", Options())["data"]
    specs = [shared.manifest(share, "shop", Options())["spec"] for share in (FLEET, OBJECTIVES)]

    assert list(data) == ["shop__fleet.json", "shop__objectives.json"]
    assert [spec["json"] for spec in specs] == list(data.values())
    uids = [json.loads(text)["uid"] for text in data.values()]
    assert uids == [names.fleet_uid("shop"), names.objectives_uid("shop")]
    assert {spec["folder"] for spec in specs} == {"shop"}


def test_the_dashboards_of_a_namespace_link_where_the_administrator_says():
    options = Options(logs_url="https://logs.example/{{namespace}}")

    assert all(
        "https://logs.example/" in text for text in shared.board_files("s", options).values()
    )
    assert "https://logs.example/" not in str(shared.board_files("s", Options()))


def workflow(name="orders", namespace="shop", dashboard="{}"):
    spec = f"{{selector: {{matchLabels: {{app: a}}}}, dashboard: {dashboard}}}"
    return f"{HEAD}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n---\n"


@pytest.fixture
def generate(tmp_path):
    """Write the files of workflows into a folder; return code and paths."""

    def run(text, *flags):
        file, out = tmp_path / "w.yaml", tmp_path / "out"
        file.write_text(text)
        code = cli.main(["generate", "-f", str(file), "--out", str(out), *flags])
        paths = (path for path in out.rglob("*") if path.is_file())
        return code, {str(path.relative_to(out)): path.read_text() for path in paths}

    return run


def test_out_writes_a_file_for_each_object_and_each_dashboard(generate):
    code, files = generate(workflow(dashboard="{folder: Shop/Orders}"))

    assert code == 0
    assert sorted(files) == [
        ".flowgauge.json",
        "dashboards/Flowgauge/fleet.json",
        "dashboards/Flowgauge/objectives.json",
        "dashboards/Shop/Orders/shop_orders.json",
        "dashboards/shop/shop__fleet.json",
        "dashboards/shop/shop__objectives.json",
        "manifests/shop/configmap-flowgauge-dashboards.yaml",
        "manifests/shop/configmap-orders-dashboard.yaml",
        "manifests/shop/prometheusrule-orders-rules.yaml",
        "manifests/shop/service-orders-metrics.yaml",
        "manifests/shop/servicemonitor-flowgauge-shared.yaml",
        "provisioning/dashboards/flowgauge.yaml",
    ]


def test_the_files_hold_what_would_be_printed(generate, tmp_path, capsys):
    text = workflow("a") + workflow("b", namespace="other", dashboard="{mode: GrafanaDashboard}")
    _, files = generate(text)
    capsys.readouterr()
    cli.main(["generate", "-f", str(tmp_path / "w.yaml")])
    printed = list(yaml.safe_load_all(capsys.readouterr().out))

    written = [yaml.safe_load(t) for name, t in files.items() if name.startswith("manifests/")]
    assert sorted(written, key=str) == sorted(printed, key=str)
    by_operator = next(m for m in printed if m["kind"] == "GrafanaDashboard")
    plain = json.loads(files["dashboards/other/other_b.json"])
    assert plain == json.loads(by_operator["spec"]["json"])


def test_dashboards_by_grafana_operator_have_the_same_files(generate):
    _, by_sidecar = generate(workflow())
    _, by_operator = generate(workflow(), "--dashboard-mode=GrafanaDashboard")

    def plain(files):
        return {name: text for name, text in files.items() if name.startswith("dashboards/")}

    assert plain(by_sidecar) == plain(by_operator)


def test_a_second_run_changes_nothing_and_a_workflow_that_is_gone_takes_its_files_along(
    generate, capsys
):
    generate(workflow("a") + workflow("b"))
    capsys.readouterr()

    generate(workflow("a") + workflow("b"))
    assert capsys.readouterr().out.endswith("out is up to date\n")

    _, files = generate(workflow("a"))
    assert not any("b-" in name or "_b" in name for name in files)
    assert "removed dashboards/shop/shop_b.json" in capsys.readouterr().out


def test_grafana_is_told_where_the_dashboards_lie(generate):
    _, files = generate(workflow(), "--dashboards-path=/srv/it's: here")

    told = yaml.safe_load(files["provisioning/dashboards/flowgauge.yaml"])
    (provider,) = told["providers"]
    assert (told["apiVersion"], provider["type"]) == (1, "file")
    assert provider["options"] == {
        "path": "/srv/it's: here",
        "foldersFromFilesStructure": True,
    }


@pytest.mark.parametrize("folder", ["..", "../x", "a/../../b", "/etc", ".hidden", "a//b"])
def test_a_folder_that_leads_elsewhere_is_refused(generate, folder, capsys):
    code, files = generate(workflow(dashboard=f'{{folder: "{folder}"}}'))

    assert (code, files) == (1, {})
    assert "must be names of folders" in capsys.readouterr().err


def test_one_workflow_twice_is_refused(generate, capsys):
    code, files = generate(workflow() + workflow())

    assert (code, files) == (1, {})
    assert "shop/orders is there twice" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_bad_input(tmp_path, generate, capsys):
    (tmp_path / "out").write_text("")

    code, _ = generate(workflow())

    assert code == 1
    assert "choose a folder that you may write" in capsys.readouterr().err
