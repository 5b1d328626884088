import copy
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgauge import profiles
from flowgauge_operator import cli, model, names
from flowgauge_operator.render import Capabilities, Options, render
from flowgauge_operator.render.manifest import digest, hashed, owned

ROOT = Path(__file__).resolve().parents[2]
SPEC = {
    "selector": {"matchLabels": {"app": "orders", "tier": "back"}},
    "scrape": {"dropMetrics": ["go_.*"], "limits": {"samples": 5, "labels": 6}},
    "slos": [
        {"name": "a", "objective": 99, "success": {}},
        {"name": "b", "objective": 95, "success": {}},
    ],
    "alerts": {
        "labels": {"team": "x", "area": "y"},
        "overrides": {"SlowRuns": {"threshold": 60, "severity": "info"}, "RunStuck": {"for": "1h"}},
        "extra": [{"name": "Own", "expr": "vector(1)"}],
    },
}


def workflow(spec=None, uid="u-1"):
    metadata = {"name": "orders", "namespace": "shop", "uid": uid}
    return model.parse({"metadata": metadata, "spec": SPEC if spec is None else spec})


def rendered(spec=None):
    made = render(workflow(spec), profiles.builtin("workflow"), Capabilities(), Options())
    return [hashed(child) for child in made.children]


def service():
    return copy.deepcopy(next(c for c in rendered() if c["kind"] == "Service"))


def shuffled(value, chooser):
    if isinstance(value, dict):
        keys = list(value)
        chooser.shuffle(keys)
        return {key: shuffled(value[key], chooser) for key in keys}
    return [shuffled(item, chooser) for item in value] if isinstance(value, list) else value


def test_a_second_render_is_the_same_to_the_byte():
    assert json.dumps(rendered()) == json.dumps(rendered())


@settings(deadline=None)  # a busy machine is no failure
@given(st.integers())
def test_the_order_of_keys_in_the_spec_changes_no_object(seed):
    spec = shuffled(SPEC, random.Random(seed))

    assert {c["metadata"]["annotations"][names.HASH] for c in rendered(spec)} == DIGESTS


DIGESTS = {c["metadata"]["annotations"][names.HASH] for c in rendered()}


def test_the_committed_golden_is_what_is_rendered():
    for example in sorted((ROOT / "examples").glob("*/workflow.yaml")):
        golden = example.with_name("manifests.yaml").read_text()

        assert cli.generated(example.read_text(), example.name) == golden


def test_every_child_is_labelled_as_ours_and_as_the_workflows():
    for child in rendered():
        labels = child["metadata"]["labels"]
        assert labels["app.kubernetes.io/managed-by"] == "flowgauge"
        assert labels["flowgauge.dev/workflow"] == "orders"
        assert child["metadata"]["namespace"] == "shop"


def test_an_owned_child_names_its_owner_and_blocks_nothing():
    child = owned(service(), workflow())

    assert child["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "flowgauge.dev/v1alpha1",
            "kind": "MonitoredWorkflow",
            "name": "orders",
            "uid": "u-1",
            "controller": True,
        }
    ]


def test_neither_owning_nor_hashing_changes_the_original():
    child = service()
    before = copy.deepcopy(child)

    owned(hashed(child), workflow())

    assert child == before


def test_the_digest_is_that_of_the_object_that_carries_it():
    child = service()

    assert digest(child) == child["metadata"]["annotations"][names.HASH]
    assert digest(owned(child, workflow(uid="u-2"))) == child["metadata"]["annotations"][names.HASH]


# What the API server fills in, and what other programs add: no drift.
FILLED = [
    lambda body: body["metadata"].update(uid="x", resourceVersion="5", managedFields=[]),
    lambda body: body["metadata"]["labels"].update({"helm.sh/chart": "x"}),
    lambda body: body["metadata"]["annotations"].update({"kubectl.kubernetes.io/x": "y"}),
    lambda body: body["spec"].update(clusterIPs=["None"], ipFamilies=["IPv4"], type="ClusterIP"),
    lambda body: body["spec"]["ports"][0].update(nodePort=0),
    lambda body: body.pop("kind") and None,
    lambda body: body.update(status={"loadBalancer": {}}),
]
# What somebody changed of ours: drift.
CHANGED = [
    lambda body: body["metadata"]["labels"].pop("flowgauge.dev/scraped-by"),
    lambda body: body["metadata"]["annotations"].update({"flowgauge.dev/path": "/x"}),
    lambda body: body["metadata"]["annotations"].update({"prometheus.io/scrape": "true"}),
    lambda body: body["spec"].update(selector={"app": "other"}),
    lambda body: body["spec"].update(clusterIP="10.0.0.1"),
    lambda body: body["spec"]["ports"].append({"name": "b", "port": 1}),
    lambda body: body["spec"]["ports"][0].update(targetPort=1),
]


@pytest.mark.parametrize("change", FILLED)
def test_what_the_api_server_fills_in_is_no_drift(change):
    body = service()

    change(body)

    assert digest(body, kind="Service") == body["metadata"]["annotations"][names.HASH]


@pytest.mark.parametrize("change", CHANGED)
def test_what_somebody_changed_is_drift(change):
    body = service()

    change(body)

    assert digest(body) != body["metadata"]["annotations"][names.HASH]


def test_keys_of_the_settings_count_as_ours():
    body = service()
    body["metadata"]["labels"]["release"] = "kps"

    assert digest(body, {"release"}) != digest(body)
