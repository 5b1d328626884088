"""The chart brings the dashboards over all namespaces, in the way that the administrator chose."""

import json
from pathlib import Path

import pytest

from flowgauge_operator.render import Options, shared
from flowgauge_operator.render.dashboards import itself
from rig import chart, pytest_plugin

CHART = Path(__file__).resolve().parents[2] / "charts/flowgauge"
OURS = shared.board_files(None, Options()) | {"operator.json": itself.render(Options())}


def boards(api_versions=(), **grafana):
    """The objects with dashboards that the chart makes with these values."""
    pytest_plugin.binary("helm")
    made = chart.render(
        CHART,
        release="fg",
        namespace="ops",
        overrides={"fullnameOverride": "fg", "grafana": grafana},
        api_versions=api_versions,
    )
    return [item for item in made if item["kind"] in ("ConfigMap", "GrafanaDashboard")]


def test_a_config_map_carries_them_for_the_sidecar():
    (made,) = boards(dashboardLabel="team=a", folderAnnotation="f", globalFolder="All: of it")

    assert made["metadata"]["labels"]["team"] == "a"
    assert made["metadata"]["annotations"] == {"f": "All: of it"}
    assert {name: json.loads(text) for name, text in made["data"].items()} == {
        name: json.loads(text) for name, text in OURS.items()
    }


def test_grafana_operator_gets_an_object_for_each():
    made = boards(
        ["grafana.integreatly.org/v1beta1"],
        mode="GrafanaDashboard",
        instances="a=b,example.com/c=d",
        crossNamespace=False,
    )

    assert [item["metadata"]["name"] for item in made] == [
        "fg-all-fleet",
        "fg-all-objectives",
        "fg-all-operator",
    ]
    assert [json.loads(item["spec"].pop("json")) for item in made] == [
        json.loads(text) for text in OURS.values()
    ]
    assert made[0]["spec"] == {
        "allowCrossNamespaceImport": False,
        "folder": "Flowgauge",
        "instanceSelector": {"matchLabels": {"a": "b", "example.com/c": "d"}},
        "resyncPeriod": "10m",
    }


def test_without_the_kind_of_grafana_operator_it_is_a_config_map():
    assert [item["kind"] for item in boards(mode="GrafanaDashboard")] == ["ConfigMap"]


@pytest.mark.parametrize(
    ("values", "left"),
    [
        ({"mode": "None"}, []),
        ({"namespaceDashboards": False, "operatorDashboard": False}, []),
        ({"namespaceDashboards": False}, ["operator.json"]),
        ({"operatorDashboard": False}, ["fleet.json", "objectives.json"]),
    ],
)
def test_who_wants_none_gets_none(values, left):
    assert [name for made in boards(**values) for name in made["data"]] == left
