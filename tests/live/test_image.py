"""The operator's image, built by podman and run as its pod says, against the real API server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import flowgauge
from image import engine, wheels
from rig import chart, fetch
from rig.cluster import Cluster

ROOT = Path(__file__).resolve().parents[2]
NAME = "localhost/flowgauge"
VERSION = flowgauge.__version__
# Measured: 85.6 MB, of which 43 are the base.
LARGEST = 100e6

pytestmark = pytest.mark.cluster

# Runs inside the image.
LOOK = """
import importlib.util, json, os, shutil, sys, zoneinfo
from importlib import metadata
from pathlib import Path
def is_writable(folder):
    try:
        (Path(folder) / "probe").write_text("x")
    except OSError as error:
        return error.strerror
    return "writable"
print(json.dumps({
    "uid": os.getuid(),
    "capabilities": next(line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")),
    "folders": {folder: is_writable(folder) for folder in ("/", "/tmp", "/opt/flowgauge", "/home")},
    "modules": [name for name in ("kubernetes", "pip", "setuptools", "wheel", "ensurepip", "pytest", "matplotlib")
                if importlib.util.find_spec(name)],
    "programs": [name for name in ("pip", "uv", "gcc", "cc", "sh", "bash", "apt", "dpkg", "perl") if shutil.which(name)],
    "left": [name for name in ("/src", "/root/.cache", "/var/cache/apt", "/build") if os.path.exists(name)],
    "zone": str(zoneinfo.ZoneInfo("Europe/Zurich")),
    "certificates": Path("/etc/ssl/certs/ca-certificates.crt").stat().st_size,
    "python": sorted((found.metadata["Name"].lower().replace("_", "-"), found.version)
                     for found in metadata.distributions()),
    "debian": len(list(Path("/var/lib/dpkg/status.d").iterdir())),
    "licence": Path("/licenses/LICENSE").read_text()[:60].strip(),
}))
"""


@dataclass(frozen=True)
class Image:
    """A built image, and the environment in which podman knows it."""

    engine: dict[str, str]
    folder: Path
    said: str

    def podman(self, *arguments: str) -> str:
        done = subprocess.run(
            ["podman", *arguments], env=self.engine, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments: str) -> str:
        return self.podman(
            "run", "--rm", "--pull=never", "--network=none", "--read-only", "--read-only-tmpfs=false",
            "--cap-drop=ALL", "--security-opt=no-new-privileges", *arguments,
        )  # fmt: skip


def make(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "image", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)


def why_not() -> str:
    """Why no image can be built here; empty if one can."""
    if shutil.which("podman") is None:
        return "podman is not installed (Debian: apt-get install podman)"
    if "4294967295" not in Path("/proc/self/uid_map").read_text():
        return "podman needs other users than root, which the rig has only when root starts it"
    if not (wheels.cache() / "base.tar").is_file():
        return "the base of the image is not there: `make fetch` makes it, outside of the rig, which has no network"
    return ""


@pytest.fixture(scope="session")
def image(tmp_path_factory) -> Image:
    # Whether a machine has podman is not the suite's business; CI says that it has, and then an image is built.
    if reason := why_not():
        refuse = pytest.fail if os.environ.get("FLOWGAUGE_REQUIRE_IMAGE") == "1" else pytest.skip
        refuse(f"no image is built: {reason}; then `make test`")
    folder = tmp_path_factory.mktemp("podman")
    env = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(folder)} | engine.storage(
        folder
    )
    env |= {name: os.environ[name] for name in ("XDG_CACHE_HOME",) if name in os.environ}
    env.setdefault("XDG_CACHE_HOME", str(wheels.cache().parents[1]))
    based = make("base", "--engine=podman", env=env)
    assert based.returncode == 0, based.stderr
    built = make(
        "build",
        "--engine=podman",
        f"--image={NAME}",
        "--tag=tested",
        "--base=localhost/flowgauge-base",
        env=env,
    )
    assert built.returncode == 0, built.stderr
    yield Image(env, folder, built.stdout)
    subprocess.run(
        ["podman", "system", "reset", "--force"], env=env, capture_output=True, check=False
    )


@pytest.fixture(scope="session")
def inside(image: Image) -> dict:
    return json.loads(image.run("--entrypoint=python3", f"{NAME}:tested", "-c", LOOK))


def test_it_is_small_and_says_what_it_is(image: Image):
    (found,) = json.loads(image.podman("image", "inspect", f"{NAME}:tested"))
    labels = {name.rpartition(".")[2]: text for name, text in found["Labels"].items()}

    assert found["Size"] < LARGEST, image.said
    assert found["Config"]["User"] == "65532:65532"
    assert found["Config"]["Entrypoint"] == ["flowgauge-operator"]
    assert labels["version"] == VERSION
    assert labels["licenses"] == "Apache-2.0"
    assert labels["title"] == "flowgauge"
    assert len(labels["revision"].removesuffix("-dirty")) == 40


def test_it_is_nobody_and_writes_nowhere(inside):
    assert inside["uid"] == 65532
    assert int(inside["capabilities"], 16) == 0
    assert set(inside["folders"].values()) == {"Read-only file system"}


def test_it_has_nothing_that_the_operator_does_not_need(inside):
    assert inside["modules"] == []
    assert inside["programs"] == []
    assert inside["left"] == []
    assert inside["zone"] == "Europe/Zurich"
    assert inside["certificates"] > 100_000
    assert inside["licence"].startswith("Apache License")


def test_its_list_of_parts_is_what_is_in_it(image: Image, inside):
    listed = json.loads(image.run("--entrypoint=python3", f"{NAME}:tested", "-c",
                                  "print(open('/opt/flowgauge/share/sbom.cdx.json').read())"))  # fmt: skip
    kinds = [item["purl"].partition("/")[0] for item in listed["components"]]
    python = sorted(
        (item["name"], item["version"])
        for item in listed["components"]
        if "pkg:pypi/" in item["purl"]
    )
    locked = (ROOT / "requirements/operator.txt").read_text()

    assert python == [tuple(found) for found in inside["python"]]
    assert {f"{name}=={number}" for name, number in python if name != "flowgauge"} <= set(
        locked.split()
    )
    assert kinds.count("pkg:deb") == inside["debian"] > 20
    assert (listed["bomFormat"], listed["specVersion"]) == ("CycloneDX", "1.5")
    assert json.loads((ROOT / "dist" / f"flowgauge-{VERSION}.cdx.json").read_text()) == listed


def test_the_list_of_parts_keeps_to_its_schema(image: Image):
    text = (ROOT / "dist" / f"flowgauge-{VERSION}.cdx.json").read_text()

    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str(text) is None


def test_its_programs_start(image: Image):
    example = (ROOT / "examples/orders/workflow.yaml").parent

    assert image.run(f"{NAME}:tested", "--version").strip() == f"flowgauge-operator {VERSION}"
    generated = image.run(
        f"--volume={example}:/in:ro",
        "--entrypoint=flowgauge",
        f"{NAME}:tested",
        "generate",
        "-f",
        "/in/workflow.yaml",
    )
    assert generated == (example / "manifests.yaml").read_text()


def test_an_image_that_cannot_be_based_says_what_to_do(image: Image):
    failed = make("build", "--engine=podman", "--base=registry.invalid/python:3", env=image.engine)

    assert failed.returncode == 1
    assert "registry.invalid/python:3 is not here and cannot be pulled" in failed.stderr
    assert "make image-base" in failed.stderr


def test_the_operator_works_out_of_its_image(
    operator, own_cluster: Cluster, image: Image, namespace: str
):
    values = {
        "image": {"repository": NAME, "tag": "tested"},
        "replicas": 1,
        "crds": {"enabled": False},
        "log": {"format": "text", "level": "info"},
    }
    with operator.resting():
        release = chart.install(
            own_cluster,
            ROOT / "charts/flowgauge",
            path=[],
            release="imaged",
            overrides=values,
            engine=image.engine,
        )
        try:
            (pod,) = release.containers
            pod.wait_ready(60)
            own_cluster.apply([operator.workflow(namespace)])

            operator.wait_condition("Provisioned", "True", namespace, timeout=60)
            operator.wait_condition("Ready", "True", namespace, timeout=60)
            rules = own_cluster.kubectl(
                "get", "prometheusrules", f"--namespace={namespace}", "--output=name"
            )
            assert rules.startswith("prometheusrule")
            assert fetch.text(pod.url("http", "/healthz"))
            assert "flowgauge_workflows" in fetch.text(pod.url("http", "/metrics"))
            (running,) = json.loads(image.podman("ps", "--format=json"))
            assert running["Image"] == f"{NAME}:tested"
        finally:
            release.stop()
    assert pod.exit_status == 0
