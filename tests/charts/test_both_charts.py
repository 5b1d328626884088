"""What both charts stand: odd names, values that are taken away, a chart of a user's around them."""

from __future__ import annotations

import base64
import json
import re
import shutil
from xml.etree import ElementTree as ET

import pytest
import yaml
from chartcases import CHART, ROOT

import values
from rig import chart
from rig.helm import ChartError

pytestmark = pytest.mark.parts


@pytest.fixture(params=["flowgauge", "flowgauge-stack"])
def folder(request, completed):
    """Each chart, ready to render."""
    return CHART if request.param == "flowgauge" else completed


def metadata(folder):
    return yaml.safe_load((folder / "Chart.yaml").read_text())


def other_than_text(node, path=""):
    """Names, namespaces and labels that YAML takes for something else."""
    if isinstance(node, list):
        for item in node:
            yield from other_than_text(item, path)
    if not isinstance(node, dict):
        return
    for key, child in node.items():
        named = ("name", "namespace", "secretName", "configSecret", "resourceNames")
        is_text = key in named or path.endswith("abels")
        for one in child if isinstance(child, list) else [child]:
            if is_text and not isinstance(one, (str, dict)):
                yield f"{path}.{key}: {one!r}"
        yield from other_than_text(child, f"{path}.{key}")


def test_names_that_look_like_numbers_stay_names(helm, folder):
    text = helm.run("template", "123", str(folder), "--namespace=456", "--skip-crds")

    made = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
    # A definition has properties of these names.
    assert [*other_than_text([m for m in made if m["kind"] != "CustomResourceDefinition"])] == []
    services = [item["metadata"]["name"] for item in made if item["kind"] == "Service"]
    assert services
    # A name of DNS begins with a letter, as a release need not.
    assert [name for name in services if not name[0].isalpha()] == []


def test_names_that_look_like_truths_stay_names(folder):
    given = {"fullnameOverride": "on"}
    if folder != CHART:
        given["alertmanager"] = {"existingConfigSecret": "0123"}

    made = chart.render(folder, release="r", namespace="null", overrides=given)

    assert [*other_than_text([m for m in made if m["kind"] != "CustomResourceDefinition"])] == []


def test_a_version_of_any_length_is_told_in_labels(helm, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "chart")
    versions = {"version": f"1.0.0-dev.{'0a' * 30}+local", "appVersion": "1.0.0+local"}
    (copy / "Chart.yaml").write_text(yaml.safe_dump(metadata(folder) | versions))

    text = helm.run("template", "r", str(copy), "--skip-crds")

    labels = {
        value
        for item in yaml.load_all(text, yaml.CSafeLoader)
        if item
        for value in item["metadata"]["labels"].values()
    }
    assert any("1.0.0-dev" in value for value in labels)
    wrong = [
        x for x in labels if not re.fullmatch("[A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?", x)
    ]
    assert wrong == []
    assert re.findall(r"image: .*\+.*", text) == []


def leaves(folder, wanted):
    """Values of a chart by what `wanted` makes of them, as a file of values has them; None leaves one out."""
    made = {}
    for value in values.leaves(values.read((folder / "values.yaml").read_text())):
        if (chosen := wanted(value)) is not None:
            place = made
            for key in value.path[:-1]:
                place = place.setdefault(key, {})
            place[value.path[-1]] = chosen[0]
    return made


def test_large_numbers_of_a_file_are_not_rounded_or_written_with_an_exponent(helm, folder):
    # Helm reads each number of a file as a float.
    large = leaves(
        folder,
        lambda value: (
            [12345678] if type(value.default) is int and "maximum" not in value.allowed else None
        ),
    )
    text = helm.run(
        "template", "r", str(folder), "--skip-crds", "--values=-", stdin=json.dumps(large)
    )

    assert text.count("12345678") >= 4
    assert [line for line in text.splitlines() if re.search(r"\de\+\d", line)] == []


def test_null_is_the_same_as_nothing_where_nothing_is_the_default(folder):
    # Many write a key and leave what it has for later.
    emptied = leaves(folder, lambda value: [None] if value.default in ("", [], {}) else None)
    assert len(emptied) > 10

    def rendered(**overrides):
        made = chart.render(folder, release="r", namespace="n", overrides=overrides)
        return [item for item in made if not item["metadata"]["name"].endswith("grafana-admin")]

    # With everything on that is off by default and takes such a value.
    more = {"networkPolicy": {"enabled": True}}
    emptied["networkPolicy"] |= more["networkPolicy"]
    assert rendered(**emptied) == rendered(**more)


@pytest.mark.parametrize("path", ["networkPolicy", "networkPolicy.enabled"])
def test_a_value_that_is_needed_is_missed_by_its_name(helm, folder, path):
    # So is one that an older release does not know, after `helm upgrade --reuse-values`.
    above, _, key = path.rpartition(".")

    with pytest.raises(ChartError) as refused:
        helm.run("template", "r", str(folder), f"--set={path}=null")

    assert f"at '{'/' * bool(above)}{above}': missing property '{key}'" in str(refused.value)


def test_two_releases_of_one_name_have_nothing_in_common(helm, folder):
    def named(release, namespace):
        made = chart.render(folder, release=release, namespace=namespace)
        return {
            (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
            for item in made
            if item["kind"] != "CustomResourceDefinition"
        }

    first = named("flowgauge", "team-a")

    assert len([each for each in first if each[1] is None]) >= 7
    assert first & named("flowgauge", "team-b") == set()
    # Where one name ends and the other begins can be told.
    assert first & named("a-flowgauge", "team") == set()


def test_the_icon_is_the_file_of_the_repository(folder):
    data = base64.b64decode(metadata(folder)["icon"].removeprefix("data:image/svg+xml;base64,"))

    assert data == (ROOT / "charts/icon.svg").read_bytes().strip()
    assert ET.fromstring(data).tag.endswith("svg")  # noqa: S314 - our own file


def test_artifact_hub_is_told_what_it_documents(folder):
    told = {
        key.removeprefix("artifacthub.io/"): text
        for key, text in metadata(folder)["annotations"].items()
    }
    read = {key: yaml.safe_load(text) for key, text in told.items()}

    assert told["category"] == "monitoring-logging"
    assert told["license"] == "Apache-2.0"
    for key in ("prerelease", "operator", "containsSecurityUpdates"):
        assert told[key] in ("true", "false")
    assert told.get("operatorCapabilities", "Seamless Upgrades") in (
        "Basic Install",
        "Seamless Upgrades",
    )
    assert {change["kind"] for change in read["changes"]} <= {
        "added",
        "changed",
        "deprecated",
        "removed",
        "fixed",
        "security",
    }
    for image in read["images"]:
        # Without a registry there is nothing that could be pulled and scanned.
        assert image.get("whitelisted", False) == ("/" not in image["image"]), image
    assert all(link["url"].startswith("https://") and link["name"] for link in read["links"])
    definitions = [
        yaml.load(file.read_text(), yaml.CSafeLoader) for file in (ROOT / "crds").glob("*.yaml")
    ]
    if "crds" in read:
        assert {(crd["name"], crd["kind"], crd["version"]) for crd in read["crds"]} == {
            (crd["metadata"]["name"], crd["spec"]["names"]["kind"], version["name"])
            for crd in definitions
            for version in crd["spec"]["versions"]
        }


def test_commands_of_the_notes_work_as_they_are_copied(helm, folder):
    said = helm.run("install", "r", str(folder), "--namespace=n", "--dry-run=client", "--skip-crds")
    manifests, _, notes = said.partition("MANIFEST:")[2].partition("NOTES:")
    there = {
        (item["kind"].lower(), item["metadata"]["name"])
        for item in yaml.load_all(manifests, yaml.CSafeLoader)
        if item
    }
    named = re.findall(r"(deployment|service)/([a-z0-9-]+)|get (secret) ([a-z0-9-]+)", notes)

    assert len(named) >= 1
    for kind, name, *other in named:
        assert (kind or other[0], name or other[1]) in there
    # An indented end of such a text is none.
    (end,) = re.findall(r"<<(\w+)$", notes, re.MULTILINE)
    example = notes.partition(f"<<{end}\n")[2].partition(f"\n{end}\n")[0]
    assert yaml.safe_load(example)["kind"] == "MonitoredWorkflow"
    assert f"\n{end}\nkubectl get mwf" in notes


@pytest.mark.parametrize("served", ["null", "{shop,bakery}"])
def test_the_example_of_the_notes_is_where_the_operator_is(helm, folder, served):
    prefix = "" if folder == CHART else "flowgauge."
    said = helm.run(
        *("install", "r", str(folder), "--dry-run=client", "--skip-crds"),
        f"--set={prefix}namespaces={served}",
    )

    (space,) = re.findall(r"name: orders, namespace: (\w+)}", said.partition("NOTES:")[2])
    assert space == ("default" if served == "null" else "shop")


def test_a_chart_of_a_user_takes_it_in_under_another_name(helm, folder, tmp_path):
    mine = metadata(folder)
    around = {"apiVersion": "v2", "name": "platform", "version": "1.0.0"}
    needed = {"name": mine["name"], "version": mine["version"], "repository": ""}
    needed |= {"alias": "myGauges", "condition": "myGauges.enabled"}
    shutil.copytree(folder, tmp_path / "charts" / mine["name"])
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(around | {"dependencies": [needed]}))
    (tmp_path / "values.yaml").write_text("global: {shared: 1}\nmyGauges: {enabled: true}")

    def rendered(*flags):
        text = helm.run("template", "platform", str(tmp_path), "--skip-crds", *flags)
        made = [item for item in yaml.load_all(text, yaml.CSafeLoader) if item]
        assert [m["metadata"]["name"] for m in made if not m["metadata"]["name"].islower()] == []
        return {item["kind"] for item in made}

    assert {"Deployment", "Service", "ServiceAccount"} <= rendered()
    assert rendered("--set=myGauges.enabled=false") == set()
    with pytest.raises(ChartError, match="additional properties 'replica' not allowed"):
        rendered("--set=myGauges.replica=1")
